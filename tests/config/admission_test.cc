// Prefixes, rates and TLVs as an operator writes them.
#include "config/admission.h"

#include <string>
#include <string_view>

#include "config/text.h"
#include "gtest/gtest.h"

namespace parkway::config {
namespace {

std::string Or(const absl::StatusOr<std::string>& read) { return read.ok() ? *read : "refused"; }

TEST(AdmissionTest, PrefixesAreReadAndShownCanonically) {
  EXPECT_EQ(Or(CanonicalPrefixes("10.1.2.3/8")), "10.0.0.0/8");
  EXPECT_EQ(Or(CanonicalPrefixes("10.1.2.3")), "10.1.2.3/32");
  EXPECT_EQ(Or(CanonicalPrefixes("0.0.0.0/0,::/0")), "0.0.0.0/0,::/0");
  EXPECT_EQ(Or(CanonicalPrefixes("2001:DB8:0:0:ff::/33,@a file")), "2001:db8::/33,@a file");
  EXPECT_EQ(Or(CanonicalPrefixes("::ffff:10.0.0.0/104")), "10.0.0.0/8");
  EXPECT_EQ(Or(CanonicalPrefixes("::ffff:0:0/95")), "::fffe:0:0/95");
  for (const char* wrong : {"", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/-1",
                            "10.0.0.0/8,", "@", "example.org", "10.0.0.0/8 "}) {
    EXPECT_EQ(Or(CanonicalPrefixes(wrong)), "refused") << wrong;
  }
}

TEST(AdmissionTest, AFileHasAPrefixALine) {
  const absl::StatusOr<std::vector<Prefix>> read =
      ParsePrefixFile("# first\r\n10.0.0.0/8\n\n  ::1 # loopback\r\n");
  ASSERT_TRUE(read.ok());
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ(PrintPrefix((*read)[1]), "::1/128");
  const auto wrong = ParsePrefixFile("10.0.0.0/8\n10.0.0.0/99\n");
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(Message(wrong.status()).substr(0, 8), "line 2: ");
  EXPECT_TRUE(ParsePrefixFile("")->empty());
}

TEST(AdmissionTest, RatesArePerSecond) {
  EXPECT_EQ(Or(CanonicalRate("0500/s")), "500/s");
  for (const char* wrong : {"500", "0/s", "1000001/s", "-1/s", "5/m", "/s", ""}) {
    EXPECT_EQ(Or(CanonicalRate(wrong)), "refused") << wrong;
  }
}

TEST(AdmissionTest, Tlvs) {
  EXPECT_EQ(Or(CanonicalTlvs("crc32c,unique_id,authority,pass,pass:0xea,set:0xE0=a=b c")),
            "crc32c,unique_id,authority,pass,pass:0xEA,set:0xE0=a=b c");
  for (const char* wrong : {"", "crc", "pass:", "pass:234", "pass:0xg0", "set:0xE0", "crc32c,"}) {
    EXPECT_EQ(Or(CanonicalTlvs(wrong)), "refused") << wrong;
  }
}

}  // namespace
}  // namespace parkway::config
