// Where the access log goes, and what is left out of it.
#include "config/log_sink.h"

#include "config/text.h"
#include "gtest/gtest.h"

namespace parkway::config {
namespace {

TEST(LogSinkTest, EachKindIsReadAndPrinted) {
  for (const char* text :
       {"off", "stderr", "stdout", "file:/var/log/a b.log", "unix:/dev/log", "syslog:10.0.0.1",
        "syslog:10.0.0.1:1514", "syslog:::1", "syslog:[::1]:1514", "syslog:log.example.net",
        "syslog:log.example.net:515"}) {
    const absl::StatusOr<LogSink> sink = ParseLogSink(text);
    ASSERT_TRUE(sink.ok()) << text << ": " << Message(sink.status());
    EXPECT_EQ(PrintLogSink(*sink), text);
  }
}

TEST(LogSinkTest, TheUsualPortIsLeftOut) {
  const LogSink sink = *ParseLogSink("syslog:[::1]:514");
  EXPECT_EQ(sink.kind, LogSink::Kind::kSyslog);
  EXPECT_EQ(sink.target, "::1");
  EXPECT_EQ(sink.port, kSyslogPort);
  EXPECT_EQ(PrintLogSink(sink), "syslog:::1");
}

TEST(LogSinkTest, WhatIsNoSinkIsTold) {
  EXPECT_EQ(Message(ParseLogSink("log").status()),
            "\"log\" is not known here; write off, stderr, stdout, file:PATH, unix:PATH or "
            "syslog:HOST[:514]");
  for (const char* text : {"", "on", "file:", "unix:", "syslog:", "syslog:unix:/x", "syslog:a:+1",
                           "syslog:srv:_a._udp.b", "syslog:10.0.0.1:0"}) {
    EXPECT_FALSE(ParseLogSink(text).ok()) << text;
  }
}

TEST(LogSinkTest, WhatIsSkippedIsASet) {
  EXPECT_EQ(*CanonicalLogSkip("normal,null,null"), "null,normal");
  EXPECT_TRUE(ParseLogSkip("null")->null);
  EXPECT_FALSE(ParseLogSkip("null")->normal);
  EXPECT_FALSE(CanonicalLogSkip("null,").ok());
  EXPECT_FALSE(CanonicalLogSkip("all").ok());
}

}  // namespace
}  // namespace parkway::config
