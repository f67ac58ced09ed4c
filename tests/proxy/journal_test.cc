#include "proxy/system/journal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "gtest/gtest.h"

namespace parkway {
namespace {

TEST(JournalTest, ADescriptorIsTheJournalIfItIsTheOneThatSystemdNamed) {
  int ends[2];
  ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
  struct stat info;
  ASSERT_EQ(0, fstat(ends[1], &info));
  unsetenv("JOURNAL_STREAM");
  EXPECT_FALSE(IsJournal(ends[1]));
  setenv("JOURNAL_STREAM",
         (std::to_string(info.st_dev) + ":" + std::to_string(info.st_ino)).c_str(), 1);
  EXPECT_TRUE(IsJournal(ends[1]));
  EXPECT_FALSE(IsJournal(open("/dev/null", O_RDONLY | O_CLOEXEC)));
  setenv("JOURNAL_STREAM", "nonsense", 1);
  EXPECT_FALSE(IsJournal(ends[1]));
  unsetenv("JOURNAL_STREAM");
  close(ends[0]);
  close(ends[1]);
}

TEST(JournalTest, WordsBecomePriorities) {
  EXPECT_EQ("<6>started", JournalLine("started"));
  EXPECT_EQ("<5>upstream a is UP", JournalLine("NOTICE: upstream a is UP"));
  EXPECT_EQ("<4>upstream a is DOWN", JournalLine("WARNING: upstream a is DOWN"));
  EXPECT_EQ("<3>no log", JournalLine("ERROR: no log"));
}

}  // namespace
}  // namespace parkway
