// SelfReport: what the process says of itself: to the service manager, in the readings, in the log.
//
//   ServiceView view = LookForService(parts);
//   AddOwn(parts, readings);
//
// Control thread only, but for LineOf.
#ifndef PROXY_SELF_REPORT_H_
#define PROXY_SELF_REPORT_H_

#include <cstdint>
#include <string>

#include "proxy/core/plan.h"
#include "proxy/crew.h"
#include "proxy/drain_desk.h"
#include "proxy/ending.h"
#include "proxy/holds.h"
#include "proxy/members.h"
#include "proxy/memory_watch.h"
#include "proxy/observe/access_log.h"
#include "proxy/observe/readings.h"
#include "proxy/reload.h"
#include "proxy/service_report.h"
#include "proxy/upstream/ejections.h"

namespace parkway {

// Where the process keeps what is told.
struct SelfParts {
  const std::string& version;
  const Crew& crew;
  const AccessLog& log;
  const Holds& holds;
  DrainDesk& drains;
  const MemoryWatch& memory;
  const Ending& ending;
  const Reloader& reloader;
  const Members& members;
};

ServiceView LookForService(const SelfParts& parts);
// What the process alone knows, to what the workers have.
void AddOwn(const SelfParts& parts, Readings& readings);
// The first line of the log: what has started, where it listens, and how much it may take.
std::string StartLine(const std::string& version, uint32_t workers, const Plan& plan);
// Any thread. A server that is ejected, or back.
std::string LineOf(const ServerChange& change);

}  // namespace parkway

#endif  // PROXY_SELF_REPORT_H_
