#include "proxy/conn_stream.h"

#include <algorithm>
#include <array>
#include <deque>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "config/admission.h"
#include "config/quote.h"
#include "config/text.h"
#include "proxy/core/post_call.h"

namespace parkway {

namespace {

const std::string& NameOf(const ServerPlan& server) { return server.name; }
template <typename Entry>
const std::string& NameOf(const std::shared_ptr<Entry>& entry) {
  return entry->name;
}

// The slots of all that have the name: several addresses, and those that are gone.
template <typename Entries>
std::vector<uint16_t> SlotsOf(const Entries& entries, const std::string& name) {
  std::vector<uint16_t> slots;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (NameOf(entries[i]) == name) slots.push_back(static_cast<uint16_t>(i));
  }
  return slots;
}

void Name(const Plan& plan, ConnRow& row) {
  if (row.listener_slot < plan.listeners.size()) {
    row.listener = plan.listeners[row.listener_slot]->name;
  }
  if (row.upstream_slot >= plan.upstreams.size()) return;
  const UpstreamPlan& upstream = *plan.upstreams[row.upstream_slot];
  row.upstream = upstream.name;
  if (row.has_server && row.server_slot < upstream.servers.size()) {
    row.server = upstream.servers[row.server_slot].name;
  }
}

constexpr std::array kStates = {ConnRow::State::kConnecting, ConnRow::State::kQueued,
                                ConnRow::State::kOpen, ConnRow::State::kClosing};

}  // namespace

// What the workers have found and nobody has taken yet.
class ConnDesk::Stream final : public ConnStream {
 public:
  // Outlives the stream as long as batches are under way.
  struct Inbox {
    struct Batch {
      size_t worker;
      ConnWalks::Found found;
    };
    std::deque<Batch> batches;
    size_t walking = 0;  // workers that have more
    std::function<void()> bell;
  };

  Stream(ConnDesk& desk, const std::shared_ptr<const ConnOrder>& order, std::function<void()> bell)
      : desk_(desk), number_(++desk.next_number_), inbox_(std::make_shared<Inbox>()) {
    inbox_->bell = std::move(bell);
    inbox_->walking = desk_.workers_;
    ++desk_.asked_;
    for (size_t i = 0; i < desk_.workers_; ++i) {
      auto on_found = [&desk = desk_, inbox = std::weak_ptr<Inbox>(inbox_),
                       i](ConnWalks::Found found) {
        PostCall(desk.control_, [&desk, inbox, i, found = std::move(found)]() mutable {
          const auto here = inbox.lock();
          if (here == nullptr) return;
          // At once: later a slot may be another server's.
          const std::shared_ptr<const Plan> plan = desk.plan_();
          for (ConnRow& row : found.rows) Name(*plan, row);
          if (found.last && --here->walking == 0) --desk.asked_;
          here->batches.push_back({i, std::move(found)});
          here->bell();
        });
      };
      desk_.on_worker_(i, [number = number_, order, on_found](ConnWalks& walks) {
        walks.Begin(number, order, on_found);
      });
    }
  }

  ~Stream() override {
    if (inbox_->walking == 0) return;
    --desk_.asked_;
    for (size_t i = 0; i < desk_.workers_; ++i) {
      desk_.on_worker_(i, [number = number_](ConnWalks& walks) { walks.End(number); });
    }
  }

  std::vector<ConnRow> Take() override {
    if (inbox_->batches.empty()) return {};
    Inbox::Batch batch = std::move(inbox_->batches.front());
    inbox_->batches.pop_front();
    if (!batch.found.last) {
      desk_.on_worker_(batch.worker, [number = number_](ConnWalks& walks) { walks.GoOn(number); });
    }
    return std::move(batch.found.rows);
  }
  bool has_rows() const override { return !inbox_->batches.empty(); }
  bool done() const override { return inbox_->walking == 0 && inbox_->batches.empty(); }

 private:
  ConnDesk& desk_;
  const uint64_t number_;
  const std::shared_ptr<Inbox> inbox_;
};

struct ConnDesk::Killing {
  OnOutcome done;
  size_t walking;
  uint64_t killed = 0;
};

