#include "tests/parity/parity_cases.h"

#include <gtest/gtest.h>
#include <linux/falloc.h>

#include <random>

#include "tests/core/test_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kB = kBlockBytes;
constexpr auto kSource = ParityFile::kSource;
constexpr auto kDestination = ParityFile::kDestination;

ParityCopy Between(uint64_t from, uint64_t to, uint64_t length) {
  return {kSource, from, kDestination, to, length};
}
ParityCopy Within(uint64_t from, uint64_t to, uint64_t length) {
  return {kSource, from, kSource, to, length};
}

void WholeFile(ParityRun& run) {
  run.Write(kSource, 0, 3 * kB * 100 + 17);
  run.Copy(Between(0, 0, 10 << 20));
}

// Heads and tails that are parts of blocks, at the same place in the block.
void UnalignedEnds(ParityRun& run) {
  run.Write(kSource, 0, 300001);
  run.Write(kDestination, 0, 350000);
  for (const auto& [from, to, length] : {
           std::array<uint64_t, 3>{100, 100, 50000},    // both ends inside
           {4000, 3 * kB + 4000, 200000},
           {4095, 4095, 4097},
           {0, 40960, 100},                             // a part of one block
           {8192 + 5, 4096 + 5, 100},                   // inside one block
           {294912, 0, 8192},                           // the source's end, over data
           {294912 + 1, 1, 8192},
           {1, 350001 - 350001 % kB + 1, 100000},       // from the last block on
       }) {
    ASSERT_EQ(from % kB, to % kB);
    run.Copy(Between(from, to, length));
  }
}

void OtherPlaceInTheBlock(ParityRun& run) {
  run.SetPolicy(CopyRangePolicy::kAuto);
  run.Write(kSource, 0, 300001);
  run.Write(kDestination, 0, 10000);
  run.Copy(Between(1, 0, 1 << 20));
  run.Copy(Between(0, 4095, 100000));
  run.Copy(Between(299999, 9, 100));
}

// What no device copies is refused rather than done another way, when asked so.
void OtherPlaceByDeviceOnly(ParityRun& run) {
  run.SetPolicy(CopyRangePolicy::kDevice);
  run.Write(kSource, 0, 300001);
  EXPECT_CODE(kNotSupported, run.CopySome(Between(1, 0, 1 << 20), nullptr));
  EXPECT_CODE(kNotSupported, run.CopySome(Between(0, 4095, 100000), nullptr));
}

void PastTheEnd(ParityRun& run) {
  run.Write(kSource, 0, 10 * kB + 5);
  run.Write(kDestination, 0, 3 * kB);
  run.Copy(Between(0, 0, 0));
  run.Copy(Between(10 * kB + 5, 0, kB));
  run.Copy(Between(11 * kB, 0, kB));
  run.Copy(Between(1ull << 50, 0, kB));
  run.Copy(Between(0, kFileBytesMax, kB));
  run.Copy(Between(0, UINT64_MAX - kB + 1, kB));
  run.Copy(Between(9 * kB, 5 * kB, 1 << 30));    // the end, far behind the end
  run.Copy(Between(10 * kB, 30 * kB, 1 << 30));  // a part of a block
}

void Holes(ParityRun& run) {
  run.Write(kSource, 20 * kB, 10 * kB);
  run.Write(kSource, 90 * kB, kB);
  run.Write(kSource, 95 * kB, 5 * kB + 1);
  run.Truncate(kSource, 200 * kB);
  run.Write(kDestination, 0, 150 * kB);
  run.Copy(Between(0, 0, 25 * kB));           // data at its end
  run.Copy(Between(10 * kB, 30 * kB, 85 * kB));
  run.Copy(Between(105 * kB, 2 * kB, 9 * kB));  // nothing but a hole
  run.Copy(Between(0, 200 * kB, 200 * kB));
}

void Unwritten(ParityRun& run) {
  run.Allocate(kSource, 0, 0, 60 * kB);
  run.Write(kSource, 10 * kB, 10 * kB);
  run.Write(kSource, 30 * kB + 7, 100);
  run.Write(kDestination, 0, 100 * kB);
  run.Copy(Between(0, 0, 60 * kB));
  run.Copy(Between(5 * kB, 70 * kB, 7 * kB));
  run.Allocate(kDestination, FALLOC_FL_KEEP_SIZE, 200 * kB, 50 * kB);
  run.Copy(Between(8 * kB, 210 * kB, 20 * kB));  // onto unwritten blocks
  run.Write(kDestination, 201 * kB, 3 * kB);
}

