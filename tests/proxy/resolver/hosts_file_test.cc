#include "proxy/upstream/resolver/hosts_file.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace parkway {
namespace {

std::string Found(const HostsFile& hosts, const std::string& name) {
  std::string text;
  for (const Address& address : hosts.Find(name)) text += address.ToString() + " ";
  return text;
}

TEST(HostsFileTest, NamesAndTheirOtherNamesLeadToEachOfTheirAddresses) {
  const HostsFile hosts(
      "# a comment\n"
      "10.0.0.1\tApp1.test app1  # and more\n"
      "\n"
      "   2001:db8::1 app1\r\n"
      "10.0.0.1 app1\n"
      "nonsense app1\n"
      "10.0.0.3");
  EXPECT_EQ("10.0.0.1:0 [2001:db8::1]:0 ", Found(hosts, "app1"));
  EXPECT_EQ("10.0.0.1:0 ", Found(hosts, "APP1.TEST."));
  EXPECT_EQ("", Found(hosts, "more"));
  EXPECT_EQ("", Found(hosts, "app2"));
}

TEST(HostsFileTest, LocalhostIsThisMachineUnlessTheFileKnowsBetter) {
  EXPECT_EQ("127.0.0.1:0 [::1]:0 ", Found(HostsFile(""), "localhost"));
  EXPECT_EQ("127.0.0.7:0 ", Found(HostsFile("127.0.0.7 localhost"), "localhost"));
}

}  // namespace
}  // namespace parkway