std::shared_ptr<ConnOrder> ConnDesk::OrderOf(const ConnQuestion& question,
                                             std::string* wrong) const {
  const std::shared_ptr<const Plan> plan = plan_();
  const ConnSelector& selector = question.selector;
  auto order = std::make_shared<ConnOrder>();
  order->id = selector.id;
  order->idle_ns = absl::ToInt64Nanoseconds(question.idle);
  order->age_ns = absl::ToInt64Nanoseconds(question.age);
  order->bytes = question.bytes;
  order->addresses = question.addresses;
  if (!selector.source.empty()) {
    const absl::StatusOr<config::Prefixes> prefixes = config::ParsePrefixes(selector.source);
    if (!prefixes.ok() || !prefixes->files.empty()) {
      *wrong = absl::StrCat(
          "src: ", prefixes.ok() ? "files are not read here" : config::Message(prefixes.status()));
      return nullptr;
    }
    AccessList::Builder builder;
    for (const config::Prefix& prefix : prefixes->prefixes) {
      builder.Add({.bytes = prefix.ip, .ipv4 = prefix.ipv4, .bits = prefix.bits},
                  AccessList::kAllow);
    }
    order->source = builder.Build();
  }
  const auto none = [wrong](const char* what, const std::string& name) {
    *wrong = absl::StrCat("there is no ", what, " ", config::Quoted(name));
    return nullptr;
  };
  if (!selector.listener.empty()) {
    order->listeners = SlotsOf(plan->listeners, selector.listener);
    if (order->listeners->empty()) return none("listener", selector.listener);
  }
  if (!selector.upstream.empty()) {
    order->upstreams = SlotsOf(plan->upstreams, selector.upstream);
    if (order->upstreams->empty()) return none("upstream", selector.upstream);
  }
  if (!selector.server.empty()) {
    order->servers.emplace();
    for (const uint16_t slot : *order->upstreams) {
      for (const uint16_t server : SlotsOf(plan->upstreams[slot]->servers, selector.server)) {
        order->servers->push_back(server);
      }
    }
    if (order->servers->empty()) {
      return none("server", absl::StrCat(selector.upstream, "/", selector.server));
    }
  }
  if (!question.state.empty()) {
    const auto state = std::find_if(kStates.begin(), kStates.end(), [&question](auto one) {
      return question.state == ConnStateName(one);
    });
    if (state == kStates.end()) {
      *wrong = absl::StrCat(config::Quoted(question.state),
                            " is no state; one of connecting, queued, open, closing is");
      return nullptr;
    }
    order->state = *state;
  }
  return order;
}

std::unique_ptr<ConnStream> ConnDesk::Ask(const ConnQuestion& question, std::function<void()> bell,
                                          std::string* wrong) {
  const std::shared_ptr<ConnOrder> order = OrderOf(question, wrong);
  if (order == nullptr) return nullptr;
  return std::make_unique<Stream>(*this, order, std::move(bell));
}

void ConnDesk::Kill(const ConnSelector& selector, OnOutcome done) {
  std::string wrong;
  ConnQuestion question;
  question.selector = selector;
  const std::shared_ptr<ConnOrder> order = OrderOf(question, &wrong);
  if (order == nullptr) {
    done(Outcome::Refused(absl::StrCat("conn kill: ", wrong, "; nothing was changed")));
    return;
  }
  order->kill = true;
  const bool one = selector.id.has_value();
  const auto killing = std::make_shared<Killing>(Killing{std::move(done), workers_, 0});
  const uint64_t number = ++next_number_;
  ++asked_;
  for (size_t i = 0; i < workers_; ++i) {
    auto on_found = [this, killing, one](ConnWalks::Found found) {
      PostCall(control_, [this, killing, one, killed = found.killed, last = found.last] {
        killing->killed += killed;
        if (!last || --killing->walking > 0) return;
        --asked_;
        if (one && killing->killed == 0) {
          killing->done(Outcome::Refused("there is no open connection with this ID"));
        } else {
          killing->done(Outcome::Done(absl::StrCat(
              killing->killed, killing->killed == 1 ? " connection" : " connections", " killed")));
        }
      });
    };
    on_worker_(
        i, [number, order, on_found](ConnWalks& walks) { walks.Begin(number, order, on_found); });
  }
}

}  // namespace parkway
