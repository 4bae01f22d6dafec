// Extended attributes.
#include <gtest/gtest.h>

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include <chrono>
#include <thread>

#include "base/codec.h"
#include "fs/core/posix_acl.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

constexpr InodeId kRoot = kRootInode;

TEST(Xattrs, NamesAndValues) {
  TestVolume volume;
  const InodeId file = MakeFile(*volume, kRoot, "f");
  const struct {
    std::string name;
    std::string expected;
  } kCases[] = {
      {"user.a", "ok"},
      {"trusted.x", "ok"},
      {"security.selinux", "ok"},
      {StrCat("user.", std::string(250, 'n')), "ok"},
      {StrCat("user.", std::string(251, 'n')), Meaning(ErrorCode::kOutOfRange)},
      {"", Meaning(ErrorCode::kOutOfRange)},
      {"user.", Meaning(ErrorCode::kInvalidArgument)},
      {std::string("user.a\0b", 8), Meaning(ErrorCode::kInvalidArgument)},
      {"system.nfs4_acl", Meaning(ErrorCode::kNotSupported)},
      {"other", Meaning(ErrorCode::kNotSupported)},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(c.expected, CodeOf(volume->SetXattr(file, c.name, "v", XattrMode::kSet)));
    EXPECT_EQ(c.expected, CodeOf(volume->GetXattr(file, c.name)));
    EXPECT_EQ(c.expected, CodeOf(volume->RemoveXattr(file, c.name)));
  }
  for (size_t size : {size_t{0}, size_t{1}, kXattrValueBytesMax}) {
    const std::string value(size, 'v');
    ASSERT_OK(volume->SetXattr(file, "user.size", value, XattrMode::kSet));
    const auto got = volume->GetXattr(file, "user.size");
    ASSERT_OK(got);
    EXPECT_EQ(value, *got);
  }
  EXPECT_CODE(kTooBig, volume->SetXattr(file, "user.size",
                                        std::string(kXattrValueBytesMax + 1, 'v'),
                                        XattrMode::kSet));
}

TEST(Xattrs, Modes) {
  TestVolume volume;
  const InodeId file = MakeFile(*volume, kRoot, "f");
  EXPECT_CODE(kNoAttribute, volume->GetXattr(file, "user.a"));
  EXPECT_CODE(kNoAttribute, volume->RemoveXattr(file, "user.a"));
  EXPECT_CODE(kNoAttribute, volume->SetXattr(file, "user.a", "1", XattrMode::kReplace));
  ASSERT_OK(volume->SetXattr(file, "user.a", "1", XattrMode::kCreate));
  EXPECT_CODE(kExists, volume->SetXattr(file, "user.a", "2", XattrMode::kCreate));
  EXPECT_CODE(kNoAttribute, volume->SetXattr(file, "user.b", "2", XattrMode::kReplace));
  EXPECT_EQ("1", *volume->GetXattr(file, "user.a"));
  ASSERT_OK(volume->SetXattr(file, "user.a", "2", XattrMode::kReplace));
  EXPECT_EQ("2", *volume->GetXattr(file, "user.a"));
  EXPECT_CODE(kStale, volume->SetXattr(InodeId{999}, "user.a", "2", XattrMode::kSet));
}

TEST(Xattrs, ListAndTheFlag) {
  TestVolume volume;
  const InodeId file = MakeFile(*volume, kRoot, "f");
  const Timestamp past{.seconds = 1000, .nanoseconds = 0};
  EXPECT_TRUE(volume->ListXattrs(file)->empty());
  ASSERT_OK(volume->SetXattr(file, "user.b", "1", XattrMode::kSet));
  ASSERT_OK(volume->SetXattr(file, "user.a", "1", XattrMode::kSet));
  ASSERT_OK(volume->SetXattr(file, "security.c", "1", XattrMode::kSet));
  volume.Remount();
  EXPECT_EQ((std::vector<std::string>{"security.c", "user.a", "user.b"}),
            *volume->ListXattrs(file));
  EXPECT_NE(0u, RecordOf(*volume, file).flags & kInodeHasXattr);
  ASSERT_OK(volume->SetAttributes(file, {.ctime = past}));
  for (const char* name : {"user.a", "user.b", "security.c"})
    ASSERT_OK(volume->RemoveXattr(file, name));
  EXPECT_GT(RecordOf(*volume, file).ctime, past);
  EXPECT_EQ(0u, RecordOf(*volume, file).flags & kInodeHasXattr);
  EXPECT_TRUE(volume->ListXattrs(file)->empty());
}

TEST(Xattrs, GoWithTheirInode) {
  TestVolume volume;
  const InodeId file = MakeFile(*volume, kRoot, "f");
  for (int i = 0; i < 200; ++i)
    ASSERT_OK(volume->SetXattr(file, Numbered("user.", i), "1", XattrMode::kSet));
  ASSERT_OK(volume->Unlink(kRoot, "f"));
  ASSERT_OK(volume->DrainRemoved());
  EXPECT_CODE(kStale, volume->ListXattrs(file));
  volume.Remount();
}

