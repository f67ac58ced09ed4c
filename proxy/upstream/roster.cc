#include "proxy/upstream/roster.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string_view>

namespace parkway {

namespace {

// A whole round in which each comes as often as it weighs, evenly spaced: the k-th time of one
// that weighs w is due at (k + 1/2) / w.
std::vector<uint16_t> RoundOf(const std::vector<uint16_t>& servers, const UpstreamPlan& plan) {
  uint32_t divisor = 0;
  for (const uint16_t server : servers) divisor = std::gcd(divisor, plan.servers[server].weight);
  struct Turn {
    uint32_t twice_k;
    uint32_t weight;
    uint16_t server;
  };
  std::vector<Turn> turns;
  for (const uint16_t server : servers) {
    const uint32_t weight = plan.servers[server].weight / divisor;
    for (uint32_t k = 0; k < weight; ++k) turns.push_back({2 * k + 1, weight, server});
  }
  std::stable_sort(turns.begin(), turns.end(), [](const Turn& a, const Turn& b) {
    return a.twice_k * b.weight < b.twice_k * a.weight;
  });
  std::vector<uint16_t> round;
  round.reserve(turns.size());
  for (const Turn& turn : turns) round.push_back(turn.server);
  return round;
}

}  // namespace

const MaglevTable& Roster::HashTable::Get() {
  const MaglevTable* table = table_.load(std::memory_order_acquire);
  if (table != nullptr) return *table;
  std::vector<std::string_view> names;
  std::vector<uint32_t> weights;
  for (const auto& [name, weight] : names_) {
    names.push_back(name);
    weights.push_back(weight);
  }
  auto made = std::make_unique<const MaglevTable>(names, weights);
  if (table_.compare_exchange_strong(table, made.get(), std::memory_order_acq_rel)) {
    return *made.release();
  }
  return *table;
}

Roster::Roster(Balancer& balancer, std::shared_ptr<const UpstreamPlan> plan,
               std::vector<Server*> servers, const Roster* before)
    : balancer_(balancer), plan_(std::move(plan)), servers_(std::move(servers)) {
  std::vector<uint16_t> order = plan_->order;
  if (order.empty()) {
    for (size_t i = 0; i < plan_->servers.size(); ++i) order.push_back(static_cast<uint16_t>(i));
  }
  std::map<uint32_t, std::unique_ptr<Level>> levels;
  for (const uint16_t i : order) {
    const ServerPlan& server = plan_->servers[i];
    if (server.gone) continue;
    ++present_;
    if (server.weight == 0) continue;
    std::unique_ptr<Level>& level = levels[server.priority];
    if (level == nullptr) level = std::make_unique<Level>();
    level->priority = server.priority;
    level->servers.push_back(i);
    level->weight += server.weight;
    level->sums.push_back(level->weight);
  }
  for (auto& [priority, level] : levels) {
    const uint32_t first = plan_->servers[level->servers[0]].weight;
    const bool same = std::all_of(level->servers.begin(), level->servers.end(),
                                  [&](uint16_t i) { return plan_->servers[i].weight == first; });
    if (same) level->sums = {};
    const Level* old = before == nullptr ? nullptr : before->LevelOf(priority);
    if (plan_->balance == Balance::kRoundRobin) {
      level->turns = RoundOf(level->servers, *plan_);
      // Else each change would begin with the same server again.
      if (old != nullptr) level->turn = old->turn.load(std::memory_order_relaxed);
    }
    if (plan_->balance == Balance::kSourceHash) AddTable(*level, old);
    levels_.push_back(std::move(level));
  }
}

const Roster::Level* Roster::LevelOf(uint32_t priority) const {
  for (const auto& level : levels_) {
    if (level->priority == priority) return level.get();
  }
  return nullptr;
}

void Roster::AddTable(Level& level, const Level* old) const {
  HashTable::Names names;
  for (const uint16_t i : level.servers) {
    names.emplace_back(plan_->servers[i].name, plan_->servers[i].weight);
  }
  if (old != nullptr && old->table != nullptr && old->table->names() == names) {
    level.table = old->table;
  } else {
    level.table = std::make_shared<HashTable>(std::move(names));
  }
}

uint32_t Roster::WeightOf(size_t slot, MonotonicTime now) const {
  const uint32_t weight = plan_of(slot).weight * kFullWeight;
  const int64_t since = server(slot).back_since();
  if (since == 0) return weight;
  const int64_t whole = absl::ToInt64Nanoseconds(plan_of(slot).slow_start);
  const int64_t passed = now.ns() - since;
  if (passed >= whole) return weight;
  const int64_t part = std::max<int64_t>(passed, 0) / std::max<int64_t>(whole / kFullWeight, 1);
  return plan_of(slot).weight * static_cast<uint32_t>(std::clamp<int64_t>(part, 1, 256));
}

}  // namespace parkway
