#include "proxy/system/journal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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

TEST(JournalTest, AnEntryHasTheTextThePriorityAndFieldsOfItsOwn) {
  JournalEntry entry("<4>upstream app server a is DOWN");
  entry.Add("L4_SERVER", "app/a");
  entry.Add("L4_ODD", "two\nlines");
  const std::string size("\x09\0\0\0\0\0\0\0", 8);
  EXPECT_EQ(
      "MESSAGE=upstream app server a is DOWN\nPRIORITY=4\nSYSLOG_IDENTIFIER=parkway\n"
      "L4_SERVER=app/a\nL4_ODD\n" +
          size + "two\nlines\n",
      entry.bytes());
  EXPECT_EQ("MESSAGE=started\nPRIORITY=6\nSYSLOG_IDENTIFIER=parkway\n",
            JournalEntry("started").bytes());
}

TEST(JournalTest, AnEntryIsSentToWhoeverListensThereNow) {
  // The folder of the tests may be deeper than such a path can be long.
  char folder[] = "/tmp/parkway.XXXXXX";
  ASSERT_NE(nullptr, mkdtemp(folder));
  const std::string path = std::string(folder) + "/journal.sock";
  JournalSocket journal(path);
  const JournalEntry entry("started");
  EXPECT_FALSE(journal.Send(entry)) << "nobody is there";
  for (int round = 0; round < 2; ++round) {
    unlink(path.c_str());
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_un at = {};
    at.sun_family = AF_UNIX;
    path.copy(at.sun_path, sizeof(at.sun_path) - 1);
    ASSERT_EQ(0, bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)));
    EXPECT_TRUE(journal.Send(entry));
    char heard[256];
    const ssize_t size = recv(fd, heard, sizeof(heard), MSG_DONTWAIT);
    ASSERT_GT(size, 0);
    EXPECT_EQ(entry.bytes(), std::string(heard, static_cast<size_t>(size)));
    close(fd);
    EXPECT_FALSE(journal.Send(entry)) << "it has gone";
  }
  unlink(path.c_str());
  rmdir(folder);
}

}  // namespace
}  // namespace parkway
