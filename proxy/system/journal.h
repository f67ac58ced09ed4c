// Journal: lines for systemd's journal, where that is what reads stderr: it stamps each with a
// time itself, and takes its priority from the beginning of the line ("<4>").
//
// Or as entries with fields of their own, by the journal's native protocol:
//
//   JournalEntry entry(JournalLine(line));       // its text and priority
//   entry.Add("L4_CAUSE", "idle");
//   if (!socket.Send(entry)) ... write the line instead
//
// Any thread; a JournalSocket: one at a time.
#ifndef PROXY_SYSTEM_JOURNAL_H_
#define PROXY_SYSTEM_JOURNAL_H_

#include <string>
#include <string_view>
#include <utility>

namespace parkway {

// Whether what is written to `fd` goes to the journal (JOURNAL_STREAM names it).
bool IsJournal(int fd);

// `line`, which may begin with HAProxy's words for its weight ("WARNING: ", "NOTICE: "), with a
// priority instead of them.
std::string JournalLine(std::string_view line);

class JournalEntry {
 public:
  // `line`: as JournalLine has it.
  explicit JournalEntry(std::string_view line);
  // `name`: of A to Z, digits and underscores.
  void Add(std::string_view name, std::string_view value);
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

class JournalSocket {
 public:
  static constexpr char kPath[] = "/run/systemd/journal/socket";

  explicit JournalSocket(std::string path = kPath) : path_(std::move(path)) {}
  ~JournalSocket();
  JournalSocket(const JournalSocket&) = delete;
  JournalSocket& operator=(const JournalSocket&) = delete;

  // May wait for the journal, as writing to a stream does. False: nobody has taken it.
  bool Send(const JournalEntry& entry);

 private:
  const std::string path_;
  int fd_ = -1;
};

}  // namespace parkway

#endif  // PROXY_SYSTEM_JOURNAL_H_
