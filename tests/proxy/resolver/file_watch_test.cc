#include "proxy/upstream/resolver/file_watch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"
#include "tests/proxy/resolver/stage.h"

namespace parkway {
namespace {

class FileWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/watch.XXXXXX";
    ASSERT_NE(nullptr, mkdtemp(pattern.data()));
    root_ = pattern;
    ASSERT_EQ(0, watch_.init_error());
  }
  void TearDown() override {
    watch_.Stop();
    EXPECT_TRUE(stage_.TurnUntil([this] { return watch_.idle(); }));
    std::filesystem::remove_all(root_);
  }

  static void Write(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
  }
  void Watch(const std::string& path) {
    watch_.Add(path, [this] { ++calls_; });
  }
  // Whether it is told once, and not again.
  bool Told() {
    const bool told = stage_.TurnUntil([this] { return calls_ > 0; });
    stage_.TurnFor(absl::Milliseconds(20));
    const bool once = calls_ == 1;
    calls_ = 0;
    return told && once;
  }
  bool NotTold() {
    stage_.TurnFor(absl::Milliseconds(50));
    return calls_ == 0;
  }

  ResolverStage stage_;
  FileWatch watch_{stage_.scheduler()};
  std::string root_;
  int calls_ = 0;
};

TEST_F(FileWatchTest, AFileIsWrittenAgainReplacedTakenAwayAndThereAgain) {
  const std::string path = root_ + "/file";
  Write(path, "1");
  Watch(path);
  Write(path, "22");
  EXPECT_TRUE(Told());
  Write(root_ + "/new", "333");
  EXPECT_TRUE(NotTold()) << "another file is none of ours";
  std::filesystem::rename(root_ + "/new", path);
  EXPECT_TRUE(Told());
  std::filesystem::remove(path);
  EXPECT_TRUE(Told());
  Write(path, "4444");
  EXPECT_TRUE(Told());
}

// With ASan: what is behind the last event that is read at once is nobody's.
TEST_F(FileWatchTest, ADirectoryItselfHasNoNameAlsoWhereWhatIsReadEnds) {
  const std::string folder = root_ + "/d";
  const std::string path = folder + "/file";
  std::filesystem::create_directory(folder);
  Write(path, "1");
  Watch(path);
  // 4096 bytes: an event has 16, and its name is filled up to a multiple of 16.
  std::filesystem::create_directory(folder + "/a-name-of-20-letters");
  for (int i = 0; i < 125; ++i) {
    std::filesystem::create_directory(folder + "/" + std::to_string(i));
  }
  ASSERT_EQ(0, chmod(folder.c_str(), 0700));  // one by its name, and one without
  EXPECT_TRUE(NotTold());
  Write(path, "22");
  EXPECT_TRUE(Told());
}

TEST_F(FileWatchTest, AFileThatIsBeingWrittenIsLeftAloneUntilItIsClosed) {
  const std::string path = root_ + "/file";
  Watch(path);
  const int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  ASSERT_EQ(1, write(fd, "1", 1));
  EXPECT_TRUE(NotTold());
  ASSERT_EQ(1, write(fd, "2", 1));
  close(fd);
  EXPECT_TRUE(Told());
}

TEST_F(FileWatchTest, ADirectoryThatAppearsLaterIsFound) {
  Watch(root_ + "/a/b/file");
  EXPECT_TRUE(NotTold());
  std::filesystem::create_directory(root_ + "/a");
  EXPECT_TRUE(NotTold());
  std::filesystem::create_directory(root_ + "/a/b");
  EXPECT_TRUE(NotTold());
  Write(root_ + "/a/b/file", "1");
  EXPECT_TRUE(Told());
  // And replaced as a whole.
  std::filesystem::create_directory(root_ + "/c");
  std::filesystem::create_directory(root_ + "/c/b");
  Write(root_ + "/c/b/file", "22");
  std::filesystem::rename(root_ + "/a", root_ + "/old");
  EXPECT_TRUE(Told());
  std::filesystem::rename(root_ + "/c", root_ + "/a");
  EXPECT_TRUE(Told());
}

TEST_F(FileWatchTest, LinksThatLeadToItAreFollowedAsAMountedConfigMapHasThem) {
  std::filesystem::create_directory(root_ + "/..1");
  Write(root_ + "/..1/file", "1");
  std::filesystem::create_symlink("..1", root_ + "/..data");
  std::filesystem::create_symlink("..data/file", root_ + "/file");
  Watch(root_ + "/file");
  std::filesystem::create_directory(root_ + "/..2");
  Write(root_ + "/..2/file", "22");
  EXPECT_TRUE(NotTold());
  std::filesystem::create_symlink("..2", root_ + "/..tmp");
  std::filesystem::rename(root_ + "/..tmp", root_ + "/..data");
  EXPECT_TRUE(Told());
  Write(root_ + "/..2/file", "333");
  EXPECT_TRUE(Told());
}

TEST_F(FileWatchTest, AFileThatMayBeReadNowIsToldOf) {
  const std::string path = root_ + "/file";
  Write(path, "1");
  ASSERT_EQ(0, chmod(path.c_str(), 0));
  Watch(path);
  ASSERT_EQ(0, chmod(path.c_str(), 0600));
  EXPECT_TRUE(Told());
}

TEST_F(FileWatchTest, WhatIsNoLongerWatchedIsNotTold) {
  const std::string path = root_ + "/file";
  Watch(path);
  Watch(root_ + "/other");
  watch_.Remove(path);
  Write(path, "1");
  EXPECT_TRUE(NotTold());
  Write(root_ + "/other", "1");
  EXPECT_TRUE(Told());
}

TEST_F(FileWatchTest, ACallbackMayStopTheWatch) {
  const std::string path = root_ + "/file";
  watch_.Add(path, [this] { watch_.Stop(); });
  Write(path, "1");
  EXPECT_TRUE(stage_.TurnUntil([this] { return watch_.idle(); }));
  watch_.Remove(path);
}

}  // namespace
}  // namespace parkway
