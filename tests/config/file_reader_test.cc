#include "config/file_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "config/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parkway::config {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FileReaderTest : public testing::Test {
 protected:
  FileReaderTest() {
    std::string name = testing::TempDir() + "/flags-XXXXXX";
    folder_ = mkdtemp(name.data());
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(Path(name), std::ios::binary) << bytes;
  }

  std::string folder_;
  DiskFileReader reader_;
};

TEST_F(FileReaderTest, ReadsAllBytes) {
  std::string bytes(100000, 'x');
  bytes[5] = '\0';
  Write("a", bytes);
  const absl::StatusOr<FileReader::File> file = reader_.Read(Path("a"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->bytes, bytes);
}

TEST_F(FileReaderTest, TheSameFileIsKnownByEveryName) {
  Write("a", "1");
  Write("b", "1");
  ASSERT_EQ(symlink(Path("a").c_str(), Path("link").c_str()), 0);
  const std::string identity = reader_.Read(Path("a"))->identity;
  EXPECT_EQ(reader_.Read(Path("./a"))->identity, identity);
  EXPECT_EQ(reader_.Read(Path("link"))->identity, identity);
  EXPECT_NE(reader_.Read(Path("b"))->identity, identity);
}

TEST_F(FileReaderTest, APipeIsReadToItsEndAndNotWaitedForWithoutAWriter) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(Message(reader_.Read(Path("pipe")).status()),
            "it is a pipe, and nobody has written into it");
  // Until all is written it has a writer, and a reader, whoever comes first.
  const int both = open(Path("pipe").c_str(), O_RDWR | O_CLOEXEC);
  std::thread writer([this, both] {
    {
      std::ofstream pipe(Path("pipe"), std::ios::binary);
      for (int i = 0; i < 100; ++i) pipe << std::string(1000, 'x') << std::flush;
    }
    close(both);
  });
  const absl::StatusOr<FileReader::File> file = reader_.Read(Path("pipe"));
  writer.join();
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->bytes, std::string(100'000, 'x'));
}

TEST_F(FileReaderTest, WhatCannotBeReadSaysWhy) {
  EXPECT_EQ(Message(reader_.Read(folder_).status()), "it is a directory");
  EXPECT_EQ(Message(reader_.Read(Path("none")).status()), "No such file or directory");
  EXPECT_EQ(Message(reader_.Read(Path("none/none")).status()), "No such file or directory");
  Write("locked", "");
  ASSERT_EQ(chmod(Path("locked").c_str(), 0), 0);
  if (geteuid() != 0) {
    EXPECT_EQ(Message(reader_.Read(Path("locked")).status()), "Permission denied");
  }
}

TEST_F(FileReaderTest, AFileWithoutAnEndIsRefused) {
  EXPECT_EQ(Message(reader_.Read("/dev/zero").status()), "it is larger than 64MiB");
  EXPECT_EQ(reader_.Read("/dev/null")->bytes, "");
}

TEST_F(FileReaderTest, APatternMatchesInOrder) {
  for (const char* name : {"b.flags", "a.flags", "c.txt", "10.flags"}) Write(name, "");
  const auto matches = reader_.Match(Path("*.flags"));
  ASSERT_TRUE(matches.ok());
  EXPECT_THAT(*matches, ElementsAre(Path("10.flags"), Path("a.flags"), Path("b.flags")));
  EXPECT_THAT(*reader_.Match(Path("*.none")), IsEmpty());
  EXPECT_THAT(*reader_.Match(Path("nowhere/*.flags")), IsEmpty());
}

}  // namespace
}  // namespace parkway::config
