// SharedValue: an immutable value that several share, or none; two are equal if what they hold is.
#ifndef PROXY_CORE_SHARED_VALUE_H_
#define PROXY_CORE_SHARED_VALUE_H_

#include <memory>
#include <utility>

namespace parkway {

template <typename T>
class SharedValue : public std::shared_ptr<const T> {
 public:
  using std::shared_ptr<const T>::shared_ptr;
  SharedValue(std::shared_ptr<const T> value) : std::shared_ptr<const T>(std::move(value)) {}

  friend bool operator==(const SharedValue& one, const SharedValue& other) {
    if (one.get() == other.get()) return true;
    return one.get() != nullptr && other.get() != nullptr && *one == *other;
  }
  friend bool operator==(const SharedValue& one, std::nullptr_t) { return one.get() == nullptr; }
};

}  // namespace parkway

#endif  // PROXY_CORE_SHARED_VALUE_H_
