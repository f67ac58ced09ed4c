// parkway: flags in, exit code out.
#include <glog/logging.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "config/convert/convert.h"
#include "config/file_reader.h"
#include "config/load.h"
#include "config/machine.h"
#include "config/servers_file.h"
#include "proxy/core/version.h"
#include "proxy/front_of.h"
#include "proxy/plan_of.h"
#include "proxy/process.h"
#include "proxy/socket_proxyd.h"
#include "proxy/system/facts.h"
#include "proxy/system/journal.h"
#include "proxy/system/systemd.h"

namespace {

// Lines about the process, as the journal wants them.
class JournalSink final : public google::LogSink {
 public:
  void send(google::LogSeverity severity, const char*, const char*, int, const struct tm*,
            const char* message, size_t size) override {
    static constexpr const char* kWords[] = {"", "WARNING: ", "ERROR: ", "ERROR: "};
    std::string text(message, size);
    if (!text.starts_with(kWords[severity])) text.insert(0, kWords[severity]);
    const std::string line = parkway::JournalLine(text) + "\n";
    if (write(STDERR_FILENO, line.data(), line.size()) < 0) {
      // Nobody reads any more: there is nothing to be done about a log.
    }
  }
};

// glog, for lines about the process, writes where the access log does.
void StartLog(const char* program) {
  google::InitGoogleLogging(program);
  if (!parkway::IsJournal(STDERR_FILENO)) {
    FLAGS_logtostderr = true;
    return;
  }
  static JournalSink sink;
  google::AddLogSink(&sink);
  FLAGS_stderrthreshold = google::NUM_SEVERITIES;
  for (int severity = 0; severity < google::NUM_SEVERITIES; ++severity) {
    google::SetLogDestination(severity, "");  // no files
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string passed_error;
  std::vector<parkway::InheritedSocket> inherited = parkway::TakeInheritedSockets(&passed_error);
  if (!passed_error.empty()) {
    fprintf(stderr, "parkway: %s\n", passed_error.c_str());
    return parkway::kExitConfig;
  }
  std::vector<std::string> arguments(argv + 1, argv + argc);
  absl::Duration exit_idle_time = absl::InfiniteDuration();
  if (parkway::IsSocketProxyd(argc, argv)) {
    parkway::SocketProxyd said = parkway::ParseSocketProxyd(argc, argv);
    if (!said.error.empty()) fprintf(stderr, "parkway: %s\n", said.error.c_str());
    fputs(said.text.c_str(), stdout);
    if (said.arguments.empty()) return said.error.empty() ? parkway::kExitOk : parkway::kExitConfig;
    // There is one listener, whatever the sockets are called.
    for (parkway::InheritedSocket& socket : inherited) {
      socket.name = parkway::SocketProxyd::kListener;
    }
    arguments = std::move(said.arguments);
    exit_idle_time = said.exit_idle_time;
  }
  const parkway::config::SystemFacts facts = parkway::FindSystemFacts(inherited);
  parkway::config::DiskFileReader files;
  if (!arguments.empty() && arguments[0] == "convert") {
    const parkway::config::convert::Result converted =
        parkway::config::convert::Convert({arguments.begin() + 1, arguments.end()}, facts, files);
    if (!converted.error.empty()) fprintf(stderr, "parkway: %s\n", converted.error.c_str());
    fputs(converted.text.c_str(), stdout);
    return converted.exit_code;
  }
  const parkway::config::LoadResult loaded = parkway::config::Load(arguments, facts, files);
  for (const std::string& line : loaded.warnings) {
    fprintf(stderr, "parkway: warning: %s\n", line.c_str());
  }
  for (const std::string& line : loaded.errors) fprintf(stderr, "parkway: %s\n", line.c_str());
  if (loaded.action == parkway::config::Action::kVersion) printf("parkway %s\n", parkway::kVersion);
  fputs(loaded.text.c_str(), stdout);
  if (loaded.action != parkway::config::Action::kRun) return loaded.exit_code;

  StartLog(argv[0]);
  const auto shared = std::make_shared<const parkway::config::Snapshot>(*loaded.snapshot);
  const parkway::config::Snapshot& snapshot = *shared;
  parkway::ProcessOptions options;
  options.version = parkway::kVersion;
  options.threads = snapshot.threads;
  options.cpus = parkway::CpusFor(snapshot.scalars.cpu_affinity);
  options.load = [&arguments, &inherited, &files](const parkway::config::FileTexts& known) {
    return parkway::config::Load(arguments, parkway::FindSystemFacts(inherited), files, known);
  };
  options.reserved_descriptors = snapshot.reserved_descriptors;
  options.pipes_per_worker = snapshot.pipes_per_worker;
  if (snapshot.scalars.http.has_value()) {
    options.shown.http = parkway::AddressOf(*snapshot.scalars.http, facts.ipv6);
    options.shown.http_allow = parkway::HttpAllowOf(snapshot);
  }
  options.admin_socket = parkway::config::AdminSocketOf(snapshot.scalars.admin_socket, facts);
  options.user = snapshot.scalars.user;
  options.pidfile = snapshot.scalars.pidfile;
  options.exit_idle_time = exit_idle_time;
  options.inherited = inherited;
  return parkway::RunProcess(shared, facts, options);
}
