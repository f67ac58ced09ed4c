// parkway: flags in, exit code out.
#include <glog/logging.h>
#include <stdlib.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "config/convert/convert.h"
#include "config/file_reader.h"
#include "config/load.h"
#include "proxy/core/version.h"
#include "proxy/plan_of.h"
#include "proxy/process.h"
#include "proxy/system/facts.h"
#include "proxy/system/systemd.h"

namespace {

// glog, for lines about the process, writes where the access log does.
void StartLog(const char* program) {
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(program);
}

// "auto": in the folder that systemd has made for this run, if it has. Empty: off.
std::string AdminSocket(const std::string& wanted) {
  if (wanted != "auto") return wanted;
  const char* folder = getenv("RUNTIME_DIRECTORY");
  if (folder == nullptr || *folder == '\0') return "";
  const std::string folders = folder;  // the first of several
  return folders.substr(0, folders.find(':')) + "/admin.sock";
}

}  // namespace

int main(int argc, char** argv) {
  std::string passed_error;
  const std::vector<parkway::InheritedSocket> inherited =
      parkway::TakeInheritedSockets(&passed_error);
  if (!passed_error.empty()) {
    fprintf(stderr, "parkway: %s\n", passed_error.c_str());
    return parkway::kExitConfig;
  }
  const parkway::config::SystemFacts facts = parkway::FindSystemFacts(inherited);
  parkway::config::DiskFileReader files;
  if (argc > 1 && std::string_view(argv[1]) == "convert") {
    const parkway::config::convert::Result converted =
        parkway::config::convert::Convert({argv + 2, argv + argc}, facts, files);
    if (!converted.error.empty()) fprintf(stderr, "parkway: %s\n", converted.error.c_str());
    fputs(converted.text.c_str(), stdout);
    return converted.exit_code;
  }
  const parkway::config::LoadResult loaded = parkway::config::Load(argc, argv, facts, files);
  for (const std::string& line : loaded.warnings) {
    fprintf(stderr, "parkway: warning: %s\n", line.c_str());
  }
  for (const std::string& line : loaded.errors) fprintf(stderr, "parkway: %s\n", line.c_str());
  if (loaded.action == parkway::config::Action::kVersion) printf("parkway %s\n", parkway::kVersion);
  fputs(loaded.text.c_str(), stdout);
  if (loaded.action != parkway::config::Action::kRun) return loaded.exit_code;

  StartLog(argv[0]);
  const parkway::config::Snapshot& snapshot = *loaded.snapshot;
  const parkway::Plan plan = parkway::PlanOf(snapshot, facts, parkway::EphemeralPorts());
  parkway::ProcessOptions options;
  options.version = parkway::kVersion;
  options.threads = snapshot.threads;
  options.cpus = parkway::CpusFor(snapshot.scalars.cpu_affinity);
  options.drain_timeout = snapshot.scalars.drain_timeout;
  options.stats_interval = snapshot.scalars.stats_interval;
  options.reserved_descriptors = snapshot.reserved_descriptors;
  options.pipes_per_worker = snapshot.pipes_per_worker;
  if (snapshot.scalars.http.has_value()) {
    options.shown.http = parkway::AddressOf(*snapshot.scalars.http, facts.ipv6);
    options.shown.http_allow = parkway::HttpAllowOf(snapshot);
  }
  options.admin_socket = AdminSocket(snapshot.scalars.admin_socket);
  options.user = snapshot.scalars.user;
  options.pidfile = snapshot.scalars.pidfile;
  options.inherited = inherited;
  return parkway::RunProcess(plan, options);
}
