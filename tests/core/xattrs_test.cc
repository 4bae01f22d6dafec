// Extended attributes.
#include <gtest/gtest.h>

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
      {"system.posix_acl_access", Meaning(ErrorCode::kNotSupported)},
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

}  // namespace
}  // namespace cofs
