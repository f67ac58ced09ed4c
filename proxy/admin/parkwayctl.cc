// parkwayctl: says a command to the daemon's admin socket, prints the answer, and ends as it ended:
// 0 done, 1 refused or failed, 2 not understood, 3 not done in time.
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "config/quote.h"
#include "config/text.h"
#include "config/value.h"
#include "proxy/admin/client.h"
#include "proxy/admin/command_table.h"
#include "proxy/admin/progress.h"
#include "proxy/admin/top.h"
#include "proxy/core/version.h"

namespace parkway::admin {
namespace {

using config::Cat;

constexpr char kDefaultSocket[] = "/run/parkway/admin.sock";
constexpr absl::Duration kDefaultTimeout = absl::Seconds(30);
constexpr absl::Duration kLeastInterval = absl::Milliseconds(50);

constexpr char kUsage[] =
    "usage: parkwayctl [--socket=PATH] [--json] [--timeout=TIME|off] COMMAND...\n"
    "\n"
    "  --socket=PATH    the daemon's admin socket; without it $PARKWAY_ADMIN_SOCKET, or\n"
    "                   /run/parkway/admin.sock\n"
    "  --json           the answer as JSON\n"
    "  --timeout=TIME   how long to wait for the answer; 30s, and no end for what is given --wait\n"
    "  --commands       the table of commands, for programs: name, tab, arguments\n"
    "  --man            the same as a section of a man page\n"
    "  --help, --version\n"
    "\n"
    "Ends with 0: done, 1: refused or failed, 2: not understood, 3: not done in time.\n"
    "\n";

struct Call {
  std::string socket;
  bool json = false;
  absl::Duration timeout = kDefaultTimeout;
  bool timeout_given = false;
  std::vector<std::string> words;
};

int Complain(Status status, std::string_view what) {
  fprintf(stderr, "parkwayctl: %.*s\n", static_cast<int>(what.size()), what.data());
  return static_cast<int>(status);
}

void Print(std::string_view text) { fwrite(text.data(), 1, text.size(), stdout); }

std::string SocketPath() {
  const char* path = getenv("PARKWAY_ADMIN_SOCKET");
  return path != nullptr && *path != '\0' ? path : kDefaultSocket;
}

// Sets `call`; or ends, with the code in `*code`. Options of ours may stand anywhere.
bool ReadArguments(int argc, char** argv, Call* call, int* code) {
  *code = 0;
  call->socket = SocketPath();
  for (int i = 1; i < argc; ++i) {
    std::string_view word = argv[i];
    if (word.find_first_of("\r\n") != std::string_view::npos) {
      *code = Complain(Status::kUsage, "a command is one line");
      return false;
    }
    if (config::ConsumePrefix(&word, "--socket=")) {
      call->socket = std::string(word);
    } else if (config::ConsumePrefix(&word, "--timeout=")) {
      const absl::StatusOr<absl::Duration> time = config::ParseDuration(word, {.off = true});
      if (!time.ok()) {
        *code = Complain(Status::kUsage, Cat("--timeout: ", config::Message(time.status())));
        return false;
      }
      call->timeout_given = true;
      call->timeout = *time == absl::ZeroDuration() ? absl::InfiniteDuration() : *time;
    } else if (word == "--json") {
      call->json = true;
    } else if (call->words.empty() && (word == "--help" || word == "-h")) {
      Print(kUsage + HelpText(""));
      return false;
    } else if (call->words.empty() && (word == "--version" || word == "-V")) {
      Print(Cat("parkwayctl ", kVersion, "\n"));
      return false;
    } else if (call->words.empty() && word == "--commands") {
      for (const Command& command : CommandTable()) {
        Print(Cat(command.words, "\t", command.arguments, "\n"));
      }
      return false;
    } else if (call->words.empty() && word == "--man") {
      Print(CommandsAsMan());
      return false;
    } else if (call->words.empty() && word.starts_with("-")) {
      *code = Complain(Status::kUsage, Cat("unknown option ", config::Quoted(word),
                                           "; parkwayctl --help lists them"));
      return false;
    } else {
      call->words.emplace_back(word);
    }
  }
  if (call->words.empty()) {
    fputs(kUsage, stderr);
    *code = static_cast<int>(Status::kUsage);
    return false;
  }
  return true;
}

// Of the table, whether the daemon runs or not.
int Help(const Call& call) {
  const std::string words =
      config::Join(std::vector<std::string>(call.words.begin() + 1, call.words.end()), " ");
  const std::string text = HelpText(words);
  if (text.empty()) return Complain(Status::kUsage, ExplainUnknown(SplitWords(words)));
  Print(text);
  return 0;
}

// 0: stdout is no terminal.
int TerminalColumns() {
  winsize size = {};
  if (isatty(STDOUT_FILENO) == 0) return 0;
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

int Run(const Call& call) {
  const bool waits = std::find(call.words.begin(), call.words.end(), "--wait") != call.words.end();
  const absl::Duration timeout =
      waits && !call.timeout_given ? absl::InfiniteDuration() : call.timeout;
  const absl::Time deadline = absl::Now() + timeout;
  Client client;
  if (const std::string wrong = client.Connect(call.socket, deadline); !wrong.empty()) {
    return Complain(Status::kRefused, wrong);
  }
  ProgressBar bar(TerminalColumns());
  const Client::Answered answered = client.Ask(config::Join(call.words, " "), call.json, deadline,
                                               [&bar](Client::Kind kind, std::string_view text) {
                                                 if (kind == Client::Kind::kProgress) {
                                                   Print(bar.Draw(text));
                                                   fflush(stdout);
                                                   return;
                                                 }
                                                 Print(bar.End());
                                                 if (kind == Client::Kind::kText) {
                                                   Print(text);
                                                   Print("\n");
                                                 } else {
                                                   fflush(stdout);
                                                   Complain(Status::kRefused, text);
                                                 }
                                               });
  Print(bar.End());
  if (answered.status == Status::kTimeout && !answered.broken.empty()) {
    return Complain(Status::kTimeout, Cat(answered.broken, ": ", config::PrintDuration(timeout),
                                          " have passed; the command may still be going on"));
  }
  if (!answered.broken.empty()) return Complain(answered.status, answered.broken);
  return static_cast<int>(answered.status);
}

int Top(const Call& call) {
  TopOptions options;
  options.socket = call.socket;
  options.timeout = call.timeout;
  for (size_t i = 1; i < call.words.size(); ++i) {
    std::string_view word = call.words[i];
    if (config::ConsumePrefix(&word, "--interval=")) {
      const absl::StatusOr<absl::Duration> time =
          config::ParseDuration(word, {.least = kLeastInterval});
      if (!time.ok()) {
        return Complain(Status::kUsage, Cat("--interval: ", config::Message(time.status())));
      }
      options.interval = *time;
    } else if (!config::ConsumePrefix(&word, "--count=") ||
               !config::ParseNumber(word, &options.count) || options.count == 0) {
      return Complain(Status::kUsage, Cat(config::Quoted(call.words[i]),
                                          " is not understood; top [--interval=TIME] [--count=N]"));
    }
  }
  return RunTop(options);
}

int Main(int argc, char** argv) {
  Call call;
  int code = 0;
  if (!ReadArguments(argc, argv, &call, &code)) return code;
  if (call.words[0] == "help") return Help(call);
  if (call.words[0] == "top") return Top(call);
  return Run(call);
}

}  // namespace
}  // namespace parkway::admin

int main(int argc, char** argv) {
  const int code = parkway::admin::Main(argc, argv);
  // An answer that could not be written was not given.
  if (fflush(stdout) != 0) return 1;
  return code;
}
