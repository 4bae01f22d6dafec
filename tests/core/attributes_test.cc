// Attributes: stat, chmod, chown, truncate, times, privileges.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "tests/core/test_volume.h"

namespace cofs {
namespace {

constexpr InodeId kRoot = kRootInode;
constexpr Timestamp kPast{.seconds = 1000, .nanoseconds = 1};

TEST(Attributes, ChangesWhatIsAskedFor) {
  TestVolume volume;
  const InodeId file = MakeFile(*volume, kRoot, "f");
  ASSERT_OK(volume->SetAttributes(file, {.ctime = kPast}));
  EXPECT_EQ(kPast, RecordOf(*volume, file).ctime);

  const auto changed = volume->SetAttributes(file, {.mode = S_IFDIR | 04711});
  ASSERT_OK(changed);
  EXPECT_EQ(S_IFREG | 04711u, changed->record.mode) << "the type never changes";
  EXPECT_GT(changed->record.ctime, kPast);
  ASSERT_OK(volume->SetAttributes(file, {.uid = 5}));
  ASSERT_OK(volume->SetAttributes(file, {.gid = 6, .atime = kPast}));
  const Timestamp before_1970{.seconds = -5, .nanoseconds = 999'999'999};
  ASSERT_OK(volume->SetAttributes(file, {.mtime = before_1970}));
  volume.Remount();
  const InodeRecord record = RecordOf(*volume, file);
  EXPECT_EQ(5u, record.uid);
  EXPECT_EQ(6u, record.gid);
  EXPECT_EQ(kPast, record.atime);
  EXPECT_EQ(before_1970, record.mtime);
  EXPECT_EQ(S_IFREG | 04711u, record.mode);
}

TEST(Attributes, RefusesWhatCanNotBe) {
  TestVolume volume;
  const InodeId file = MakeFile(*volume, kRoot, "f");
  const Timestamp bad{.seconds = 0, .nanoseconds = 1'000'000'000};
  const InodeRecord before = RecordOf(*volume, file);
  EXPECT_CODE(kInvalidArgument, volume->SetAttributes(file, {.atime = bad}));
  EXPECT_CODE(kInvalidArgument, volume->SetAttributes(file, {.mode = 0x10000}));
  EXPECT_CODE(kIsDirectory, volume->SetAttributes(kRoot, {.size_bytes = 0}));
  EXPECT_CODE(kFileTooLarge,
              volume->SetAttributes(file, {.size_bytes = kFileBytesMax + 1}));
  EXPECT_CODE(kStale, volume->SetAttributes(InodeId{12345}, {.mode = 0}));
  EXPECT_EQ(before, RecordOf(*volume, file));
}

// One batch: a crash in between is seen by crash_random_test, if rarely.
TEST(Attributes, SizeAndModeChangeAtOnce) {
  TestVolume volume;
  const InodeId file = MakeFile(*volume, kRoot, "f");
  ASSERT_OK(volume->SetAttributes(file, {.mode = 0600, .size_bytes = 0}));
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      const InodeRecord record = RecordOf(*volume, file);
      if ((record.mode & 07777u) == (record.size_bytes == 0 ? 0600u : 0640u)) continue;
      ADD_FAILURE() << record.size_bytes << " bytes, mode " << (record.mode & 07777u);
      return;
    }
  });
  for (int i = 0; i < 2000; ++i) {
    EXPECT_OK(volume->SetAttributes(file, {.mode = 0640, .size_bytes = 4096}));
    EXPECT_OK(volume->SetAttributes(file, {.mode = 0600, .size_bytes = 0}));
  }
  stop = true;
  reader.join();
}