// The largest records that there are, of which two fill a memtable of a small volume: the
// store must have kept room for what unlinking and compacting them takes.
TEST(Xattrs, AVolumeFullOfLargeOnesIsEmptied) {
  TestVolume volume;
  const uint64_t fresh = volume->usage().space.free_bytes;
  for (int round = 0; round < 3; ++round) {
    const std::string value(60'000, static_cast<char>('a' + round));
    int count = 0;
    for (bool is_full = false; !is_full; ++count) {
      ASSERT_LT(count, 20'000);
      const auto made = volume->Create(kRoot, Numbered("f", count), File());
      if (made.ok()) volume->Forget(made->id, 1);
      is_full = !made.ok() ||
                !volume->SetXattr(made->id, "user.large", value, XattrMode::kSet).ok();
    }
    EXPECT_GE(count, 500) << "round " << round;
    for (const auto& [name, id] : EntriesOf(*volume, kRoot))
      ASSERT_OK(volume->Unlink(kRoot, name)) << "round " << round << ", " << name;
    ASSERT_OK(volume->DrainRemoved());
    ASSERT_OK(volume->SyncAll());
    // What was deleted takes room until it is compacted away; then data may have it.
    const auto is_roomy = [&] { return volume->usage().space.free_bytes > fresh / 4 * 3; };
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!is_roomy() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_TRUE(is_roomy()) << "round " << round << ": "
                            << volume->usage().space.free_bytes << " of " << fresh;
  }
  volume.Remount();
}

// ---- access control lists ----

// With one named user; the mask is the group of `permissions`.
std::string Acl(uint32_t permissions) {
  std::string value;
  ByteWriter out(value);
  out.Little(uint32_t{POSIX_ACL_XATTR_VERSION});
  const auto put = [&out](uint16_t tag, uint32_t bits, uint32_t id) {
    out.Little(tag);
    out.Little(static_cast<uint16_t>(bits & 7));
    out.Little(id);
  };
  put(ACL_USER_OBJ, permissions >> 6, UINT32_MAX);
  put(ACL_USER, 7, 1000);
  put(ACL_GROUP_OBJ, 5, UINT32_MAX);
  put(ACL_MASK, permissions >> 3, UINT32_MAX);
  put(ACL_OTHER, permissions, UINT32_MAX);
  return value;
}

TEST(AccessControlLists, AndPermissionBitsFollowEachOther) {
  TestVolume volume;
  const InodeId file = MakeFile(*volume, kRoot, "f");
  ASSERT_OK(volume->SetXattr(file, kAccessAclXattr, Acl(0750), XattrMode::kSet));
  EXPECT_EQ(0100750u, RecordOf(*volume, file).mode);
  ASSERT_OK(volume->SetAttributes(file, {.mode = 0604}));
  volume.Remount();
  EXPECT_EQ(Acl(0604), *volume->GetXattr(file, kAccessAclXattr));

  ASSERT_OK(volume->SetAttributes(file, {.mode = 02770}));
  ASSERT_OK(volume->SetXattr(file, kAccessAclXattr, Acl(0770), XattrMode::kSet));
  EXPECT_EQ(0102770u, RecordOf(*volume, file).mode);
  ASSERT_OK(volume->SetXattr(file, kAccessAclXattr, Acl(0770), XattrMode::kSet,
                             /*kill_set_group_id=*/true));
  EXPECT_EQ(0100770u, RecordOf(*volume, file).mode);

  // A list of the three alone is the mode.
  const std::string minimal = Acl(0640).substr(0, 12) + Acl(0640).substr(20, 8) +
                              Acl(0640).substr(36);
  ASSERT_OK(volume->SetXattr(file, kAccessAclXattr, minimal, XattrMode::kSet));
  EXPECT_EQ(0100650u, RecordOf(*volume, file).mode);
  EXPECT_CODE(kNoAttribute, volume->GetXattr(file, kAccessAclXattr));
  EXPECT_EQ(0u, RecordOf(*volume, file).flags & kInodeHasXattr);
  ASSERT_OK(volume->RemoveXattr(file, kAccessAclXattr));

  EXPECT_CODE(kNotPermitted,
              volume->SetXattr(file, kDefaultAclXattr, Acl(0640), XattrMode::kSet));
  EXPECT_CODE(kInvalidArgument,
              volume->SetXattr(file, kAccessAclXattr, "x", XattrMode::kSet));
}

TEST(AccessControlLists, DefaultOnesReplaceTheUmask) {
  TestVolume volume;
  const InodeId plain = MakeDirectory(*volume, kRoot, "plain");
  const InodeId listed = MakeDirectory(*volume, kRoot, "listed");
  ASSERT_OK(volume->SetXattr(listed, kDefaultAclXattr, Acl(0760), XattrMode::kSet));
  NewInode file = File(0666), directory = Directory(0777);
  file.umask = directory.umask = 022;
  const auto made = [&](const Result<InodeStat>& inode) {
    EXPECT_OK(inode);
    volume->Forget(inode->id, 1);
    return inode->id;
  };
  EXPECT_EQ(0100644u, RecordOf(*volume, made(volume->Create(plain, "f", file))).mode);
  const InodeId inner_file = made(volume->Create(listed, "f", file));
  const InodeId inner = made(volume->Create(listed, "d", directory));
  volume.Remount();
  EXPECT_EQ(0100660u, RecordOf(*volume, inner_file).mode);
  EXPECT_EQ(Acl(0660), *volume->GetXattr(inner_file, kAccessAclXattr));
  EXPECT_CODE(kNoAttribute, volume->GetXattr(inner_file, kDefaultAclXattr));
  EXPECT_EQ(0040760u, RecordOf(*volume, inner).mode);
  EXPECT_EQ(Acl(0760), *volume->GetXattr(inner, kDefaultAclXattr));

  file.directory = listed;
  const auto temporary = volume->CreateTemporary(file);
  ASSERT_OK(temporary);
  EXPECT_EQ(0100660u, temporary->record.mode);
  EXPECT_EQ(Acl(0660), *volume->GetXattr(temporary->id, kAccessAclXattr));
  volume->Forget(temporary->id, 1);
}

}  // namespace
}  // namespace cofs
