// Roster: what one generation of the configuration says of the servers of an upstream, prepared for
// choosing: levels by priority, whole rounds for round_robin, tables for source_hash, and where the
// state of each server is.
//
// Made by Balancer::MakeRoster. Immutable, but for the place in a round and a table that is made
// when it is first needed: any thread.
//
// Invariants
//   1. server(i) is the same record in every roster of the upstream, for all i.
//   2. Servers that are gone, or weigh nothing, are in no level.
#ifndef PROXY_UPSTREAM_ROSTER_H_
#define PROXY_UPSTREAM_ROSTER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "poller/clock.h"
#include "proxy/core/plan.h"
#include "proxy/upstream/maglev.h"
#include "proxy/upstream/server.h"

namespace parkway {

class Balancer;

class Roster {
 public:
  // A table that is made when it is first needed, by whoever needs it.
  class HashTable {
   public:
    using Names = std::vector<std::pair<std::string, uint32_t>>;  // and weights

    explicit HashTable(Names names) : names_(std::move(names)) {}
    ~HashTable() { delete table_.load(std::memory_order_relaxed); }
    const Names& names() const { return names_; }
    // Two may make it at once; nobody waits, and the first one stays.
    const MaglevTable& Get();

   private:
    const Names names_;
    std::atomic<const MaglevTable*> table_{nullptr};
  };

  // Servers of one priority and of some weight.
  struct Level {
    uint32_t priority = 0;
    std::vector<uint16_t> servers;
    std::vector<uint32_t> sums;  // of the weights up to each; empty: all weigh the same
    uint32_t weight = 0;         // of all
    // kRoundRobin: a whole round, and whose turn it is.
    std::vector<uint16_t> turns;
    mutable std::atomic<uint64_t> turn{0};
    std::shared_ptr<HashTable> table;  // kSourceHash
  };

  // `servers`: the state of each, by slot. `before`: null, or where to take from what is the same.
  Roster(Balancer& balancer, std::shared_ptr<const UpstreamPlan> plan, std::vector<Server*> servers,
         const Roster* before);
  Roster(const Roster&) = delete;
  Roster& operator=(const Roster&) = delete;

  Balancer& balancer() const { return balancer_; }
  const UpstreamPlan& plan() const { return *plan_; }
  const std::shared_ptr<const UpstreamPlan>& shared_plan() const { return plan_; }
  Server& server(size_t slot) const { return *servers_[slot]; }
  const ServerPlan& plan_of(size_t slot) const { return plan_->servers[slot]; }
  size_t size() const { return servers_.size(); }  // slots
  size_t present() const { return present_; }      // that are not gone
  const std::vector<std::unique_ptr<Level>>& levels() const { return levels_; }  // lowest first

  bool HasRoom(size_t slot) const {
    const uint32_t most = plan_of(slot).max_conns;
    return most == 0 || server(slot).connections() < most;
  }
  // In parts of kFullWeight of the plan's, for a server that has just come back.
  static constexpr uint32_t kFullWeight = 256;
  uint32_t WeightOf(size_t slot, MonotonicTime now) const;

 private:
  const Level* LevelOf(uint32_t priority) const;
  void AddTable(Level& level, const Level* old) const;

  Balancer& balancer_;
  const std::shared_ptr<const UpstreamPlan> plan_;
  const std::vector<Server*> servers_;
  std::vector<std::unique_ptr<Level>> levels_;
  size_t present_ = 0;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_ROSTER_H_
