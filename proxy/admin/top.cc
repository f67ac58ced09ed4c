#include "proxy/admin/top.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "config/text.h"
#include "nlohmann/json.hpp"
#include "proxy/admin/client.h"
#include "proxy/admin/top_view.h"

namespace parkway::admin {

using config::Cat;

namespace {

constexpr int kPlainColumns = 1000;

void Write(std::string_view text) {
  fwrite(text.data(), 1, text.size(), stdout);
  fflush(stdout);
}

// The screen and the keyboard, as long as it lives.
class Terminal {
 public:
  Terminal() {
    sigset_t taken;
    sigemptyset(&taken);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) sigaddset(&taken, number);
    sigprocmask(SIG_BLOCK, &taken, &before_mask_);
    signals_ = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    has_keys_ = tcgetattr(STDIN_FILENO, &before_) == 0;
    if (has_keys_) {
      termios raw = before_;
      raw.c_lflag &= static_cast<tcflag_t>(~(ICANON | ECHO));
      raw.c_cc[VMIN] = 0;
      raw.c_cc[VTIME] = 0;
      tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    // The other screen, without a cursor.
    Write("\x1b[?1049h\x1b[?25l");
  }
  ~Terminal() {
    Write("\x1b[?25h\x1b[?1049l");
    if (has_keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
    if (signals_ >= 0) close(signals_);
    sigprocmask(SIG_SETMASK, &before_mask_, nullptr);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  static TopSize Size() {
    TopSize size{.columns = 80, .rows = 24, .colors = true};
    winsize window = {};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 && window.ws_row > 0) {
      size.columns = window.ws_col;
      size.rows = window.ws_row;
    }
    return size;
  }

  static void Draw(const std::vector<std::string>& lines, int rows) {
    std::string text = "\x1b[H";
    const size_t most = std::min(lines.size(), static_cast<size_t>(rows));
    for (size_t i = 0; i < most; ++i) {
      // The last line has no end: that would scroll.
      config::Append(&text, lines[i], "\x1b[K", i + 1 < most ? "\r\n" : "");
    }
    Write(text + "\x1b[J");
  }

  enum class Event { kTime, kQuit, kResized };
  Event WaitUntil(absl::Time when) {
    for (;;) {
      const int64_t ms = absl::ToInt64Milliseconds(when - absl::Now()) + 1;
      if (ms <= 0) return Event::kTime;
      pollfd waiting[2] = {{signals_, POLLIN, 0}, {has_keys_ ? STDIN_FILENO : -1, POLLIN, 0}};
      if (poll(waiting, 2, static_cast<int>(std::min<int64_t>(ms, 60'000))) <= 0) continue;
      signalfd_siginfo info;
      while (read(signals_, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo != SIGWINCH) return Event::kQuit;
        return Event::kResized;
      }
      char keys[64];
      const ssize_t got = has_keys_ ? read(STDIN_FILENO, keys, sizeof(keys)) : 0;
      for (ssize_t i = 0; i < got; ++i) {
        if (keys[i] == 'q' || keys[i] == 'Q' || keys[i] == 3) return Event::kQuit;
      }
      // Nobody is at the keyboard any more.
      if (got <= 0 && (waiting[1].revents & (POLLHUP | POLLERR)) != 0) return Event::kQuit;
    }
  }

 private:
  termios before_ = {};
  sigset_t before_mask_ = {};
  bool has_keys_ = false;
  int signals_ = -1;
};

// Asks the daemon, and connects anew when it has gone.
class Source {
 public:
  explicit Source(const TopOptions& options) : options_(options) {}

  // Nothing: `wrong` says why.
  std::optional<TopSample> Take(std::string* wrong) {
    const absl::Time deadline = absl::Now() + options_.timeout;
    if (client_ == nullptr || !client_->connected()) {
      client_ = std::make_unique<Client>();
      *wrong = client_->Connect(options_.socket, deadline);
      if (!wrong->empty()) return std::nullopt;
    }
    TopSample sample;
    const std::pair<const char*, nlohmann::json TopSample::*> questions[] = {
        {"show info", &TopSample::info},         {"show listeners", &TopSample::listeners},
        {"show servers", &TopSample::upstreams}, {"show threads", &TopSample::threads},
        {"show slowest", &TopSample::slowest},
    };
    for (const auto& [command, part] : questions) {
      std::string text, error;
      const Client::Answered answered =
          client_->Ask(command, true, deadline, [&](Client::Kind kind, std::string_view line) {
            (kind == Client::Kind::kText ? text : error) += line;
          });
      sample.*part = nlohmann::json::parse(text, nullptr, false);
      if (answered.status != Status::kDone || (sample.*part).is_discarded()) {
        *wrong = Cat(command, ": ",
                     !answered.broken.empty() ? answered.broken
                     : !error.empty()         ? error
                                              : "an answer that is no JSON");
        return std::nullopt;
      }
    }
    sample.taken = absl::Now();
    return sample;
  }

 private:
  const TopOptions& options_;
  std::unique_ptr<Client> client_;
};

int RunPlain(const TopOptions& options) {
  Source source(options);
  std::optional<TopSample> before;
  for (uint64_t i = 0; i < options.count; ++i) {
    std::string wrong;
    std::optional<TopSample> now = source.Take(&wrong);
    if (!now.has_value()) {
      fprintf(stderr, "parkwayctl: %s\n", wrong.c_str());
      return static_cast<int>(Status::kRefused);
    }
    // Rates are of the time between two.
    if (!before.has_value()) {
      before = std::move(now);
      absl::SleepFor(options.interval);
      now = source.Take(&wrong);
      if (!now.has_value()) continue;
    }
    if (i > 0) Write("\n");
    for (const std::string& line :
         TopScreen(*now, &*before, {.columns = kPlainColumns, .rows = 0, .colors = false})) {
      Write(line + "\n");
    }
    if (ferror(stdout) != 0) return static_cast<int>(Status::kRefused);
    before = std::move(now);
    if (i + 1 < options.count) absl::SleepFor(options.interval);
  }
  return 0;
}

int RunOnTerminal(const TopOptions& options) {
  Source source(options);
  std::string wrong;
  std::optional<TopSample> before, now = source.Take(&wrong);
  if (!now.has_value()) {
    fprintf(stderr, "parkwayctl: %s\n", wrong.c_str());
    return static_cast<int>(Status::kRefused);
  }
  Terminal terminal;
  absl::Time next = absl::Now() + options.interval;
  for (uint64_t shown = 0;;) {
    const TopSize size = Terminal::Size();
    std::vector<std::string> lines = TopScreen(*now, before.has_value() ? &*before : nullptr, size);
    if (!wrong.empty()) {
      lines.insert(lines.begin(), Cat("\x1b[31mno new numbers: ", wrong, "\x1b[0m"));
    }
    Terminal::Draw(lines, size.rows);
    switch (terminal.WaitUntil(next)) {
      case Terminal::Event::kQuit:
        return 0;
      case Terminal::Event::kResized:
        continue;
      case Terminal::Event::kTime:
        break;
    }
    if (++shown >= options.count) return 0;
    next = absl::Now() + options.interval;
    wrong.clear();
    if (std::optional<TopSample> taken = source.Take(&wrong); taken.has_value()) {
      before = std::exchange(now, std::move(taken));
    }
  }
}

}  // namespace

int RunTop(const TopOptions& options) {
  return isatty(STDOUT_FILENO) != 0 ? RunOnTerminal(options) : RunPlain(options);
}

}  // namespace parkway::admin
