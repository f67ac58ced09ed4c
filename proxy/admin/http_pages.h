// HttpPages: what the daemon says over HTTP: from the bytes of one request to the bytes of its
// response.
//
//   /metrics     for Prometheus (observe/metrics.h)
//   /ready       200 if it should be sent connections, else 503 with the reasons; ?listener=NAME
//   /live        200 if every worker makes progress, else 503
//   /api/status  what the dashboard shows, as JSON
//   /            the dashboard
//
// It parses and prints by cpp-httplib, and knows no socket: who serves it reads requests and writes
// responses as slowly as clients like (http_server.h). Each response closes its connection.
//
// Any thread; several may be in Respond at once.
#ifndef PROXY_ADMIN_HTTP_PAGES_H_
#define PROXY_ADMIN_HTTP_PAGES_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "proxy/observe/history.h"
#include "proxy/observe/readings.h"

namespace parkway {

// What the control thread answers.
struct HttpAnswer {
  std::shared_ptr<const Readings> readings;  // null: it did not answer
  std::shared_ptr<const HistoryView> history;
};

class HttpPages {
 public:
  // Asks the control thread: `done` is called once, on any thread, or never. Must not wait.
  using Ask = std::function<void(bool slowest, std::function<void(HttpAnswer)> done)>;

  struct Caller {
    std::string address;
    int port = 0;
    bool loopback = false;  // else it is allowed by name of its network
  };

  explicit HttpPages(Ask ask);
  ~HttpPages();

  // `request`: one whole head. Takes as long as the control thread takes to answer, at most
  // kPatience, and as printing takes.
  std::string Respond(std::string_view request, const Caller& caller);

  // Whether `request` is one of those that somebody's restart or traffic depends on, and that are
  // quick to answer.
  static bool IsUrgent(std::string_view request);

  // Who waits for an answer gets none, from now on.
  void Stop();

 private:
  class Server;
  struct Waiting;

  HttpAnswer AskAndWait(bool slowest);

  const Ask ask_;
  const std::unique_ptr<Server> server_;
  std::mutex mutex_;
  std::condition_variable answered_;
  bool stopping_ = false;
};

}  // namespace parkway

#endif  // PROXY_ADMIN_HTTP_PAGES_H_
