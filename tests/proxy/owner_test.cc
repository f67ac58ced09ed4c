#include "proxy/system/owner.h"

#include "gtest/gtest.h"

namespace parkway {
namespace {

TEST(OwnerTest, AUserAndAGroupAreFoundByNameAndByNumber) {
  const std::optional<Owner> named = FindOwner("root");
  ASSERT_TRUE(named.has_value());
  EXPECT_EQ(named->user, 0u);
  EXPECT_EQ(named->group, static_cast<gid_t>(-1));
  const std::optional<Owner> both = FindOwner("1234:root");
  ASSERT_TRUE(both.has_value());
  EXPECT_EQ(both->user, 1234u);
  EXPECT_EQ(both->group, 0u);
  EXPECT_EQ(FindOwner("root:77")->group, 77u);
}

TEST(OwnerTest, ANameThatNobodyHasIsNone) {
  EXPECT_FALSE(FindOwner("nobody-is-called-so").has_value());
  EXPECT_FALSE(FindOwner("root:nobody-is-called-so").has_value());
  EXPECT_FALSE(FindOwner("12x").has_value());
  EXPECT_FALSE(FindOwner("99999999999").has_value());
  EXPECT_FALSE(FindOwner("").has_value());
}

}  // namespace
}  // namespace parkway
