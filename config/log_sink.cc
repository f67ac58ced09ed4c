#include "config/log_sink.h"

#include <vector>

#include "config/address.h"
#include "config/quote.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config {
namespace {

// HOST, HOST:PORT, [IPv6], [IPv6]:PORT.
absl::StatusOr<LogSink> ParseSyslog(std::string_view text) {
  constexpr std::string_view kForm = "write syslog:HOST or syslog:HOST:514";
  LogSink sink = {.kind = LogSink::Kind::kSyslog, .port = kSyslogPort};
  if (const absl::StatusOr<Address> bare = ParseIp(text); bare.ok()) {
    sink.target = PrintIp(*bare);
    return sink;
  }
  const absl::StatusOr<Address> address = ParseAddress(text, AddressUse::kConnects);
  if (!address.ok()) return address.status();
  const bool offset = address->relative && address->port != 0;
  if (address->is_unix() || address->kind == Address::Kind::kService || offset) {
    return Wrong(Cat(Quoted(text), " is no host"), kForm);
  }
  if (!address->relative) sink.port = address->port;
  sink.target = address->kind == Address::Kind::kHost ? address->path : PrintIp(*address);
  return sink;
}

}  // namespace

absl::StatusOr<LogSink> ParseLogSink(std::string_view text) {
  constexpr std::string_view kForms =
      "write off, stderr, stdout, file:PATH, unix:PATH or syslog:HOST[:514]";
  if (text == "off" || text == "0") return LogSink{.kind = LogSink::Kind::kOff};
  if (text == "stderr") return LogSink{.kind = LogSink::Kind::kStderr};
  if (text == "stdout") return LogSink{.kind = LogSink::Kind::kStdout};
  std::string_view rest = text;
  if (ConsumePrefix(&rest, "syslog:")) return ParseSyslog(rest);
  LogSink sink;
  if (ConsumePrefix(&rest, "file:")) {
    sink.kind = LogSink::Kind::kFile;
  } else if (ConsumePrefix(&rest, "unix:")) {
    sink.kind = LogSink::Kind::kUnix;
  } else {
    return Wrong(Cat(Quoted(text), " is not known here"), kForms);
  }
  absl::StatusOr<std::string> path =
      sink.kind == LogSink::Kind::kFile ? CanonicalPath(rest) : CanonicalSocketPath(rest);
  if (!path.ok()) return path.status();
  sink.target = *std::move(path);
  return sink;
}

std::string PrintLogSink(const LogSink& sink) {
  switch (sink.kind) {
    case LogSink::Kind::kOff:
      return "off";
    case LogSink::Kind::kStderr:
      break;
    case LogSink::Kind::kStdout:
      return "stdout";
    case LogSink::Kind::kFile:
      return Cat("file:", sink.target);
    case LogSink::Kind::kUnix:
      return Cat("unix:", sink.target);
    case LogSink::Kind::kSyslog: {
      if (sink.port == kSyslogPort) return Cat("syslog:", sink.target);
      const bool ipv6 = sink.target.find(':') != std::string::npos;
      return Cat("syslog:", ipv6 ? "[" : "", sink.target, ipv6 ? "]:" : ":", sink.port);
    }
  }
  return "stderr";
}

absl::StatusOr<LogSkip> ParseLogSkip(std::string_view text) {
  LogSkip skip;
  for (const std::string_view word : Split(text, ',')) {
    constexpr std::string_view kWords[] = {"null", "normal"};
    const absl::StatusOr<size_t> index = ParseWord(word, kWords);
    if (!index.ok()) return index.status();
    (*index == 0 ? skip.null : skip.normal) = true;
  }
  return skip;
}

absl::StatusOr<std::string> CanonicalLogSkip(std::string_view text) {
  const absl::StatusOr<LogSkip> skip = ParseLogSkip(text);
  if (!skip.ok()) return skip.status();
  std::vector<std::string_view> words;
  if (skip->null) words.push_back("null");
  if (skip->normal) words.push_back("normal");
  return Join(words, ",");
}

absl::StatusOr<LogEvents> ParseLogEvents(std::string_view text) {
  LogEvents events;
  for (const std::string_view word : Split(text, ',')) {
    constexpr std::string_view kWords[] = {"open", "connect"};
    const absl::StatusOr<size_t> index = ParseWord(word, kWords);
    if (!index.ok()) return index.status();
    (*index == 0 ? events.open : events.connect) = true;
  }
  return events;
}

absl::StatusOr<std::string> CanonicalLogEvents(std::string_view text) {
  const absl::StatusOr<LogEvents> events = ParseLogEvents(text);
  if (!events.ok()) return events.status();
  std::vector<std::string_view> words;
  if (events->open) words.push_back("open");
  if (events->connect) words.push_back("connect");
  return Join(words, ",");
}

}  // namespace parkway::config
