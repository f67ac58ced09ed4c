// Show: one world from its seed to its end: proxies, servers, clients and what goes wrong, all by
// dice within a profile, and what must be true of each connection when it is over.
//
//   Show show(seed, {.faults = true, .breaks = true});
//   show.Play();
//   for (const std::string& failure : show.failures()) ADD_FAILURE() << failure;
//
// One thread.
#ifndef TESTS_SIM_SHOW_H_
#define TESTS_SIM_SHOW_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proxy/core/close_cause.h"
#include "proxy/core/plan.h"
#include "proxy/observe/log_ring.h"
#include "proxy/slot_reaper.h"
#include "tests/sim/peer.h"
#include "tests/sim/stage.h"
#include "tests/sim/world.h"

namespace parkway::sim {

// What a world is like.
struct Profile {
  bool faults = false;
  bool resources = false;  // out of descriptors and the like
  bool breaks = false;     // resets, early closes, lost connections
  bool timeouts = false;   // peers that never end
  bool bad_servers = false;
  bool urgent = false;
  bool bulk = false;     // large queues and buffers
  bool stops = false;    // drains, and some time later aborts, in the middle of it
  bool chained = false;  // a second proxy between the first and the servers
  bool queues = false;   // servers with little room, and a line before them without an end
  bool plans = false;    // servers and limits that change in the middle of it
  bool limits = false;   // rates, times of one side, and lives of a length
  size_t sessions = 40;
  uint64_t most_bytes = 200'000;
};

class Show {
 public:
  Show(uint64_t seed, const Profile& profile);

  // Until all is over, and looks at what became of each. failures() says what is wrong.
  void Play();

  World& world() { return world_; }
  Cast& cast() { return cast_; }
  Stage& stage() { return stage_; }
  const std::vector<std::string>& failures() const { return failures_; }
  // Of servers, by plans.
  uint64_t removals() const { return removals_; }
  // Servers, upstreams and listeners that got the slot of another.
  const std::array<uint64_t, 3>& reuses() const { return reuses_; }

 private:
  // --- What the seed makes of the profile (show.cc) ---

  Faults MakeFaults();
  void Build();
  Script RandomScript(bool client);
  Path RandomPath();
  void AddLimits(ListenerPlan& listener);
  Plan MakePlan(const Address& listen, const std::vector<ServerPlan>& servers);
  bool NoSessions() const;

  // --- Plans that change (show_plans.cc) ---

  void ChangePlan();
  void ChangeServers(UpstreamPlan& upstream, uint16_t slot);
  void MoveToAnotherUpstream(Plan& plan);
  void RemoveIdleUpstreams(Plan& plan);
  void RenameListener(Plan& plan);
  void ChangeNumbers(ListenerPlan& listener);
  std::optional<SlotRef> TakeFree(SlotRef::Kind kind, uint16_t upstream = 0);
  void Publish(const Plan& plan);
  void NoteGone(const SlotRef& slot, bool gone);
  SlotReaper::Host ReaperHost();
  void Vacate(const std::vector<SlotRef>& slots);
  void WatchRemoved();

  // --- What is expected of what became of it (show_verify.cc) ---

  void Verify();
  Peer* ServerOf(Peer& client);
  void FindUnixLives();
  const ClosedRecord* RecordOf(const Peer& client) const;
  void VerifyStory(const Story& story);
  void VerifyIdle(const Peer& client, const Peer* server, std::optional<CloseCause> cause,
                  const std::string& both);
  static std::string When(const ClosedRecord& record);
  void VerifyEnd(Peer& seen_by, Peer& of, std::optional<CloseCause> cause);
  void Fail(const std::string& what) {
    if (failures_.size() < 20) failures_.push_back(what);
  }

  const Profile profile_;
  Random dice_;
  World world_;
  Cast cast_;
  Stage stage_;
  std::map<ServerRef, uint32_t> removed_;  // and the connections each had when last seen
  uint64_t removals_ = 0;
  std::map<SlotRef, uint64_t> gone_since_;  // generations
  std::vector<SlotRef> free_;
  uint16_t listener_ = 0;  // the slot of the one that is there
  std::optional<SlotReaper> reaper_;
  bool over_ = false;
  uint64_t log_passes_ = 0;
  uint64_t new_names_ = 0;
  std::array<uint64_t, 3> reuses_{};
  bool some_server_bad_ = false;
  bool unix_front_ = false;
  std::map<std::string, ClosedRecord> records_;
  std::map<const Peer*, ClosedRecord> unix_lives_;  // of clients without a name, see FindUnixLives
  std::vector<std::string> failures_;
};

}  // namespace parkway::sim

#endif  // TESTS_SIM_SHOW_H_
