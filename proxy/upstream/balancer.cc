#include "proxy/upstream/balancer.h"

#include <errno.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <string_view>
#include <utility>

namespace parkway {

namespace {

// Draws that meet somebody who cannot be chosen, before all are looked at.
constexpr int kDraws = 8;
// Choices by a number that another worker has changed meanwhile.
constexpr int kContested = 8;
constexpr uint32_t kFullWeight = 256;

// What is our own trouble says nothing about the server.
bool IsOurOwn(int error) {
  switch (error) {
    case EADDRNOTAVAIL:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case ECANCELED:
      return true;
    default:
      return false;
  }
}

// 0..n-1 out of 32 random bits.
uint32_t Below(uint32_t n, uint32_t bits) {
  return static_cast<uint32_t>((static_cast<uint64_t>(bits) * n) >> 32);
}

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

uint64_t HashOfSource(const PackedAddress& client) {
  const auto bytes = client.ip_bytes();
  return StableHash({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, 0);
}

Balancer::Balancer(const UpstreamPlan& plan, size_t upstream)
    : plan_(plan),
      upstream_(upstream),
      size_(plan.servers.size()),
      servers_(new Server[plan.servers.size()]) {
  std::map<uint32_t, std::unique_ptr<Level>> levels;
  for (size_t i = 0; i < size_; ++i) {
    const ServerPlan& server = plan.servers[i];
    if (server.state == ServerState::kDrain) servers_[i].Raise(Server::kDrained);
    if (server.state == ServerState::kDown) servers_[i].Raise(Server::kDown);
    if (server.weight == 0) continue;
    std::unique_ptr<Level>& level = levels[server.priority];
    if (level == nullptr) level = std::make_unique<Level>();
    level->servers.push_back(static_cast<uint16_t>(i));
    level->weight += server.weight;
    level->sums.push_back(level->weight);
  }
  for (auto& [priority, level] : levels) {
    const uint32_t first = plan.servers[level->servers[0]].weight;
    const bool same = std::all_of(level->servers.begin(), level->servers.end(),
                                  [&](uint16_t i) { return plan.servers[i].weight == first; });
    if (same) level->sums = {};
    if (plan.balance == Balance::kRoundRobin) level->turns = RoundOf(level->servers, plan);
    levels_.push_back(std::move(level));
  }
}

// ---------------------------------------------------------------------------------------------
// A choice

Balancer::Choice Balancer::Choose(const Asker& asker) {
  if (queue_.waiting() > 0) return {Choice::Kind::kWait};
  return Take(asker);
}

Balancer::Choice Balancer::Take(const Asker& asker) {
  const bool again = asker.tried != nullptr && !asker.tried->empty();
  // All who are up and were not tried; then all who are up; then, if so configured, all.
  for (int pass = again ? 0 : 1; pass < 3; ++pass) {
    if (pass == 2 && plan_.all_down != AllDown::kTryAll) break;
    for (const auto& level : levels_) {
      const uint32_t away = pass == 2 ? Server::kByOperator : AwayIn(*level, asker);
      const Choice choice = TakeIn(*level, {asker, pass == 0 ? asker.tried : nullptr, away});
      if (choice.kind == Choice::Kind::kServer) return choice;
      // Full is not down: the next priority is for when these are gone. And a place in line is
      // better than who has failed this client already.
      if (choice.kind == Choice::Kind::kWait) return choice;
    }
  }
  if (plan_.all_down == AllDown::kHold && !levels_.empty()) return {Choice::Kind::kWait};
  return {Choice::Kind::kNone};
}

// The flags that rule a server of this level out: too few of them up are as many as none.
uint32_t Balancer::AwayIn(const Level& level, const Asker& asker) {
  if (plan_.panic_percent == 0) return Server::kAll;
  const Wanted wanted{asker, nullptr, Server::kAll};
  size_t up = 0;
  for (const uint16_t server : level.servers) up += Up(server, wanted) ? 1 : 0;
  const bool panic = up > 0 && up * 100 < level.servers.size() * plan_.panic_percent;
  return panic ? Server::kByOperator : Server::kAll;
}

Balancer::Choice Balancer::TakeIn(Level& level, const Wanted& wanted) {
  for (int contested = 0;; ++contested) {
    uint32_t seen = UINT32_MAX;
    const size_t chosen = Pick(level, wanted, &seen);
    if (chosen == kNobody) break;
    const bool exact = seen != UINT32_MAX && contested < kContested;
    const bool taken = exact ? servers_[chosen].TryAcquireFrom(seen)
                             : servers_[chosen].TryAcquire(plan_.servers[chosen].max_conns);
    // Who was faster has made it fuller: look again.
    if (taken) return {Choice::Kind::kServer, chosen};
  }
  for (const uint16_t server : level.servers) {
    if (Up(server, wanted)) return {Choice::Kind::kWait};
  }
  return {Choice::Kind::kNone};
}

size_t Balancer::Pick(Level& level, const Wanted& wanted, uint32_t* seen) {
  if (level.servers.size() == 1) {
    return Fits(level.servers[0], wanted) ? level.servers[0] : kNobody;
  }
  switch (plan_.balance) {
    case Balance::kP2c:
      return PickOfTwo(level, wanted);
    case Balance::kLeastConn:
      return PickLowest(level, wanted, seen,
                        [](uint64_t connections, size_t) { return connections; });
    case Balance::kLeastTime:
      return PickLowest(level, wanted, nullptr, [&](uint64_t connections, size_t server) {
        return (connections + 1) * servers_[server].ConnectTimeUs(wanted.asker.now);
      });
    case Balance::kRoundRobin:
      return PickInTurn(level, wanted);
    case Balance::kSourceHash:
      return PickByHash(level, wanted);
    case Balance::kRandom:
      return PickRandom(level, wanted);
    case Balance::kFirst:
      break;
  }
  for (const uint16_t server : level.servers) {
    if (Fits(server, wanted)) return server;
  }
  return kNobody;
}

size_t Balancer::PickOfTwo(const Level& level, const Wanted& wanted) {
  const size_t one = Draw(level, wanted);
  if (one == kNobody) return PickRandom(level, wanted);
  size_t other = Draw(level, wanted);
  // Two who are the same are no choice.
  for (int i = 0; i < kDraws && other == one; ++i) other = Draw(level, wanted);
  if (other == kNobody || other == one) return one;
  const uint64_t load_one =
      static_cast<uint64_t>(servers_[one].connections()) * WeightOf(other, wanted.asker.now);
  const uint64_t load_other =
      static_cast<uint64_t>(servers_[other].connections()) * WeightOf(one, wanted.asker.now);
  return load_other < load_one ? other : one;
}

// One by weight, if few draws find one that fits.
size_t Balancer::Draw(const Level& level, const Wanted& wanted) {
  const auto count = static_cast<uint32_t>(level.servers.size());
  for (int i = 0; i < kDraws; ++i) {
    const auto bits = static_cast<uint32_t>(wanted.asker.random() >> 32);
    size_t place;
    if (level.sums.empty()) {
      place = Below(count, bits);
    } else {
      const uint32_t at = Below(level.weight, bits);
      place = static_cast<size_t>(std::upper_bound(level.sums.begin(), level.sums.end(), at) -
                                  level.sums.begin());
    }
    const size_t server = level.servers[place];
    if (Fits(server, wanted) && SlowStartTakes(server, wanted)) return server;
  }
  return kNobody;
}

// By weight, among those that fit.
size_t Balancer::PickRandom(const Level& level, const Wanted& wanted) {
  const size_t drawn = Draw(level, wanted);
  if (drawn != kNobody) return drawn;
  uint64_t sum = 0;
  for (const uint16_t server : level.servers) {
    if (Fits(server, wanted)) sum += WeightOf(server, wanted.asker.now);
  }
  if (sum == 0) return kNobody;
  uint64_t at = wanted.asker.random() % sum;
  size_t last = kNobody;
  for (const uint16_t server : level.servers) {
    if (!Fits(server, wanted)) continue;
    last = server;
    const uint64_t weight = WeightOf(server, wanted.asker.now);
    if (at < weight) break;
    at -= weight;
  }
  return last;
}

// The lowest score for its weight; one of several by weight.
template <typename Score>
size_t Balancer::PickLowest(const Level& level, const Wanted& wanted, uint32_t* seen, Score score) {
  size_t best = kNobody;
  uint64_t best_score = 0;
  uint64_t best_weight = 1;
  uint64_t equal_weight = 0;
  for (const uint16_t server : level.servers) {
    // Read once: who is taken from this number must have had room by it.
    const uint32_t connections = servers_[server].connections();
    const uint32_t most = plan_.servers[server].max_conns;
    if ((most != 0 && connections >= most) || !Up(server, wanted)) continue;
    const uint64_t weight = WeightOf(server, wanted.asker.now);
    const uint64_t its_score = score(connections, server);
    if (best != kNobody) {
      const uint64_t left = its_score * best_weight;
      const uint64_t right = best_score * weight;
      if (left > right) continue;
      if (left == right) {
        equal_weight += weight;
        if (wanted.asker.random() % equal_weight >= weight) continue;
      } else {
        equal_weight = weight;
      }
    } else {
      equal_weight = weight;
    }
    best = server;
    best_score = its_score;
    best_weight = weight;
    if (seen != nullptr) *seen = connections;
  }
  return best;
}

size_t Balancer::PickInTurn(Level& level, const Wanted& wanted) {
  // Who has failed one of these is out of turn; what it takes instead is nobody's turn.
  if (wanted.tried != nullptr && !wanted.tried->empty()) return PickRandom(level, wanted);
  const size_t round = level.turns.size();
  // Who cannot be chosen loses its turn, and the next one is taken instead: the others keep their
  // shares.
  const size_t most = std::max<size_t>(2 * round, kDraws);
  for (size_t i = 0; i < most; ++i) {
    const size_t server = level.turns[level.turn.fetch_add(1, std::memory_order_relaxed) % round];
    if (Fits(server, wanted) && SlowStartTakes(server, wanted)) return server;
  }
  return PickRandom(level, wanted);
}

size_t Balancer::PickByHash(Level& level, const Wanted& wanted) {
  const MaglevTable& table = TableOf(level);
  uint64_t bound = 0;  // connections for the weight of all, in hundredths
  if (plan_.hash_balance_percent > 0) {
    uint64_t sum = 1;  // this one
    for (const uint16_t server : level.servers) sum += servers_[server].connections();
    bound = sum * plan_.hash_balance_percent;
  }
  const auto fits = [&](size_t server) {
    if (!Fits(server, wanted)) return false;
    if (bound == 0) return true;
    // Below its share, rounded up.
    const uint64_t connections = servers_[server].connections();
    return connections * 100 * level.weight < bound * plan_.servers[server].weight;
  };
  // Those of a server that is away are spread over all others, each always to the same.
  uint64_t hash = wanted.asker.source;
  const int looks = static_cast<int>(std::min<size_t>(4 * level.servers.size(), 64));
  for (int i = 0; i < looks; ++i) {
    const size_t server = level.servers[table.At(hash)];
    if (fits(server)) return server;
    hash = StableHash({}, hash);
  }
  const size_t from = hash % level.servers.size();
  for (const bool bounded : {true, false}) {
    for (size_t i = 0; i < level.servers.size(); ++i) {
      const size_t server = level.servers[(from + i) % level.servers.size()];
      if (bounded ? fits(server) : Fits(server, wanted)) return server;
    }
  }
  return kNobody;
}

const MaglevTable& Balancer::TableOf(Level& level) {
  const MaglevTable* table = level.table.load(std::memory_order_acquire);
  if (table != nullptr) return *table;
  std::vector<std::string_view> names;
  std::vector<uint32_t> weights;
  for (const uint16_t server : level.servers) {
    names.push_back(plan_.servers[server].name);
    weights.push_back(plan_.servers[server].weight);
  }
  auto made = std::make_unique<const MaglevTable>(names, weights);
  // Two workers may make it at once; nobody waits, and the first one stays.
  if (level.table.compare_exchange_strong(table, made.get(), std::memory_order_acq_rel)) {
    return *made.release();
  }
  return *table;
}

// ---------------------------------------------------------------------------------------------
// One server

bool Balancer::Up(size_t server, const Wanted& wanted) {
  const uint32_t flags = servers_[server].flags() & wanted.away;
  if (flags != 0) {
    if (flags != Server::kEjected) return false;
    if (wanted.asker.now.ns() < servers_[server].ejected_until()) return false;
    Return(server, wanted.asker.now);
  }
  return wanted.tried == nullptr || !wanted.tried->Contains(server);
}

bool Balancer::HasRoom(size_t server) const {
  const uint32_t most = plan_.servers[server].max_conns;
  return most == 0 || servers_[server].connections() < most;
}

uint32_t Balancer::WeightOf(size_t server, MonotonicTime now) const {
  const uint32_t weight = plan_.servers[server].weight * kFullWeight;
  const int64_t since = servers_[server].back_since();
  if (since == 0) return weight;
  const int64_t whole = absl::ToInt64Nanoseconds(plan_.servers[server].slow_start);
  const int64_t passed = now.ns() - since;
  if (passed >= whole) return weight;
  const int64_t part = std::max<int64_t>(passed, 0) / std::max<int64_t>(whole / kFullWeight, 1);
  return plan_.servers[server].weight * static_cast<uint32_t>(std::clamp<int64_t>(part, 1, 256));
}

// What slow start leaves of its chances.
bool Balancer::SlowStartTakes(size_t server, const Wanted& wanted) const {
  if (servers_[server].back_since() == 0) return true;
  const uint32_t whole = plan_.servers[server].weight * kFullWeight;
  const uint32_t now = WeightOf(server, wanted.asker.now);
  return now == whole || Below(whole, static_cast<uint32_t>(wanted.asker.random() >> 32)) < now;
}

void Balancer::Release(size_t server, MonotonicTime now) {
  servers_[server].Release();
  if (queue_.waiting() > 0) Serve(now);
}

void Balancer::Connected(size_t server, int64_t took_ns, MonotonicTime now) {
  servers_[server].ForgetFailures();
  if (plan_.servers[server].health.traffic_counts) servers_[server].NoteConnect(now);
  if (plan_.balance == Balance::kLeastTime) servers_[server].NoteConnectTime(took_ns, now);
}

bool Balancer::Failed(size_t server, int error, MonotonicTime now) {
  if (IsOurOwn(error)) return false;
  Server& failed = servers_[server];
  const ServerPlan& plan = plan_.servers[server];
  const uint32_t failures = failed.CountFailure();
  // Each so many, one of those who count them has the say.
  if (plan.passive_fails == 0 || failures % plan.passive_fails != 0) return false;
  if ((failed.flags() & Server::kEjected) != 0) return false;
  // A place among those who may be away at once.
  const auto most =
      static_cast<uint32_t>(std::min(size_ * plan_.max_ejection_percent / 100, size_ - 1));
  uint32_t ejected = ejected_.load(std::memory_order_relaxed);
  do {
    if (ejected >= most) return false;
  } while (!ejected_.compare_exchange_weak(ejected, ejected + 1, std::memory_order_relaxed));
  // First until when: who sees the flag looks there.
  const int64_t before = failed.ejected_until();
  const int64_t time = failed.NextEjection(now, absl::ToInt64Nanoseconds(plan.ejection_time));
  failed.set_ejected_until(now.PlusNs(time).ns());
  failed.set_ejected_since(now);
  failed.Raise(Server::kEjected);
  // Asked afterwards, so that two who are the last but one see each other go.
  if (!OthersUp(server)) {
    failed.set_ejected_until(before);
    if (failed.Lower(Server::kEjected)) ejected_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  failed.ForgetFailures();
  Tell({ServerChange::What::kEjected, upstream_, server, failures, error, absl::Nanoseconds(time)});
  return true;
}

bool Balancer::OthersUp(size_t server) const {
  for (const auto& level : levels_) {
    for (const uint16_t other : level->servers) {
      if (other != server && servers_[other].flags() == 0) return true;
    }
  }
  return false;
}

void Balancer::Return(size_t server, MonotonicTime now) {
  Server& back = servers_[server];
  if (!back.Lower(Server::kEjected)) return;  // another worker was first
  ejected_.fetch_sub(1, std::memory_order_relaxed);
  back.ForgetFailures();
  if (plan_.servers[server].slow_start > absl::ZeroDuration()) back.set_back_since(now);
  Tell({ServerChange::What::kReturned, upstream_, server, 0, 0,
        absl::Nanoseconds(now.ns() - back.ejected_since())});
}

bool Balancer::Lower(size_t server, Server::Flag flag, MonotonicTime now) {
  if (!servers_[server].Lower(flag)) return false;
  if (plan_.servers[server].slow_start > absl::ZeroDuration()) {
    servers_[server].set_back_since(now);
  }
  Serve(now);
  return true;
}

// ---------------------------------------------------------------------------------------------
// The line

bool Balancer::Enqueue(std::unique_ptr<Ticket> ticket, MonotonicTime now) {
  if (!queue_.Push(std::move(ticket), plan_.queue_max)) return false;
  Serve(now);
  return true;
}

bool Balancer::Leave(Ticket& ticket, MonotonicTime now) {
  if (!queue_.Leave(ticket)) return false;
  Serve(now);
  return true;
}

void Balancer::Serve(MonotonicTime now) {
  const auto take = [this, now](Ticket& ticket, size_t* server) {
    const Choice choice = Take({now, queue_random_, ticket.source, &ticket.tried});
    *server = choice.server;
    return choice.kind == Choice::Kind::kServer;
  };
  queue_.Serve(take, [this](size_t server) { servers_[server].Release(); });
}

MonotonicTime Balancer::NextReturn() const {
  if (ejected_.load(std::memory_order_relaxed) == 0) return MonotonicTime::InfiniteFuture();
  int64_t first = MonotonicTime::InfiniteFuture().ns();
  for (size_t i = 0; i < size_; ++i) {
    if ((servers_[i].flags() & Server::kEjected) == 0) continue;
    first = std::min(first, servers_[i].ejected_until());
  }
  return MonotonicTime(first);
}

}  // namespace parkway
