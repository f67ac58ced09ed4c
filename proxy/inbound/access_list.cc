#include "proxy/inbound/access_list.h"

#include <algorithm>

namespace parkway {

namespace {

// The bits behind the first `bits` of a number.
template <typename Number>
Number HostMask(unsigned bits) {
  constexpr unsigned kAll = sizeof(Number) * 8;
  if (bits >= kAll) return 0;
  return static_cast<Number>(~Number{0}) >> bits;
}

}  // namespace

template <typename Number>
AccessList::Verdict AccessList::Stretches<Number>::Find(Number number) const {
  if (firsts.empty()) return kNone;
  // Without a branch that depends on the data: a guess would be wrong every other time.
  const Number* at = firsts.data();
  for (size_t left = firsts.size(); left > 1;) {
    const size_t half = left / 2;
    at = at[half] <= number ? at + half : at;
    left -= half;
  }
  return verdicts[static_cast<size_t>(at - firsts.data())];
}

// Prefixes are disjoint or one inside the other: a stack of those that are open says which is the
// longest at each place.
template <typename Number>
AccessList::Stretches<Number> AccessList::Flatten(std::vector<Range<Number>> ranges) {
  Stretches<Number> out;
  if (ranges.empty()) return out;
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first < b.first;
    if (a.last != b.last) return a.last > b.last;  // the outer one before the inner one
    return a.verdict < b.verdict;
  });
  const auto begin_stretch = [&out](Number first, Verdict verdict) {
    if (!out.firsts.empty() && out.firsts.back() == first) {
      out.verdicts.back() = verdict;
    } else if (out.verdicts.empty() || out.verdicts.back() != verdict) {
      out.firsts.push_back(first);
      out.verdicts.push_back(verdict);
    }
  };
  std::vector<Range<Number>> open;
  const auto close_before = [&](Number place, bool all) {
    while (!open.empty() && (all || open.back().last < place)) {
      const Number last = open.back().last;
      open.pop_back();
      if (last == static_cast<Number>(~Number{0})) continue;
      begin_stretch(last + 1, open.empty() ? kNone : open.back().verdict);
    }
  };
  begin_stretch(0, kNone);
  for (const Range<Number>& range : ranges) {
    close_before(range.first, false);
    begin_stretch(range.first, range.verdict);
    open.push_back(range);
  }
  close_before(0, true);
  return out;
}

uint32_t AccessList::Ipv4NumberOf(const uint8_t* bytes) {
  uint32_t number = 0;
  for (int i = 0; i < 4; ++i) number = number << 8 | bytes[i];
  return number;
}

AccessList::Ipv6Number AccessList::Ipv6NumberOf(const uint8_t* bytes) {
  Ipv6Number number = 0;
  for (int i = 0; i < 16; ++i) number = number << 8 | bytes[i];
  return number;
}

AccessList AccessList::Builder::Build() const {
  std::vector<Range<uint32_t>> ipv4;
  std::vector<Range<Ipv6Number>> ipv6;
  for (const Added& added : added_) {
    const uint8_t* bytes = added.prefix.bytes.data();
    if (added.prefix.ipv4) {
      const uint32_t host = HostMask<uint32_t>(added.prefix.bits);
      const uint32_t first = Ipv4NumberOf(bytes) & ~host;
      ipv4.push_back({first, first | host, added.verdict});
    } else {
      const Ipv6Number host = HostMask<Ipv6Number>(added.prefix.bits);
      const Ipv6Number first = Ipv6NumberOf(bytes) & ~host;
      ipv6.push_back({first, first | host, added.verdict});
    }
  }
  AccessList list;
  list.ipv4_ = Flatten(std::move(ipv4));
  list.ipv6_ = Flatten(std::move(ipv6));
  list.unix_ = unix_;
  list.empty_ = added_.empty() && unix_ == kNone;
  return list;
}

AccessList::Verdict AccessList::Find(const Address& address) const {
  const Address plain = address.Unmapped();
  if (plain.family() == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(plain.data());
    return ipv4_.Find(Ipv4NumberOf(reinterpret_cast<const uint8_t*>(&in->sin_addr)));
  }
  if (plain.family() == AF_INET6) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(plain.data());
    return ipv6_.Find(Ipv6NumberOf(in->sin6_addr.s6_addr));
  }
  return unix_;
}

}  // namespace parkway
