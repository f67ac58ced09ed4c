#include <algorithm>
#include <set>

#include "poller/address.h"
#include "tests/sim/show.h"
#include "tests/sim/terms.h"

namespace parkway::sim {

void Show::Verify() {
  if (profile_.plans && !stage_.proxies().back()->all_caught_up()) {
    Fail("a worker has not heard of the latest plan");
  }
  const SimProxy& front = *stage_.proxies().back();
  for (const ClosedRecord& record : front.records()) {
    records_[record.client.ToString()] = record;
  }
  uint64_t dropped = 0;
  for (const auto& proxy : stage_.proxies()) dropped += proxy->Sum(&WorkerStats::log_dropped);
  if (dropped > 0) Fail("records of the log were dropped");
  if (unix_front_) FindUnixLives();
  for (const auto& story : cast_.stories()) VerifyStory(*story);
  if (failures_.empty()) return;
  for (const auto& proxy : stage_.proxies()) {
    for (const ClosedRecord& record : proxy->records()) {
      if (record.cause != CloseCause::kClientFin && record.cause != CloseCause::kServerFin) {
        Fail("process " + std::to_string(proxy->process()) + ": " + record.client.ToString() + " " +
             CloseCauseName(record.cause) + When(record));
      }
    }
  }
  Fail("faults of resources: " + std::to_string(world_.counts().resource_faults));
}

bool IsTimeout(CloseCause cause) {
  return cause == CloseCause::kIdle || cause == CloseCause::kHalfCloseTimeout ||
         cause == CloseCause::kClientTimeout || cause == CloseCause::kServerTimeout ||
         cause == CloseCause::kLifetime;
}

// What `seen_by` saw of the stream that `of` has sent.
void Show::VerifyEnd(Peer& seen_by, Peer& of, std::optional<CloseCause> cause) {
  const std::string both = seen_by.Describe() + " of " + of.Describe() + ", cause " +
                           (cause.has_value() ? CloseCauseName(*cause) : "unknown");
  const bool timeout = (cause.has_value() && IsTimeout(*cause)) || profile_.limits ||
                       (!cause.has_value() && profile_.timeouts) ||
                       (profile_.chained && profile_.timeouts) || profile_.stops;
  if (!seen_by.saw_fin()) return;
  if (!timeout && !of.fin_sent() && !of.broke_off() && of.saw_error() == 0) {
    Fail("saw a FIN that nobody sent: " + both);
  }
  // A unix socket knows no reset.
  const bool tcp = !of.socket().is_unix && !seen_by.socket().is_unix;
  if (tcp && !timeout && of.script().end == Script::End::kReset && of.broke_off() &&
      !of.fin_sent()) {
    Fail("saw a FIN where there was a reset: " + both);
  }
  const bool exact = tcp || (!profile_.breaks && !profile_.resources && !profile_.stops);
  // After an abort it may have gone on sending for a while.
  if (exact && !profile_.stops && cause != CloseCause::kLifetime && of.fin_sent() &&
      of.saw_error() == 0 && seen_by.received() != of.sent()) {
    Fail("a FIN said that this was all, and it was not: " + both);
  }
}

std::string Show::When(const ClosedRecord& record) {
  return " from " + std::to_string(record.started.ns() / kMicrosecond) + " us to " +
         std::to_string(record.ended.ns() / kMicrosecond) + " us, up " +
         std::to_string(record.bytes_up) + ", down " + std::to_string(record.bytes_down) +
         ", unsent " + std::to_string(record.unsent_bytes);
}

// Who has ended is not idle: an end that nobody heard of looks like this.
void Show::VerifyIdle(const Peer& client, const Peer* server, std::optional<CloseCause> cause,
                      const std::string& both) {
  if (cause != CloseCause::kIdle && cause != CloseCause::kClientTimeout &&
      cause != CloseCause::kServerTimeout) {
    return;
  }
  const int64_t closed = records_[PackedAddress(client.local()).ToString()].ended.ns();
  for (const Peer* peer : {&client, server}) {
    if (peer != nullptr && peer->ended_at() != 0 && peer->ended_at() < closed - 60 * kSecond) {
      Fail("an end was not heard of: " + both);
    }
  }
}

Peer* Show::ServerOf(Peer& client) {
  if (client.other() != nullptr) return client.other();
  for (const auto& peer : cast_.peers()) {
    if (peer->other() == &client) return peer.get();
  }
  return nullptr;
}

// Clients over unix sockets have no names that a record could say. Who was cut short although
// nobody broke off must be one whose life was over: each has a record of its own, with as many
// bytes as it can have had. The closest pairs first.
void Show::FindUnixLives() {
  struct Pair {
    uint64_t distance;  // bytes that were sent on and not read any more
    const Peer* client;
    const ClosedRecord* record;
  };
  std::vector<Pair> pairs;
  for (const auto& story : cast_.stories()) {
    Peer& client = *cast_.client(*story);
    const Peer* server = ServerOf(client);
    if (client.broke_off() || (server != nullptr && server->broke_off())) continue;
    if (client.socket().turned_away) continue;
    const uint64_t up = server == nullptr ? 0 : server->received();
    const uint64_t server_sent = server == nullptr ? 0 : server->sent();
    if (client.saw_error() == 0 && client.received() == server_sent && up == client.sent()) {
      continue;
    }
    for (const ClosedRecord& record : stage_.proxies().back()->records()) {
      if (record.cause != CloseCause::kLifetime) continue;
      if (record.bytes_up < up || record.bytes_up > client.sent()) continue;
      if (record.bytes_down < client.received()) continue;
      if (server != nullptr && record.bytes_down > server_sent) continue;
      pairs.push_back(
          {record.bytes_up - up + record.bytes_down - client.received(), &client, &record});
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& one, const Pair& other) {
    return one.distance < other.distance;
  });
  std::set<const ClosedRecord*> taken;
  for (const Pair& pair : pairs) {
    if (unix_lives_.contains(pair.client) || !taken.insert(pair.record).second) continue;
    unix_lives_[pair.client] = *pair.record;
  }
}

// Null: none, or it cannot be told.
const ClosedRecord* Show::RecordOf(const Peer& client) const {
  if (unix_front_) {
    const auto found = unix_lives_.find(&client);
    return found == unix_lives_.end() ? nullptr : &found->second;
  }
  const auto found = records_.find(PackedAddress(client.local()).ToString());
  return found == records_.end() ? nullptr : &found->second;
}

void Show::VerifyStory(const Story& story) {
  Peer& client = *cast_.client(story);
  Peer* server = ServerOf(client);
  const ClosedRecord* record = RecordOf(client);
  std::optional<CloseCause> cause;
  if (record != nullptr) cause = record->cause;
  const std::string both = client.Describe() + " and " +
                           (server == nullptr ? "no server" : server->Describe()) + ", cause " +
                           (cause.has_value() ? CloseCauseName(*cause) : "unknown") +
                           (record != nullptr ? When(*record) : "");
  const bool resources = world_.counts().resource_faults > 0 || profile_.stops;

  if (server != nullptr) {
    VerifyEnd(client, *server, cause);
    VerifyEnd(*server, client, cause);
  }
  if (client.socket().turned_away) {
    if (cause.has_value()) Fail("a connection that accept failed for has a record: " + both);
    return;
  }
  if (!unix_front_ && !cause.has_value() && client.connected() && !client.broke_off() &&
      !profile_.stops) {
    Fail("a connection left no record: " + both);
  }
  if (cause == CloseCause::kInternal || cause == CloseCause::kNone)
    Fail("a mistake of ours: " + both);
  // Errors that no script, no fault and no bad server explains.
  const bool client_odd = client.broke_off() || client.lost();
  const bool server_odd = server != nullptr && server->broke_off();
  const bool timeouts = cause == CloseCause::kLifetime ||
                        client.script().end == Script::End::kNever || !client.script().reads ||
                        (server != nullptr &&
                         (server->script().end == Script::End::kNever || !server->script().reads));
  const bool no_server_yet = server == nullptr;
  if (client_odd || server_odd || resources) {
    if (resources || unix_front_ || profile_.chained) return;
    if (!timeouts) VerifyIdle(client, server, cause, both);
    // A reset in the middle of an open connection is its cause, whoever else ends later.
    const bool client_reset = client.broke_off() && client.script().end == Script::End::kReset;
    const bool server_reset =
        server_odd && server->script().end == Script::End::kReset && !server->socket().is_unix;
    const bool seen_by_server = server != nullptr && !server->socket().is_unix;
    if (client_reset && !client.lost() && !server_odd && !client.fin_sent() && server != nullptr &&
        !timeouts) {
      if (cause != CloseCause::kClientRst) Fail("not client_rst: " + both);
      if (seen_by_server && (server->saw_fin() || server->saw_error() == 0)) {
        Fail("the server saw no reset: " + both);
      }
    }
    if (server_reset && !client_odd && !server->fin_sent() && !timeouts) {
      if (cause != CloseCause::kServerRst) Fail("not server_rst: " + both);
      if (client.saw_fin() || client.saw_error() == 0) Fail("the client saw no reset: " + both);
    }
    if (client.lost() && !client_reset && !server_odd && !timeouts && server != nullptr &&
        !(client.fin_sent() && server->fin_sent()) && cause != CloseCause::kClientNetError &&
        cause != CloseCause::kClientRst) {
      Fail("not client_net_error: " + both);
    }
    return;
  }
  if (timeouts) return;
  VerifyIdle(client, server, cause, both);
  if (profile_.limits && profile_.chained) return;
  if (no_server_yet || client.saw_error() != 0) {
    if (some_server_bad_) {
      if (client.saw_fin() && !unix_front_) Fail("saw a FIN where there was no server: " + both);
      if (!unix_front_ && !profile_.chained && cause != CloseCause::kConnectRefused &&
          cause != CloseCause::kConnectTimeout && cause.has_value()) {
        Fail("not a failed connect: " + both);
      }
      return;
    }
    // Between two proxies it happens too.
    if (profile_.chained && world_.counts().turned_away > 0) return;
    // Three SYNs were lost one after the other.
    if (world_.faults().syn_lost > 0 && cause == CloseCause::kConnectTimeout) return;
    Fail("an error that nothing explains: " + both);
    return;
  }
  if (client.received() != server->sent() || server->received() != client.sent()) {
    Fail("not all arrived: " + both);
  }
  const bool both_last =
      client.script().end == Script::End::kFinLast && server->script().end == Script::End::kFinLast;
  if (!client.saw_fin() || !server->saw_fin()) Fail("saw no FIN: " + both);
  if (unix_front_ || profile_.chained || both_last) return;
  if (client.script().end == Script::End::kFin && server->script().end == Script::End::kFinLast &&
      cause != CloseCause::kClientFin) {
    Fail("not client_fin: " + both);
  }
  if (client.script().end == Script::End::kFinLast && server->script().end == Script::End::kFin &&
      cause != CloseCause::kServerFin) {
    Fail("not server_fin: " + both);
  }
  if (cause != CloseCause::kClientFin && cause != CloseCause::kServerFin) {
    Fail("not an orderly end: " + both);
  }
}

}  // namespace parkway::sim