void Zeroed(ParityRun& run) {
  run.Write(kSource, 0, 80 * kB);
  run.Allocate(kSource, FALLOC_FL_ZERO_RANGE, 10 * kB, 10 * kB);
  run.Allocate(kSource, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 40 * kB + 9, 20 * kB);
  run.Copy(Between(0, kB, 80 * kB));
}

void Overlaps(ParityRun& run) {
  run.Write(kSource, 0, 50 * kB + 100);
  run.Copy(Within(0, 0, kB));
  run.Copy(Within(0, kB, 2 * kB));
  run.Copy(Within(kB, 0, 2 * kB));
  run.Copy(Within(0, 100, 200));
  run.Copy(Within(0, 10 * kB, 10 * kB));  // side by side
  run.Copy(Within(30 * kB, 20 * kB, 10 * kB));
  run.Copy(Within(40 * kB, 60 * kB, 1 << 20));  // the end of it, behind its end
  run.Copy(Within(0, 51 * kB, 1 << 20));        // what there is reaches the destination
}

// Many small extents, in an order of their own: sources that no two commands share.
void Fragments(ParityRun& run) {
  constexpr uint64_t kCount = 200;
  std::vector<uint64_t> order(kCount);
  for (uint64_t i = 0; i < kCount; ++i) order[i] = i;
  std::mt19937_64 random(7);
  std::shuffle(order.begin(), order.end(), random);
  for (const uint64_t i : order) {
    if (i % 5 != 3) run.Write(kSource, i * 2 * kB, (i % 3 == 0 ? 2 : 1) * kB);
  }
  run.Copy(Between(0, 0, kCount * 2 * kB));
  run.Copy(Between(7 * kB, kB, 100 * kB));
  run.Copy(Between(8 * kB + 10, 33 * kB + 10, 301 * kB + 5));
}

void OntoWhatIsThere(ParityRun& run) {
  run.Write(kSource, 0, 64 * kB);
  for (uint64_t at = 0; at < 100; at += 7) run.Write(kDestination, at * kB + 50, 3 * kB);
  run.Sync();
  run.Copy(Between(0, 20 * kB, 64 * kB));
  run.Copy(Between(3 * kB, 90 * kB, 30 * kB));
  run.Truncate(kDestination, 50 * kB + 9);
  run.Copy(Between(0, 49 * kB, 2 * kB));
  // Copies of copies, changed in between.
  run.Write(kDestination, 30 * kB + 5, 100);
  run.Copy({kDestination, 25 * kB, kSource, 0, 20 * kB});
}

void Random(ParityRun& run) {
  std::mt19937_64 random(20);
  for (int i = 0; i < 25; ++i) {
    run.Write(i % 3 == 0 ? kDestination : kSource, random() % (2 << 20),
              1 + random() % 90000);
    const uint64_t from = random() % (2 << 20);
    const uint64_t to = random() % 300 * kB + from % kB;
    const ParityFile target = random() % 4 == 0 ? kSource : kDestination;
    run.Copy({kSource, from, target, to, 1 + random() % 400000});
    if (i == 12) run.Remount();
  }
}

void RefusedFiles(ParityRun& run) {
  run.Write(kSource, 0, 10 * kB);
  run.Write(kDestination, 0, 10 * kB);
  EXPECT_OK(run.volume().SetAttributes(run.IdOf(kDestination), {.flags = kInodeImmutable}));
  run.Copy(Between(0, 0, kB));
  EXPECT_OK(run.volume().SetAttributes(run.IdOf(kDestination), {.flags = 0}));
  const auto copy = [&](InodeId from, InodeId to) {
    return run.volume().Copy({.source = from, .source_offset = FileOffset{0},
                              .destination = to, .destination_offset = FileOffset{0},
                              .length_bytes = kB});
  };
  const auto to_directory = copy(run.IdOf(kSource), kRootInode);
  const auto from_directory = copy(kRootInode, run.IdOf(kSource));
  run.Note(CodeOf(to_directory) + ", " + CodeOf(from_directory));
}

