// While one of these lives the process has no descriptor left: what asks for one gets EMFILE.
#ifndef TESTS_POLLER_NO_DESCRIPTORS_H_
#define TESTS_POLLER_NO_DESCRIPTORS_H_

#include <sys/resource.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace parkway {

class NoDescriptors {
 public:
  NoDescriptors() {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    const int next = dup(0);
    close(next);
    rlimit none = before_;
    none.rlim_cur = static_cast<rlim_t>(next);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoDescriptors() { EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before_), 0); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  rlimit before_;
};

}  // namespace parkway

#endif  // TESTS_POLLER_NO_DESCRIPTORS_H_
