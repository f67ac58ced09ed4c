// Views: the generation that one worker goes by now, and those before it that somebody still looks
// at: a task that waits with its stack, and holds references into a plan.
//
//   const Views::Pin pin(views);        // in a task
//   Use(pin->listener(slot));           // also after a wait
//   pin.Renew();                        // what was read before is not to be used any more
//
// Who does not wait meanwhile needs no pin: views.now(). The count is a plain number, so a pin
// costs two additions.
//
// A worker goes over to a later generation when the control thread says so by message. It may meet
// a slot before that, in a message of a worker that was told earlier: then it catches up at once.
//
// Owner thread only. LatestGeneration: any.
//
// Invariants
//   1. A generation lives while it is pinned, or is the present one.
//   2. The present one never goes back.
#ifndef PROXY_UPSTREAM_VIEWS_H_
#define PROXY_UPSTREAM_VIEWS_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "poller/lock.h"
#include "proxy/upstream/generation.h"

namespace parkway {

// Where the control thread leaves the generation that all are to go by.
class LatestGeneration {
 public:
  explicit LatestGeneration(std::shared_ptr<const Generation> first) : latest_(std::move(first)) {}

  std::shared_ptr<const Generation> Get() const {
    const LeafLockGuard guard(lock_);
    return latest_;
  }
  void Set(std::shared_ptr<const Generation> next) {
    const LeafLockGuard guard(lock_);
    // The one before is not freed under the lock.
    latest_.swap(next);
  }

 private:
  mutable LeafLock lock_;
  std::shared_ptr<const Generation> latest_ ABSL_GUARDED_BY(lock_);
};

class Views {
 private:
  struct View {
    std::shared_ptr<const Generation> generation;
    uint32_t pins = 0;
  };

 public:
  class Pin {
   public:
    explicit Pin(Views& views) : views_(views), view_(&views.list_.back()) { ++view_->pins; }
    ~Pin() { Drop(); }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;

    const Generation& operator*() const { return *view_->generation; }
    const Generation* operator->() const { return view_->generation.get(); }
    void Renew() {
      if (view_ == &views_.list_.back()) return;
      Drop();
      view_ = &views_.list_.back();
      ++view_->pins;
    }

   private:
    void Drop() {
      if (--view_->pins == 0 && view_ != &views_.list_.back()) views_.Forget(view_);
    }

    Views& views_;
    View* view_;
  };

  // Who has something to do when the view is another one.
  class Owner {
   public:
    virtual void OnNewView(const Generation& before) = 0;

   protected:
    ~Owner() = default;
  };

  Views(const LatestGeneration& latest, Owner& owner) : latest_(latest), owner_(owner) {
    list_.push_back({latest.Get(), 0});
    now_ = list_.back().generation.get();
  }
  Views(const Views&) = delete;
  Views& operator=(const Views&) = delete;

  const Generation& now() const { return *now_; }
  // Goes over to the latest one, if it is another.
  void CatchUp() {
    std::shared_ptr<const Generation> next = latest_.Get();
    if (next.get() == now_) return;
    const Pin before(*this);
    list_.push_back({std::move(next), 0});
    now_ = list_.back().generation.get();
    owner_.OnNewView(*before);
  }
  // The number of the oldest that lives.
  uint64_t oldest() const { return list_.front().generation->number; }
  // That live.
  size_t size() const { return list_.size(); }

 private:
  void Forget(const View* view) {
    list_.remove_if([view](const View& other) { return &other == view; });
  }

  const LatestGeneration& latest_;
  Owner& owner_;
  std::list<View> list_;  // oldest first; the last one is the present one
  const Generation* now_ = nullptr;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_VIEWS_H_
