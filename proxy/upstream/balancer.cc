#include "proxy/upstream/balancer.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"

namespace parkway {

namespace {

// Draws that meet somebody who cannot be chosen, before all are looked at.
constexpr int kDraws = 8;
// Choices by a number that another worker has changed meanwhile.
constexpr int kContested = 8;
constexpr uint32_t kFullWeight = Roster::kFullWeight;

// 0..n-1 out of 32 random bits.
uint32_t Below(uint32_t n, uint32_t bits) {
  return static_cast<uint32_t>((static_cast<uint64_t>(bits) * n) >> 32);
}

// What slow start leaves of its chances.
bool SlowStartTakes(const Roster& roster, size_t server, const Balancer::Asker& asker) {
  if (roster.server(server).back_since() == 0) return true;
  const uint32_t whole = roster.plan_of(server).weight * kFullWeight;
  const uint32_t now = roster.WeightOf(server, asker.now);
  return now == whole || Below(whole, static_cast<uint32_t>(asker.random() >> 32)) < now;
}

}  // namespace

uint64_t HashOfSource(const PackedAddress& client) {
  const auto bytes = client.ip_bytes();
  return StableHash({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, 0);
}

// ---------------------------------------------------------------------------------------------
// Generations

std::shared_ptr<const Roster> Balancer::MakeRoster(std::shared_ptr<const UpstreamPlan> plan,
                                                   const Roster* before) {
  while (servers_.size() < plan->servers.size()) servers_.emplace_back();
  std::vector<Server*> servers;
  servers.reserve(plan->servers.size());
  for (size_t i = 0; i < plan->servers.size(); ++i) servers.push_back(&servers_[i]);
  return std::make_shared<const Roster>(*this, std::move(plan), std::move(servers), before);
}

void Balancer::Dismiss(const Roster& roster) {
  for (size_t i = 0; i < roster.size(); ++i) {
    if (!roster.plan_of(i).gone) continue;
    roster.server(i).Raise(Server::kGone);
    ejections_.End(roster.server(i));
  }
}

void Balancer::Welcome(const Roster& roster, const Roster* before, MonotonicTime now) {
  for (size_t i = 0; i < roster.size(); ++i) {
    const ServerPlan& plan = roster.plan_of(i);
    const ServerPlan* old = before != nullptr && i < before->size() ? &before->plan_of(i) : nullptr;
    if (plan.gone) continue;
    Server& server = roster.server(i);
    if (old == nullptr || old->gone) {
      if (old != nullptr && old->vacant()) server.BecomeAnother();
      Renew(server, plan);
      ApplyState(server, plan, now);
      if (before != nullptr && plan.slow_start > absl::ZeroDuration()) server.set_back_since(now);
      server.Lower(Server::kGone);
      continue;
    }
    if (!(old->address == plan.address)) {
      ejections_.End(server);
      server.ForgetFailures();
    }
    if (old->state != plan.state) ApplyState(server, plan, now);
  }
}

// As if it had never been there.
void Balancer::Renew(Server& server, const ServerPlan& plan) {
  ejections_.End(server);
  server.ForgetFailures();
  server.set_back_since(MonotonicTime());
  if (plan.health.on() && !plan.health.initially_up) {
    server.Raise(Server::kUnhealthy);
  } else {
    server.Lower(Server::kUnhealthy);
  }
}

void Balancer::ApplyState(Server& server, const ServerPlan& plan, MonotonicTime now) {
  bool back = false;
  const auto set = [&](Server::Flag flag, bool wanted) {
    if (wanted) {
      server.Raise(flag);
    } else if (server.Lower(flag)) {
      back = plan.state == ServerState::kReady;
    }
  };
  set(Server::kDrained, plan.state == ServerState::kDrain);
  set(Server::kDown, plan.state == ServerState::kDown);
  if (back && plan.slow_start > absl::ZeroDuration()) server.set_back_since(now);
}

// ---------------------------------------------------------------------------------------------
// A choice

Balancer::Choice Balancer::Choose(const Roster& roster, const Asker& asker) {
  if (queue_.waiting() == 0) return Take(roster, asker);
  // Those who wait hoped for a server that is up; who comes now would wait for none.
  const bool hopeless = roster.plan().all_down == AllDown::kClose && !AnyUp(roster, asker);
  return {hopeless ? Choice::Kind::kNone : Choice::Kind::kWait};
}

bool Balancer::AnyUp(const Roster& roster, const Asker& asker) {
  for (const auto& level : roster.levels()) {
    const Wanted wanted{roster, asker, nullptr, AwayIn(*level, roster, asker)};
    for (const uint16_t server : level->servers) {
      if (Up(server, wanted)) return true;
    }
  }
  return false;
}

Balancer::Choice Balancer::Take(const Roster& roster, const Asker& asker) {
  const bool again = asker.tried != nullptr && !asker.tried->empty();
  // All who are up and were not tried; then all who are up; then, if so configured, all.
  for (int pass = again ? 0 : 1; pass < 3; ++pass) {
    if (pass == 2 && roster.plan().all_down != AllDown::kTryAll) break;
    for (const auto& level : roster.levels()) {
      const uint32_t away = pass == 2 ? Server::kByOperator : AwayIn(*level, roster, asker);
      const Choice choice =
          TakeIn(*level, {roster, asker, pass == 0 ? asker.tried : nullptr, away});
      if (choice.kind == Choice::Kind::kServer) return choice;
      // Full is not down: the next priority is for when these are gone. And a place in line is
      // better than who has failed this client already.
      if (choice.kind == Choice::Kind::kWait) return choice;
    }
  }
  if (roster.plan().all_down == AllDown::kHold && !roster.levels().empty())
    return {Choice::Kind::kWait};
  return {Choice::Kind::kNone};
}

// The flags that rule a server of this level out: too few of them up are as many as none.
uint32_t Balancer::AwayIn(const Level& level, const Roster& roster, const Asker& asker) {
  const uint32_t panic_percent = roster.plan().panic_percent;
  if (panic_percent == 0) return Server::kAll;
  const Wanted wanted{roster, asker, nullptr, Server::kAll};
  size_t up = 0;
  for (const uint16_t server : level.servers) up += Up(server, wanted) ? 1 : 0;
  const bool panic = up > 0 && up * 100 < level.servers.size() * panic_percent;
  return panic ? Server::kByOperator : Server::kAll;
}

Balancer::Choice Balancer::TakeIn(const Level& level, const Wanted& wanted) {
  for (int contested = 0;; ++contested) {
    uint32_t seen = UINT32_MAX;
    const size_t chosen = Pick(level, wanted, &seen);
    if (chosen == kNobody) break;
    const bool exact = seen != UINT32_MAX && contested < kContested;
    const bool taken =
        exact ? wanted.roster.server(chosen).TryAcquireFrom(seen)
              : wanted.roster.server(chosen).TryAcquire(wanted.roster.plan_of(chosen).max_conns);
    // Who was faster has made it fuller: look again.
    if (taken) return {Choice::Kind::kServer, chosen};
  }
  for (const uint16_t server : level.servers) {
    if (Up(server, wanted)) return {Choice::Kind::kWait};
  }
  return {Choice::Kind::kNone};
}

size_t Balancer::Pick(const Level& level, const Wanted& wanted, uint32_t* seen) {
  if (level.servers.size() == 1) {
    return Fits(level.servers[0], wanted) ? level.servers[0] : kNobody;
  }
  switch (wanted.roster.plan().balance) {
    case Balance::kP2c:
      return PickOfTwo(level, wanted);
    case Balance::kLeastConn:
      return PickLowest(level, wanted, seen,
                        [](uint64_t connections, size_t) { return connections; });
    case Balance::kLeastTime:
      return PickLowest(level, wanted, nullptr, [&](uint64_t connections, size_t server) {
        return (connections + 1) * wanted.roster.server(server).ConnectTimeUs(wanted.asker.now);
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
  const uint64_t load_one = static_cast<uint64_t>(wanted.roster.server(one).connections()) *
                            wanted.roster.WeightOf(other, wanted.asker.now);
  const uint64_t load_other = static_cast<uint64_t>(wanted.roster.server(other).connections()) *
                              wanted.roster.WeightOf(one, wanted.asker.now);
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
    if (Fits(server, wanted) && SlowStartTakes(wanted.roster, server, wanted.asker)) return server;
  }
  return kNobody;
}

// By weight, among those that fit.
size_t Balancer::PickRandom(const Level& level, const Wanted& wanted) {
  const size_t drawn = Draw(level, wanted);
  if (drawn != kNobody) return drawn;
  uint64_t sum = 0;
  for (const uint16_t server : level.servers) {
    if (Fits(server, wanted)) sum += wanted.roster.WeightOf(server, wanted.asker.now);
  }
  if (sum == 0) return kNobody;
  uint64_t at = wanted.asker.random() % sum;
  size_t last = kNobody;
  for (const uint16_t server : level.servers) {
    if (!Fits(server, wanted)) continue;
    last = server;
    const uint64_t weight = wanted.roster.WeightOf(server, wanted.asker.now);
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
    const uint32_t connections = wanted.roster.server(server).connections();
    const uint32_t most = wanted.roster.plan_of(server).max_conns;
    if ((most != 0 && connections >= most) || !Up(server, wanted)) continue;
    const uint64_t weight = wanted.roster.WeightOf(server, wanted.asker.now);
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

size_t Balancer::PickInTurn(const Level& level, const Wanted& wanted) {
  // Who has failed one of these is out of turn; what it takes instead is nobody's turn.
  if (wanted.tried != nullptr && !wanted.tried->empty()) return PickRandom(level, wanted);
  const size_t round = level.turns.size();
  // Who cannot be chosen loses its turn, and the next one is taken instead: the others keep their
  // shares.
  const size_t most = std::max<size_t>(2 * round, kDraws);
  for (size_t i = 0; i < most; ++i) {
    const size_t server = level.turns[level.turn.fetch_add(1, std::memory_order_relaxed) % round];
    if (Fits(server, wanted) && SlowStartTakes(wanted.roster, server, wanted.asker)) return server;
  }
  return PickRandom(level, wanted);
}

size_t Balancer::PickByHash(const Level& level, const Wanted& wanted) {
  const Roster& roster = wanted.roster;
  const MaglevTable& table = level.table->Get();
  const uint32_t percent = roster.plan().hash_balance_percent;
  uint64_t bound = 0;  // connections for the weight of all, in hundredths
  if (percent > 0) {
    uint64_t sum = 1;  // this one
    for (const uint16_t server : level.servers) sum += roster.server(server).connections();
    bound = sum * percent;
  }
  const auto fits = [&](size_t server) {
    if (!Fits(server, wanted)) return false;
    if (bound == 0) return true;
    // Below its share, rounded up.
    const uint64_t connections = roster.server(server).connections();
    return connections * 100 * level.weight < bound * roster.plan_of(server).weight;
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

// ---------------------------------------------------------------------------------------------
// One server

bool Balancer::Up(size_t server, const Wanted& wanted) {
  const Server& state = wanted.roster.server(server);
  const uint32_t flags = state.flags() & wanted.away;
  if (flags != 0) {
    if (flags != Server::kEjected) return false;
    if (!ejections_.ReturnIfOver(wanted.roster, server, wanted.asker.now)) return false;
  }
  return wanted.tried == nullptr || !wanted.tried->Contains(server);
}

bool Balancer::Fits(size_t server, const Wanted& wanted) {
  return Up(server, wanted) && wanted.roster.HasRoom(server);
}

void Balancer::Release(const Roster& roster, size_t server, MonotonicTime now) {
  roster.server(server).Release();
  if (queue_.waiting() > 0) Serve(roster, now);
}

void Balancer::Connected(const Roster& roster, size_t server, int64_t took_ns, MonotonicTime now) {
  Server& state = roster.server(server);
  state.ForgetFailures();
  if (roster.plan_of(server).health.traffic_counts) state.NoteConnect(now);
  if (roster.plan().balance == Balance::kLeastTime) state.NoteConnectTime(took_ns, now);
}

bool Balancer::Lower(const Roster& roster, size_t server, Server::Flag flag, MonotonicTime now) {
  Server& state = roster.server(server);
  if (!state.Lower(flag)) return false;
  if (roster.plan_of(server).slow_start > absl::ZeroDuration()) state.set_back_since(now);
  Serve(roster, now);
  return true;
}

// ---------------------------------------------------------------------------------------------
// The line

bool Balancer::Enqueue(const Roster& roster, std::unique_ptr<Ticket> ticket, MonotonicTime now) {
  if (!queue_.Push(std::move(ticket), roster.plan().queue_max)) return false;
  Serve(roster, now);
  return true;
}

bool Balancer::Leave(const Roster& roster, Ticket& ticket, MonotonicTime now) {
  if (!queue_.Leave(ticket)) return false;
  Serve(roster, now);
  return true;
}

void Balancer::Serve(const Roster& roster, MonotonicTime now) {
  const auto take = [this, &roster, now](Ticket& ticket, size_t* server) {
    const Choice choice = Take(roster, {now, queue_random_, ticket.source, &ticket.tried});
    *server = choice.server;
    return choice.kind == Choice::Kind::kServer;
  };
  queue_.Serve(take, [&roster](size_t server) { roster.server(server).Release(); });
}

}  // namespace parkway
