#include "proxy/collect_source.h"

#include <pthread.h>

#include <utility>

namespace parkway {

CollectSource SourceOf(const std::vector<std::unique_ptr<Worker>>& workers,
                       std::vector<std::thread>& threads) {
  CollectSource source;
  for (size_t i = 0; i < workers.size(); ++i) {
    Worker& worker = *workers[i];
    CollectSource::OfWorker& of = source.workers.emplace_back();
    of.stats = &worker.worker_stats();
    of.connections = [&worker] { return worker.sessions(); };
    of.turns = [&worker] { return worker.turns(); };
    of.ask = [&worker](MonotonicTime posted, bool slowest, Census::Done done) {
      worker.PostCensus(posted, slowest, std::move(done));
    };
    of.has_cpu_clock = pthread_getcpuclockid(threads[i].native_handle(), &of.cpu_clock) == 0;
  }
  return source;
}

}  // namespace parkway
