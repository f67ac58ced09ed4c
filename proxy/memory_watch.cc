#include "proxy/memory_watch.h"

#include "absl/strings/str_cat.h"

namespace parkway {

void MemoryWatch::Look(uint64_t limit_bytes) {
  limit_bytes_ = limit_bytes;
  used_bytes_ = limit_bytes == 0 ? 0 : host_.used_bytes();
  const auto above = [this](uint64_t percent) {
    return limit_bytes_ != 0 && used_bytes_ >= limit_bytes_ / 100 * percent;
  };
  const bool hold = above(kHoldPercent);
  if (hold != holds_) {
    holds_ = hold;
    if (hold) {
      ++pauses_;
      host_.say(absl::StrCat("WARNING: memory: ", used_bytes_ >> 20, " of ", limit_bytes_ >> 20,
                             " MiB (memory_limit) are used; nobody is accepted until it is less "
                             "than ",
                             kHoldPercent, "%"));
    } else {
      host_.hold(false);
      host_.say(absl::StrCat("memory: ", used_bytes_ >> 20, " MiB are used; accepting again"));
    }
  }
  if (hold) host_.hold(true);
  if (looks_until_shed_ > 0) --looks_until_shed_;
  if (!above(kShedPercent) || looks_until_shed_ > 0) return;
  looks_until_shed_ = kLooksPerShed;
  host_.shed();
}

}  // namespace parkway
