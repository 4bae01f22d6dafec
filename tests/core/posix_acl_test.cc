// PosixAcl: the format, what makes a list, and the ties between lists and modes.
#include "fs/core/posix_acl.h"

#include <gtest/gtest.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include "base/codec.h"

namespace cofs {
namespace {

struct Row {
  uint16_t tag, permissions;
  uint32_t id = UINT32_MAX;
};

std::string Encoded(std::initializer_list<Row> rows,
                    uint32_t version = POSIX_ACL_XATTR_VERSION) {
  std::string value;
  ByteWriter out(value);
  out.Little(version);
  for (const Row& row : rows) {
    out.Little(row.tag);
    out.Little(row.permissions);
    out.Little(row.id);
  }
  return value;
}

constexpr Row kOwner{ACL_USER_OBJ, 7}, kUser{ACL_USER, 5, 1000}, kOtherUser{ACL_USER, 1, 1001},
    kGroup{ACL_GROUP_OBJ, 5}, kNamedGroup{ACL_GROUP, 7, 100}, kMask{ACL_MASK, 6},
    kOthers{ACL_OTHER, 4};

TEST(PosixAclTest, WhatIsReadIsWritten) {
  for (const std::string& value :
       {Encoded({kOwner, kGroup, kOthers}), Encoded({kOwner, kGroup, kMask, kOthers}),
        Encoded({kOwner, kUser, kOtherUser, kGroup, kNamedGroup, kMask, kOthers})}) {
    const Result<PosixAcl> acl = PosixAcl::Parse(value);
    ASSERT_TRUE(acl.ok());
    EXPECT_EQ(acl->Encode(), value);
  }
}

TEST(PosixAclTest, RefusesWhatIsNoList) {
  const std::string good = Encoded({kOwner, kGroup, kOthers});
  const std::string bad[] = {
      "", "x", good.substr(0, good.size() - 1), good + "x",
      Encoded({}), Encoded({kOwner, kGroup, kOthers}, 1),
      Encoded({kGroup, kOthers}), Encoded({kOwner, kOthers}), Encoded({kOwner, kGroup}),
      Encoded({kOwner, kUser, kGroup, kOthers}),           // no mask
      Encoded({kOwner, kGroup, kNamedGroup, kOthers}),     // no mask
      Encoded({kGroup, kOwner, kOthers}),                  // order
      Encoded({kOwner, kOwner, kGroup, kOthers}),          // twice
      Encoded({kOwner, kGroup, kMask, kMask, kOthers}),    // twice
      Encoded({kOwner, kGroup, kOthers, kOthers}),         // twice
      Encoded({kOwner, kGroup, {ACL_OTHER, 8}}),           // no such permission
      Encoded({kOwner, kGroup, {3, 4}, kOthers})};         // no such tag
  for (const std::string& value : bad)
    EXPECT_TRUE(PosixAcl::Parse(value).Is(ErrorCode::kInvalidArgument))
        << ::testing::PrintToString(value);
}

TEST(PosixAclTest, OneThatTheVolumeHoldsIsDamaged) {
  const Result<PosixAcl> damaged = PosixAcl::ParseStored("x", InodeId{42});
  EXPECT_TRUE(damaged.Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(PosixAcl::ParseStored(Encoded({kOwner, kGroup, kOthers}), InodeId{42}).ok());
}

TEST(PosixAclTest, TheMaskIsTheGroupOfTheMode) {
  PosixAcl minimal = *PosixAcl::Parse(Encoded({kOwner, kGroup, kOthers}));
  EXPECT_TRUE(minimal.IsMinimal());
  EXPECT_EQ(minimal.PermissionBits(), 0754u);
  minimal.SetPermissionBits(0640);
  EXPECT_EQ(minimal.Encode(), Encoded({{ACL_USER_OBJ, 6}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 0}}));

  PosixAcl masked = *PosixAcl::Parse(Encoded({kOwner, kUser, kGroup, kMask, kOthers}));
  EXPECT_FALSE(masked.IsMinimal());
  EXPECT_EQ(masked.PermissionBits(), 0764u);
  masked.SetPermissionBits(0600);
  EXPECT_EQ(masked.Encode(),
            Encoded({{ACL_USER_OBJ, 6}, kUser, kGroup, {ACL_MASK, 0}, {ACL_OTHER, 0}}));
}

TEST(PosixAclTest, ANewInodeGetsWhatBothAllow) {
  PosixAcl acl = *PosixAcl::Parse(Encoded({kOwner, kUser, kGroup, kMask, kOthers}));
  acl.RestrictTo(0646);
  EXPECT_EQ(acl.PermissionBits(), 0644u);
  EXPECT_EQ(acl.Encode(),
            Encoded({{ACL_USER_OBJ, 6}, kUser, kGroup, {ACL_MASK, 4}, {ACL_OTHER, 4}}));
}

}  // namespace
}  // namespace cofs
