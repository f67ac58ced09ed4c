// MemoryGuard: what is done to keep the process within memory_limit (when, memory_watch.h knows):
// the limit of connections holds everybody back, and workers end those that are idle longest.
//
//   MemoryGuard memory(scheduler, crew, say);
//   memory.Keep(limit_bytes);      // at the start and after each reload; 0: no limit
//   ... memory.End(); ... until memory.ended()
//
// Control thread only.
#ifndef PROXY_MEMORY_GUARD_H_
#define PROXY_MEMORY_GUARD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "poller/scheduler.h"
#include "proxy/crew.h"
#include "proxy/drain.h"
#include "proxy/memory_watch.h"
#include "proxy/repeated.h"

namespace parkway {

class MemoryGuard {
 public:
  // Both outlive this.
  MemoryGuard(Scheduler& scheduler, Crew& crew, std::function<void(std::string line)> say);

  void Keep(uint64_t limit_bytes);
  void End() { look_.End(scheduler_); }
  bool ended() const { return look_.ended(); }
  const MemoryWatch& watch() const { return watch_; }

 private:
  MemoryWatch::Host HostOf(std::function<void(std::string line)> say);
  void Hold(bool hold);
  void Shed();

  Scheduler& scheduler_;
  Crew& crew_;
  uint64_t limit_bytes_ = 0;
  MemoryWatch watch_;
  Repeated look_;
  std::shared_ptr<DrainTally> shed_;  // of those that were ended last
};

}  // namespace parkway

#endif  // PROXY_MEMORY_GUARD_H_
