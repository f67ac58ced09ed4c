// DnsMemory: what one question (a name and a type) has been answered so far, and when to ask next.
//
// DNS is believed slowly and forgotten slowly:
//   - what an answer holds counts at once; what it no longer holds goes when the second answer in
//     a row does not hold it either;
//   - a failure changes nothing but the time of the next question, and the age grows;
//   - the word that there is nothing counts as an answer that holds nothing only if something else
//     is left of the name (its other family): a name never becomes empty.
//
// Asked again when the time to live is over, held between min_ttl and max_ttl; after failures with
// pauses that double. All pauses are drawn out a little, so that names asked together part.
//
// Time and chance come from the caller. One thread.
//
// Invariants
//   1. Once values were there, they are there for ever, if only the last ones.
//   2. A value leaves after two answers in a row without it, and not before.
#ifndef PROXY_UPSTREAM_RESOLVER_DNS_MEMORY_H_
#define PROXY_UPSTREAM_RESOLVER_DNS_MEMORY_H_

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "poller/address.h"
#include "poller/clock.h"
#include "proxy/upstream/resolver/dns_answer.h"

namespace parkway {

struct DnsPolicy {
  absl::Duration min_ttl = absl::Seconds(1);
  absl::Duration max_ttl = absl::Minutes(5);
  absl::Duration first_backoff = absl::Seconds(1);
  absl::Duration longest_backoff = absl::Seconds(30);
};

class DnsMemory {
 public:
  using Random = std::mt19937_64;

  explicit DnsMemory(const DnsPolicy& policy) : policy_(policy) {}

  // Each is one outcome of asking. True: the values have changed.
  bool Answered(const DnsAnswer& answer, MonotonicTime now, Random& random);
  // `others_left`: the name has values without these.
  bool Nothing(const std::string& why, bool others_left, MonotonicTime now, Random& random);
  void Failed(const std::string& why, MonotonicTime now, Random& random);

  // In an order that depends on nothing but the values.
  std::vector<Address> addresses() const;
  std::vector<SrvTarget> targets() const;
  bool empty() const { return values_.empty(); }
  size_t size() const { return values_.size(); }

  // When to ask next; zero until there was an outcome.
  MonotonicTime next() const { return next_; }
  // Whether there was one.
  bool settled() const { return next_ != MonotonicTime(); }

  // --- For whoever shows it ---

  uint64_t answers() const { return answers_; }
  uint64_t nothings() const { return nothings_; }
  uint64_t failures() const { return failures_; }
  // When it was last told what the values are; zero: never.
  MonotonicTime good_at() const { return good_at_; }
  // Why the latest outcome was none; empty: it was one.
  const std::string& error() const { return error_; }
  // Whether what counts now is older than it should be, or should be there and is not known:
  // that there is nothing of a kind that never was there is no failure.
  bool failing() const { return failed_ || (!error_.empty() && !values_.empty()); }
  absl::Duration ttl() const { return ttl_; }

 private:
  struct Value {
    Address address;
    SrvTarget target;
    bool seen = true;     // in the answer at hand
    bool missed = false;  // not in the one before
  };

  bool Drop();
  void Schedule(absl::Duration pause, MonotonicTime now, Random& random);
  void BackOff(MonotonicTime now, Random& random);

  const DnsPolicy policy_;
  std::map<std::string, Value> values_;  // by what makes two of them the same
  MonotonicTime next_;
  MonotonicTime good_at_;
  absl::Duration ttl_;
  uint32_t failures_in_a_row_ = 0;
  uint64_t answers_ = 0;
  uint64_t nothings_ = 0;
  uint64_t failures_ = 0;
  std::string error_;
  bool failed_ = false;  // the latest outcome was a failure
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_RESOLVER_DNS_MEMORY_H_