TEST(Attributes, SizeSetsTimesAndTheRest) {
  TestVolume volume;
  const InodeId file = MakeFile(*volume, kRoot, "f");
  ASSERT_OK(volume->SetAttributes(file, {.mtime = kPast, .ctime = kPast}));
  ASSERT_OK(volume->SetAttributes(file, {.mode = 0600, .size_bytes = 100'000}));
  InodeRecord record = RecordOf(*volume, file);
  EXPECT_EQ(100'000u, record.size_bytes);
  EXPECT_EQ(0u, record.allocated_bytes);
  EXPECT_EQ(S_IFREG | 0600u, record.mode);
  EXPECT_GT(record.mtime, kPast);
  EXPECT_GT(record.ctime, kPast);
  ASSERT_OK(volume->SetAttributes(file, {.size_bytes = 7, .mtime = kPast}));
  record = RecordOf(*volume, file);
  EXPECT_EQ(7u, record.size_bytes);
  EXPECT_EQ(kPast, record.mtime);
}

TEST(Attributes, KillsPrivileges) {
  TestVolume volume;
  const struct {
    uint32_t before, after;
  } kCases[] = {
      {S_IFREG | 06755, S_IFREG | 0755},
      {S_IFREG | 06745, S_IFREG | 02745},  // the group may not execute: not a privilege
      {S_IFREG | 0644, S_IFREG | 0644},
      {S_IFDIR | 06755, S_IFDIR | 06755},
  };
  int number = 0;
  for (const auto& c : kCases) {
    const auto made =
        volume->Create(kRoot, std::to_string(number++), {.mode = c.before, .uid = 1});
    ASSERT_OK(made);
    ASSERT_OK(volume->SetXattr(made->id, "security.capability", "c", XattrMode::kSet));
    const auto changed =
        volume->SetAttributes(made->id, {.uid = 2, .kill_privileges = true});
    ASSERT_OK(changed);
    EXPECT_EQ(c.after, changed->record.mode);
    EXPECT_EQ(2u, changed->record.uid);
    if (S_ISDIR(c.before)) {
      EXPECT_OK(volume->GetXattr(made->id, "security.capability"));
    } else {
      EXPECT_CODE(kNoAttribute, volume->GetXattr(made->id, "security.capability"));
    }
  }
  // A write kills them as well.
  const auto made = volume->Create(kRoot, "w", {.mode = S_IFREG | 06755});
  ASSERT_OK(made);
  ASSERT_OK(volume->SetXattr(made->id, "security.capability", "c", XattrMode::kSet));
  const std::string data = "data";
  ASSERT_OK(volume->Write(made->id, FileOffset{0}, data, {.kill_privileges = true}));
  EXPECT_EQ(S_IFREG | 0755u, RecordOf(*volume, made->id).mode);
  EXPECT_CODE(kNoAttribute, volume->GetXattr(made->id, "security.capability"));
  // And a truncate.
  ASSERT_OK(volume->SetAttributes(made->id, {.mode = 04755}));
  ASSERT_OK(volume->SetAttributes(made->id, {.size_bytes = 1, .kill_privileges = true}));
  EXPECT_EQ(S_IFREG | 0755u, RecordOf(*volume, made->id).mode);
}

struct AtimeCase {
  AtimePolicy policy;
  Timestamp atime, mtime;
  bool moves;
};

class Atime : public ::testing::TestWithParam<AtimeCase> {};

TEST_P(Atime, MovesAsThePolicySays) {
  const AtimeCase& c = GetParam();
  VolumeOptions options = QuietOptions();
  options.atime = c.policy;
  TestVolume volume(256 << 20, options);
  const InodeId file = MakeFile(*volume, kRoot, "f");
  const auto symlink = volume->MakeSymlink(kRoot, "s", "t", {});
  ASSERT_OK(symlink);
  const InodeId directory = MakeDirectory(*volume, kRoot, "d");
  const std::string data = "data";
  ASSERT_OK(volume->Write(file, FileOffset{0}, data, {}));
  for (InodeId id : {file, symlink->id, directory})
    ASSERT_OK(volume->SetAttributes(
        id, {.atime = c.atime, .mtime = c.mtime, .ctime = c.mtime}));
  AlignedBuffer buffer;
  ASSERT_OK(volume->Read(file, FileOffset{0}, 4, buffer));
  ASSERT_OK(volume->ReadLink(symlink->id));
  ASSERT_OK(volume->ReadDirectory(directory, 0, [](const auto&) { return true; }));
  for (InodeId id : {file, symlink->id, directory})
    EXPECT_EQ(c.moves, RecordOf(*volume, id).atime != c.atime) << id;
}

Timestamp SecondsAgo(int64_t seconds) {
  Timestamp time = Now();
  time.seconds -= seconds;
  return time;
}

INSTANTIATE_TEST_SUITE_P(
    Policies, Atime,
    ::testing::Values(
        AtimeCase{AtimePolicy::kRelative, SecondsAgo(100), SecondsAgo(50), true},
        AtimeCase{AtimePolicy::kRelative, SecondsAgo(50), SecondsAgo(50), true},
        AtimeCase{AtimePolicy::kRelative, SecondsAgo(50), SecondsAgo(100), false},
        AtimeCase{AtimePolicy::kRelative, SecondsAgo(90000), SecondsAgo(95000), true},
        AtimeCase{AtimePolicy::kNone, SecondsAgo(100), SecondsAgo(50), false},
        AtimeCase{AtimePolicy::kStrict, SecondsAgo(50), SecondsAgo(100), true}));

TEST(Attributes, ARefusedSizeChangesNothingElse) {
  TestVolume volume;
  const InodeId directory = MakeDirectory(*volume, kRootInode, "d");
  EXPECT_CODE(kIsDirectory,
              volume->SetAttributes(directory, {.mode = 0700, .size_bytes = 0}));
  EXPECT_EQ(0040755u, RecordOf(*volume, directory).mode);
  const InodeId file = MakeFile(*volume, kRootInode, "f");
  EXPECT_CODE(kFileTooLarge, volume->SetAttributes(
                                 file, {.mode = 0700, .size_bytes = kFileBytesMax + 1}));
  EXPECT_EQ(0100644u, RecordOf(*volume, file).mode);
  ASSERT_OK(volume->SetAttributes(file, {.mode = 0700, .size_bytes = 5}));
  EXPECT_EQ(0100700u, RecordOf(*volume, file).mode);
  EXPECT_EQ(5u, RecordOf(*volume, file).size_bytes);
}

}  // namespace
}  // namespace cofs
