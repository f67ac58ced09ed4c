// Named interleaving points: places at which a test may act between two steps of a protocol, so
// that a race is forced and not slept for. In the optimised build a point is nothing at all.
//
//   PARKWAY_TEST_POINT("PollDesc::BlockBegin:announced");
//
// A test installs a hook for one name; the hook runs in the thread that reaches the point, and
// may itself call the engine (for example Evict from "another thread").
//
// Hooks are per thread: a test that wants to stop another thread at a point installs the hook
// from within that thread.
#ifndef POLLER_TEST_POINT_H_
#define POLLER_TEST_POINT_H_

#ifdef PARKWAY_TEST_POINTS

#include <functional>
#include <map>
#include <string>
#include <utility>

namespace parkway {

class TestPoints {
 public:
  // Runs `hook` each time this thread reaches `name`, until Clear().
  static void On(const std::string& name, std::function<void()> hook) {
    hooks()[name] = std::move(hook);
  }

  // Runs `hook` the first time only.
  static void Once(const std::string& name, std::function<void()> hook) {
    hooks()[name] = [name, hook = std::move(hook)] {
      const std::function<void()> run = hook;  // erasing ends the life of this closure
      const std::string key = name;
      hooks().erase(key);
      run();
    };
  }

  static void Clear() { hooks().clear(); }

  static void Reach(const char* name) {
    auto& all = hooks();
    if (all.empty()) return;
    const auto it = all.find(name);
    if (it == all.end()) return;
    const std::function<void()> run = it->second;
    run();
  }

 private:
  static std::map<std::string, std::function<void()>>& hooks() {
    static thread_local std::map<std::string, std::function<void()>> map;
    return map;
  }
};

}  // namespace parkway

#define PARKWAY_TEST_POINT(name) ::parkway::TestPoints::Reach(name)
#else
#define PARKWAY_TEST_POINT(name) static_cast<void>(0)
#endif

#endif  // POLLER_TEST_POINT_H_