// A privileged file does not stay so when somebody else's bytes come into it.
void Privileges(ParityRun& run) {
  run.Write(kSource, 0, 10 * kB);
  EXPECT_OK(run.volume().SetAttributes(run.IdOf(kDestination), {.mode = 06755}));
  run.Copy(Between(0, 0, 10 * kB));
  run.Note(StrCat("mode ", RecordOf(run.volume(), run.IdOf(kDestination)).mode));
}

void Interrupted(ParityRun& run) {
  constexpr uint64_t kLength = 3 << 20;
  run.Write(kSource, 0, kLength);
  for (const int polls_max : {0, 1, 2, 5, 13}) {
    run.Truncate(kDestination, 0);
    int polls = 0;
    const auto copied = run.CopySome(Between(0, 0, kLength),
                                     [&] { return ++polls > polls_max; });
    if (!copied.ok()) {
      EXPECT_CODE(kInterrupted, copied);
    } else {
      EXPECT_GT(*copied, 0u);
    }
    EXPECT_EQ(copied.ok() ? *copied : 0,
              RecordOf(run.volume(), run.IdOf(kDestination)).size_bytes);
  }
  run.Copy(Between(0, 0, kLength));
}

// There is room for the first part of a copy, which is a part of a block, and not for
// the rest.
void NoSpaceInTheMiddle(ParityRun& run) {
  constexpr uint64_t kLength = 4 << 20;
  run.Write(kSource, 0, kLength);
  run.Fill(kLength / 4);
  run.Copy(Between(100, 100, kLength));
  EXPECT_EQ(kB, RecordOf(run.volume(), run.IdOf(kDestination)).size_bytes);
  run.Fill(0);
  EXPECT_CODE(kNoSpace, run.CopySome(Between(0, 2 * kLength, kLength), nullptr));
  run.Remount();
  run.CheckContents();
  run.FreeFiller();
  run.Copy(Between(0, 0, kLength));
}

void CrashBeforeCommit(ParityRun& run) {
  run.Write(kSource, 0, 2 << 20);
  run.Write(kDestination, 0, 100 * kB + 1);
  run.Sync();
  const std::string before = run.ModelOf(kDestination);
  run.Copy(Between(0, 50 * kB, 2 << 20));
  run.Crash();
  // All of it or nothing: it was one batch.
  if (run.HasContents(kDestination, before)) run.SetModel(kDestination, before);
  run.CheckContents();
  run.Remount();
  run.CheckContents();
  run.Copy(Between(0, 50 * kB, 2 << 20));
}

void CrashAfterCommit(ParityRun& run) {
  run.Write(kSource, 0, 2 << 20);
  run.Write(kDestination, 0, 100 * kB + 1);
  run.Copy(Between(0, 50 * kB, 2 << 20));
  run.Sync();
  run.Write(kSource, 0, 50 * kB);
  run.Sync();
  run.Crash();
  run.CheckContents();
}

constexpr ParityCase kCases[] = {
    {"WholeFile", WholeFile},
    {"UnalignedEnds", UnalignedEnds},
    {"OtherPlaceInTheBlock", OtherPlaceInTheBlock, false},
    {"OtherPlaceByDeviceOnly", OtherPlaceByDeviceOnly, false},
    {"PastTheEnd", PastTheEnd},
    {"Holes", Holes},
    {"Unwritten", Unwritten},
    {"Zeroed", Zeroed},
    {"Overlaps", Overlaps},
    {"Fragments", Fragments},
    {"OntoWhatIsThere", OntoWhatIsThere},
    {"Random", Random},
    {"RefusedFiles", RefusedFiles, false},
    {"Privileges", Privileges},
    {"Interrupted", Interrupted},
    {"NoSpaceInTheMiddle", NoSpaceInTheMiddle},
    {"CrashBeforeCommit", CrashBeforeCommit},
    {"CrashAfterCommit", CrashAfterCommit},
};

}  // namespace

std::span<const ParityCase> ParityCases() { return kCases; }

}  // namespace cofs
