// Commands: runs a line of words: finds it in the table, does it, says what came of it.
//
// What changes something is logged with who said it and what came of it. What is not understood
// ends with kUsage and changes nothing: arguments are read to the end before anything is done.
//
// Control thread, on the stack of the client's task (admin/session.h).
#ifndef PROXY_ADMIN_COMMANDS_H_
#define PROXY_ADMIN_COMMANDS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/admin/arguments.h"
#include "proxy/admin/conversation.h"
#include "proxy/admin/stat_csv.h"
#include "proxy/control.h"
#include "proxy/observe/conn_row.h"
#include "proxy/observe/readings.h"

namespace parkway::admin {

class Commands {
 public:
  using OnReadings = std::function<void(std::shared_ptr<const Readings>)>;

  // What the daemon lends; outlives this.
  struct Services {
    const Control& control;
    // Asks for the numbers as they are now, with the slowest connections if these are wanted; they
    // come on this thread, at once or soon.
    std::function<void(bool slowest, OnReadings)> read;
    AskForConns ask_for_conns;
    std::function<void(std::string line)> say;  // for the log
    std::string version;
  };

  explicit Commands(Services services) : services_(std::move(services)) {}
  Commands(const Commands&) = delete;
  Commands& operator=(const Commands&) = delete;

  void Execute(const std::vector<std::string_view>& words, Conversation& conversation);

 private:
  using Do = void (Commands::*)(Arguments&, Conversation&);
  struct Entry {
    std::string_view words;
    Do run;
  };
  static const Entry kEntries[];

  void Help(Arguments& arguments, Conversation& conversation);
  void ShowInfo(Arguments& arguments, Conversation& conversation);
  void ShowStat(Arguments& arguments, Conversation& conversation);
  void ShowSlowest(Arguments& arguments, Conversation& conversation);
  void ShowConns(Arguments& arguments, Conversation& conversation);
  void ShowConn(Arguments& arguments, Conversation& conversation);
  void ShowServers(Arguments& arguments, Conversation& conversation);
  void ShowListeners(Arguments& arguments, Conversation& conversation);
  void ShowThreads(Arguments& arguments, Conversation& conversation);
  void ShowDns(Arguments& arguments, Conversation& conversation);
  void ShowConfig(Arguments& arguments, Conversation& conversation);
  void ShowLimits(Arguments& arguments, Conversation& conversation);
  void ShowDrains(Arguments& arguments, Conversation& conversation);
  void ShowVersion(Arguments& arguments, Conversation& conversation);
  void ServerReady(Arguments& arguments, Conversation& conversation);
  void ServerDrain(Arguments& arguments, Conversation& conversation);
  void ServerDown(Arguments& arguments, Conversation& conversation);
  void ServerWeight(Arguments& arguments, Conversation& conversation);
  void ServerMaxConns(Arguments& arguments, Conversation& conversation);
  void ServerAdd(Arguments& arguments, Conversation& conversation);
  void ServerDel(Arguments& arguments, Conversation& conversation);
  void ListenerPause(Arguments& arguments, Conversation& conversation);
  void ListenerResume(Arguments& arguments, Conversation& conversation);
  void ConnKill(Arguments& arguments, Conversation& conversation);
  void SetLogLevel(Arguments& arguments, Conversation& conversation);
  void Drain(Arguments& arguments, Conversation& conversation);
  void Reload(Arguments& arguments, Conversation& conversation);

  // A command that cannot be run as it was given. True: it is so, and has been said.
  static bool Misused(Arguments& arguments, Conversation& conversation);
  // The numbers, or nothing if the client left before they came. REQUIRES: arguments are read.
  std::shared_ptr<const Readings> Read(Arguments& arguments, Conversation& conversation,
                                       bool slowest = false);
  // Says what came of it, and logs it.
  void Conclude(const Outcome& outcome, Conversation& conversation);
  void WatchDrain(uint64_t id, Conversation& conversation);

  const Services services_;
  StatHistory history_;
};

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_COMMANDS_H_
