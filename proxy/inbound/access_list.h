// AccessList: what the longest of many prefixes says about an address.
//
//   AccessList::Builder builder;
//   builder.Add(AccessList::Prefix::Of(address, 8), AccessList::kAllow);
//   const AccessList list = builder.Build();
//   list.Find(peer)      // kAllow, kDeny, or kNone where no prefix holds it
//
// The prefixes are flattened once into the stretches of addresses on which the answer is the same:
// sorted numbers, one binary search. 100,000 prefixes make at most 200,001 stretches, of 5 bytes
// each for IPv4 and 17 for IPv6.
//
// IPv4 as IPv6 (::ffff:1.2.3.4) is IPv4. Unix peers have no address: Find() says what was set for
// them.
//
// Immutable after it was built: any thread.
#ifndef PROXY_INBOUND_ACCESS_LIST_H_
#define PROXY_INBOUND_ACCESS_LIST_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "poller/address.h"

namespace parkway {

class AccessList {
 public:
  // Of two verdicts for the same prefix the greater one counts.
  enum Verdict : uint8_t { kNone = 0, kAllow = 1, kDeny = 2 };

  struct Prefix {
    std::array<uint8_t, 16> bytes = {};  // the first 4 for IPv4; those behind `bits` do not count
    bool ipv4 = false;
    uint8_t bits = 0;
  };

  AccessList() = default;
  bool empty() const { return empty_; }
  Verdict Find(const Address& address) const;
  bool operator==(const AccessList&) const = default;

  class Builder {
   public:
    void Add(const Prefix& prefix, Verdict verdict) { added_.push_back({prefix, verdict}); }
    void SetUnix(Verdict verdict) { unix_ = verdict; }
    AccessList Build() const;

   private:
    struct Added {
      Prefix prefix;
      Verdict verdict;
    };

    std::vector<Added> added_;
    Verdict unix_ = kNone;
  };

 private:
  using Ipv6Number = unsigned __int128;

  // verdicts[i] holds from firsts[i] to the next one; firsts[0] is 0.
  template <typename Number>
  struct Stretches {
    std::vector<Number> firsts;
    std::vector<Verdict> verdicts;

    Verdict Find(Number number) const;
    bool operator==(const Stretches&) const = default;
  };
  template <typename Number>
  struct Range {
    Number first;
    Number last;
    Verdict verdict;
  };
  template <typename Number>
  static Stretches<Number> Flatten(std::vector<Range<Number>> ranges);
  static uint32_t Ipv4NumberOf(const uint8_t* bytes);
  static Ipv6Number Ipv6NumberOf(const uint8_t* bytes);

  Stretches<uint32_t> ipv4_;
  Stretches<Ipv6Number> ipv6_;
  Verdict unix_ = kNone;
  bool empty_ = true;
};

}  // namespace parkway

#endif  // PROXY_INBOUND_ACCESS_LIST_H_
