// Edit: changes an entry of a plan that a test is still making, and that nobody else has yet.
#ifndef TESTS_PROXY_EDIT_H_
#define TESTS_PROXY_EDIT_H_

#include <memory>

namespace parkway {

template <typename Entry>
Entry& Edit(std::shared_ptr<const Entry>& entry) {
  auto copy = entry == nullptr ? std::make_shared<Entry>() : std::make_shared<Entry>(*entry);
  Entry& editable = *copy;
  entry = std::move(copy);
  return editable;
}

}  // namespace parkway

#endif  // TESTS_PROXY_EDIT_H_
