// Clones, dedupe, unsharing and snapshots meet a power cut: contents are the old or the
// new ones, counts of shared blocks are right, and nothing that was synced is lost.
#include <gtest/gtest.h>

#include <iostream>

#include "base/log.h"
#include "device/crash_replay.h"
#include "device/recording_device.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

constexpr InodeId kRoot = kRootInode;
constexpr uint64_t kB = kBlockBytes;

// Each block names its file and its place.
std::string Blocks(char name, uint64_t count) {
  std::string bytes(count * kB, name);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t number = i;
    std::memcpy(bytes.data() + i * kB, &number, sizeof(number));
  }
  return bytes;
}

std::string ReadName(Volume& volume, std::string_view name) {
  const auto found = volume.Lookup(kRoot, name);
  if (!found.ok()) return "no " + std::string(name);
  AlignedBuffer buffer;
  const auto data = volume.Read(found->id, FileOffset{0}, 64 << 20, buffer);
  volume.Forget(found->id, 1);
  return data.ok() ? std::string(data->begin(), data->end()) : data.error().ToString();
}

struct Steps {
  Volume& volume;
  RecordingDevice& recorder;
  InodeId source, clone, twin;
  InodeId snapshot{};

  Status Clone(uint64_t from, uint64_t to, uint64_t length) {
    return volume.Clone({.source = source,
                         .source_offset = FileOffset{from},
                         .destination = clone,
                         .destination_offset = FileOffset{to},
                         .length_bytes = length});
  }
  Status SyncAndMark(uint64_t mark) {
    TRY(volume.SyncAll());
    recorder.Mark(mark);
    return OkStatus();
  }
  // The contents of "clone" after each of these.
  Status Run() {
    TRY(volume.Write(source, FileOffset{0}, Blocks('s', 300), {}));
    TRY(volume.Write(twin, FileOffset{0}, Blocks('s', 300), {}));
    TRY(volume.Write(clone, FileOffset{0}, Blocks('c', 100), {}));
    TRY(SyncAndMark(1));
    TRY(Clone(0, 0, 300 * kB));
    TRY(SyncAndMark(2));
    TRY(volume.Dedupe({.source = source,
                       .source_offset = FileOffset{0},
                       .destination = twin,
                       .destination_offset = FileOffset{0},
                       .length_bytes = 300 * kB}));
    TRY(SyncAndMark(3));
    TRY(volume.Unshare(clone, FileOffset{50 * kB}, 100 * kB, {}));
    TRY(SyncAndMark(4));
    TRY_ASSIGN(snapshot, volume.Snapshot(source, FileOffset{0}, 300 * kB, {}));
    // The blocks of the source go; only the snapshot holds some of them for a moment.
    TRY(volume.Write(source, FileOffset{0}, Blocks('n', 300), {}));
    TRY(volume.SyncAll());
    volume.Forget(snapshot, 1);
    TRY(volume.DrainRemoved());
    recorder.Mark(5);
    return OkStatus();
  }
};

void CheckState(CrashState& state, InodeId snapshot) {
  const auto has = [&](uint64_t mark) {
    return std::find(state.marks.begin(), state.marks.end(), mark) != state.marks.end();
  };
  {
    FaultDevice device(*state.image);
    auto mounted = Volume::Mount(Borrow(device), QuietOptions());
    ASSERT_OK(mounted) << mounted.error().ToString();
    Volume& volume = **mounted;
    if (has(1)) {
      const std::string source = ReadName(volume, "source");
      const bool is_new = source == Blocks('n', 300);
      EXPECT_TRUE(is_new || source == Blocks('s', 300));
      EXPECT_TRUE(is_new || !has(5));
      const std::string clone = ReadName(volume, "clone");
      const bool is_cloned = clone == Blocks('s', 300);
      EXPECT_TRUE(is_cloned || clone == Blocks('c', 100)) << "a clone in part";
      EXPECT_TRUE(is_cloned || !has(2));
      EXPECT_TRUE(ReadName(volume, "twin") == Blocks('s', 300));
    }
    ASSERT_OK(volume.DrainRemoved());
    EXPECT_CODE(kStale, volume.LookupById(snapshot)) << "a snapshot is left";
    ASSERT_OK(volume.Unmount());
  }
  ExpectSoundDevice(*state.image);
}

TEST(SharingCrash, OldOrNew) {
  const uint64_t seed = TestSeed(1);
  SetLogLevel(LogLevel::kError);
  const auto memory = FormattedMemory(64 << 20);
  InodeId ids[3];
  {
    auto volume = Volume::Mount(Borrow(*memory), QuietOptions()).value();
    const char* const names[] = {"source", "clone", "twin"};
    for (int i = 0; i < 3; ++i) ids[i] = MakeFile(*volume, kRoot, names[i]);
    ASSERT_OK(volume->Unmount());
  }
  auto initial = memory->Fork();
  RecordingDevice recorder(*memory);
  InodeId snapshot;
  {
    auto volume = Volume::Mount(Borrow(recorder), QuietOptions()).value();
    Steps steps{*volume, recorder, ids[0], ids[1], ids[2]};
    const Status done = steps.Run();
    ASSERT_OK(done) << done.error().ToString();
    snapshot = steps.snapshot;
    ASSERT_OK(volume->Unmount());
  }
  CrashReplay replay(std::move(initial), recorder.TakeLog(),
                     {.seed = seed, .random_state_count = IsLongRun() ? 6u : 1u});
  uint64_t state_count = 0;
  const Status replayed = replay.ForEachState([&](CrashState& state) -> Status {
    SCOPED_TRACE(StrCat("event ", state.event, ", ", state.how));
    ++state_count;
    CheckState(state, snapshot);
    if (::testing::Test::HasFailure()) return Error(ErrorCode::kCorrupt, "see above");
    return OkStatus();
  });
  EXPECT_OK(replayed);
  std::cout << state_count << " states\n";
  EXPECT_GT(state_count, 20u);
  SetLogLevel(LogLevel::kInfo);
}

// What is written does not depend on how much is cloned, only on the extents.
TEST(CloneCost, OneExtentAndItsCommitAreUnder16KiB) {
  const auto memory = FormattedMemory(256 << 20);
  RecordingDevice recorder(*memory);
  auto volume = Volume::Mount(Borrow(recorder), QuietOptions()).value();
  const InodeId source = MakeFile(*volume, kRoot, "source");
  const InodeId clone = MakeFile(*volume, kRoot, "clone");
  ASSERT_OK(volume->Allocate(source, 0, FileOffset{0}, 64 << 20));
  for (uint64_t at = 0; at < 64 << 20; at += 1 << 20)
    ASSERT_OK(volume->Write(source, FileOffset{at}, std::string(1 << 20, 's'), {}));
  ASSERT_OK(volume->SyncAll());
  const auto map = volume->Map(source, FileOffset{0}, FileOffset{kFileBytesMax}, 10);
  ASSERT_OK(map);
  ASSERT_EQ(1u, map->size());
  recorder.TakeLog();
  ASSERT_OK(volume->Clone({.source = source,
                           .source_offset = FileOffset{0},
                           .destination = clone,
                           .destination_offset = FileOffset{0},
                           .length_bytes = 64 << 20}));
  ASSERT_OK(volume->SyncAll());
  std::cout << recorder.logged_bytes() << " bytes\n";
  EXPECT_LT(recorder.logged_bytes(), 16u << 10);
  recorder.TakeLog();
  ASSERT_OK(volume->Unmount());
}

}  // namespace
}  // namespace cofs
