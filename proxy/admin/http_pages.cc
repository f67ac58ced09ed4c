#include "proxy/admin/http_pages.h"

#include <httplib.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "proxy/admin/page.h"
#include "proxy/observe/metrics.h"
#include "proxy/observe/readiness.h"
#include "proxy/observe/status_json.h"

namespace parkway {

namespace {

// The control thread answers within a tenth of a second unless something is wrong with it.
constexpr auto kPatience = std::chrono::seconds(2);

constexpr int kOk = 200;
constexpr int kNotFound = 404;
constexpr int kUnavailable = 503;
constexpr char kText[] = "text/plain; charset=utf-8";

// One request in, one response out.
class Exchange final : public httplib::Stream {
 public:
  Exchange(std::string_view request, const HttpPages::Caller& caller)
      : request_(request), caller_(caller) {}

  bool is_readable() const override { return !request_.empty(); }
  bool is_writable() const override { return true; }
  ssize_t read(char* to, size_t size) override {
    const size_t count = std::min(size, request_.size());
    memcpy(to, request_.data(), count);
    request_.remove_prefix(count);
    return static_cast<ssize_t>(count);
  }
  ssize_t write(const char* from, size_t size) override {
    response_.append(from, size);
    return static_cast<ssize_t>(size);
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    ip = caller_.address;
    port = caller_.port;
  }
  void get_local_ip_and_port(std::string& ip, int& port) const override {
    ip.clear();
    port = 0;
  }
  socket_t socket() const override { return INVALID_SOCKET; }

  std::string TakeResponse() { return std::move(response_); }

 private:
  std::string_view request_;
  const HttpPages::Caller& caller_;
  std::string response_;
};

// A name that leads a browser here by a trick of its DNS is not one of these.
bool IsOwnHost(std::string_view host) {
  if (host.substr(0, 1) == "[") return true;
  host = host.substr(0, host.rfind(':'));
  return host == "localhost" ||
         (!host.empty() && host.find_first_not_of("0123456789.") == std::string_view::npos);
}

std::string Lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

}  // namespace

// The pages themselves.
class HttpPages::Server final : public httplib::Server {
 public:
  explicit Server(HttpPages& pages) : pages_(pages) {
    Get("/metrics", [this](const auto&, auto& response) { Metrics(response); });
    Get("/ready", [this](const auto& request, auto& response) { Ready(request, response); });
    Get("/live", [this](const auto&, auto& response) { Live(response); });
    Get("/api/status", [this](const auto& request, auto& response) { Status(request, response); });
    Get("/", [](const auto&, auto& response) {
      response.set_header("Content-Security-Policy",
                          "default-src 'none'; style-src 'unsafe-inline'; script-src "
                          "'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; "
                          "form-action 'none'; frame-ancestors 'none'");
      response.set_content(kDashboardPage, "text/html; charset=utf-8");
    });
    set_default_headers({{"Cache-Control", "no-store"},
                         {"X-Content-Type-Options", "nosniff"},
                         {"Referrer-Policy", "no-referrer"}});
    set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (!response.body.empty()) return;
      response.set_content(response.status == kNotFound
                               ? "there is /, /metrics, /ready, /live and /api/status\n"
                               : "this request was not understood\n",
                           kText);
    });
  }

  std::string Respond(std::string_view bytes, const Caller& caller) {
    Exchange exchange(bytes, caller);
    bool closed = false;
    process_request(exchange, true, closed, [&caller](httplib::Request& request) {
      // Brotli at its default is slower than any network is.
      const bool gzip =
          request.get_header_value("Accept-Encoding").find("gzip") != std::string::npos;
      request.headers.erase("Accept-Encoding");
      if (gzip) request.set_header("Accept-Encoding", "gzip");
      if (caller.loopback && !IsOwnHost(request.get_header_value("Host"))) {
        request.set_header(kStranger, "1");
      } else {
        request.headers.erase(kStranger);
      }
    });
    return exchange.TakeResponse();
  }

 private:
  // Set by ourselves, between parsing and handling.
  static constexpr char kStranger[] = "Parkway-Stranger";

  static bool Answered(const HttpAnswer& answer, httplib::Response& response) {
    if (answer.readings != nullptr) return true;
    response.status = kUnavailable;
    response.set_content("the control thread does not answer\n", kText);
    return false;
  }

  void Metrics(httplib::Response& response) {
    const HttpAnswer answer = pages_.AskAndWait(false);
    if (!Answered(answer, response)) return;
    response.set_content(MetricsText(*answer.readings), kMetricsType);
  }

  void Ready(const httplib::Request& request, httplib::Response& response) {
    const HttpAnswer answer = pages_.AskAndWait(false);
    if (!Answered(answer, response)) return;
    const std::vector<std::string> reasons =
        NotReady(*answer.readings, request.get_param_value("listener"));
    response.status = reasons.empty() ? kOk : kUnavailable;
    response.set_content(reasons.empty() ? "ready\n" : Lines(reasons), kText);
  }

  void Live(httplib::Response& response) {
    const HttpAnswer answer = pages_.AskAndWait(false);
    if (!Answered(answer, response)) return;
    const std::vector<std::string> reasons = NotAlive(*answer.readings);
    response.status = reasons.empty() ? kOk : kUnavailable;
    response.set_content(reasons.empty() ? "alive\n" : Lines(reasons), kText);
  }

  void Status(const httplib::Request& request, httplib::Response& response) {
    const HttpAnswer answer = pages_.AskAndWait(true);
    if (!Answered(answer, response)) return;
    const bool clients = !request.has_header(kStranger);
    response.set_content(StatusJson(*answer.readings, *answer.history, clients),
                         "application/json");
  }

  HttpPages& pages_;
};

HttpPages::HttpPages(Ask ask) : ask_(std::move(ask)), server_(std::make_unique<Server>(*this)) {}

HttpPages::~HttpPages() = default;

std::string HttpPages::Respond(std::string_view request, const Caller& caller) {
  return server_->Respond(request, caller);
}

bool HttpPages::IsUrgent(std::string_view request) {
  const size_t path = request.find(' ');
  if (path == std::string_view::npos) return false;
  const std::string_view rest = request.substr(path + 1);
  return rest.substr(0, 6) == "/ready" || rest.substr(0, 5) == "/live";
}

void HttpPages::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  answered_.notify_all();
}

// An answer that comes after its time finds its place still there.
struct HttpPages::Waiting {
  bool done = false;
  HttpAnswer answer;
};

HttpAnswer HttpPages::AskAndWait(bool slowest) {
  const auto waiting = std::make_shared<Waiting>();
  ask_(slowest, [this, waiting](HttpAnswer answer) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      waiting->answer = std::move(answer);
      waiting->done = true;
    }
    answered_.notify_all();
  });
  std::unique_lock<std::mutex> lock(mutex_);
  answered_.wait_for(lock, kPatience, [&] { return waiting->done || stopping_; });
  return waiting->done ? waiting->answer : HttpAnswer();
}

}  // namespace parkway
