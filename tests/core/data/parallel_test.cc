// Many threads on the data half; ThreadSanitizer watches. What can be said about the
// contents: every block of a file is one that was written there, as a whole.
#include <gtest/gtest.h>
#include <linux/falloc.h>

#include <thread>

#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

// A block that names its writer and its place in the file: torn or misplaced ones show.
std::string StampedBlocks(uint64_t writer, uint64_t first_block, uint64_t count) {
  std::string bytes(count * kBlockBytes, '\0');
  for (uint64_t i = 0; i < count; ++i)
    for (uint64_t at = 0; at < kBlockBytes; at += 16) {
      const uint64_t stamp[2] = {writer, first_block + i};
      std::memcpy(bytes.data() + i * kBlockBytes + at, stamp, sizeof(stamp));
    }
  return bytes;
}

void ExpectStamped(std::string_view bytes, uint64_t first_block) {
  for (size_t at = 0; at + kBlockBytes <= bytes.size(); at += kBlockBytes) {
    const std::string_view block = bytes.substr(at, kBlockBytes);
    uint64_t stamp[2];
    std::memcpy(stamp, block.data(), sizeof(stamp));
    if (stamp[0] == 0) {
      ASSERT_EQ(std::string_view::npos, block.find_first_not_of('\0'));
      continue;
    }
    ASSERT_EQ(first_block + at / kBlockBytes, stamp[1]) << "a block of another place";
    ASSERT_TRUE(block == StampedBlocks(stamp[0], stamp[1], 1)) << "a torn block";
  }
}

TEST(Parallel, WritersOfOneFile) {
  DataVolume volume;
  InodeRef file = volume.NewFile();
  constexpr uint64_t kThreads = 6, kPart = 256 << 10;
  std::vector<std::thread> threads;
  for (uint64_t number = 0; number < kThreads; ++number)
    threads.emplace_back([&, number] {
      // Unaligned parts: neighbours share their border blocks.
      const std::string bytes = Pattern(number, kPart + 100);
      for (uint64_t at = 0; at < bytes.size(); at += 5000)
        volume.Write(file, number * (kPart + 100) + at,
                     std::string_view(bytes).substr(at, 5000));
    });
  for (std::thread& thread : threads) thread.join();
  for (uint64_t number = 0; number < kThreads; ++number)
    EXPECT_TRUE(Pattern(number, kPart + 100) ==
                volume.Read(file, number * (kPart + 100), kPart + 100));
  EXPECT_EQ(kThreads * (kPart + 100), volume.SizeOf(file));
  volume.ExpectSound();
}

void RandomStep(DataVolume& volume, std::span<const InodeRef> files, std::mt19937_64& random,
                uint64_t writer) {
  constexpr uint64_t kBlocks = 200;
  const InodeRef& file = files[random() % files.size()];
  const InodeRef& other = files[random() % files.size()];
  const uint64_t block = random() % kBlocks;
  const uint64_t count = 1 + random() % 30;
  const FileOffset offset{block * kBlockBytes};
  AlignedBuffer buffer;
  switch (random() % 10) {
    case 0:
    case 1:
    case 2:
      volume.Write(file, block * kBlockBytes, StampedBlocks(writer, block, count));
      break;
    case 3:
    case 4: {
      const auto read = volume.data().Read(file, offset, count * kBlockBytes, buffer);
      ASSERT_TRUE(read.ok()) << read.error().ToString();
      ExpectStamped({read->data(), read->size()}, block);
      break;
    }
    case 5: {
      // Always to the same place, so that the stamps stay true.
      const auto copied = volume.Copy(file, block * kBlockBytes, other,
                                      block * kBlockBytes, count * kBlockBytes);
      if (&file == &other) break;
      ASSERT_TRUE(copied.ok()) << copied.error().ToString();
      break;
    }
    case 6: {
      const Status cloned = volume.Clone(file, block * kBlockBytes, other,
                                         block * kBlockBytes, count * kBlockBytes);
      ASSERT_TRUE(cloned.ok() || cloned.Is(ErrorCode::kInvalidArgument))
          << cloned.error().ToString();
      break;
    }
    case 7:
      DATA_EXPECT_OK(volume.data().Truncate(file, block * kBlockBytes, {}));
      break;
    case 8: {
      constexpr int kModes[] = {0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE};
      DATA_EXPECT_OK(volume.data().Allocate(file, kModes[random() % 3], offset,
                                            count * kBlockBytes));
      break;
    }
    default:
      DATA_EXPECT_OK(volume.core().committer->Commit());
  }
}

class ParallelMix : public ::testing::TestWithParam<CopyRangePolicy> {};

TEST_P(ParallelMix, EverythingAtOnce) {
  const uint64_t seed = SeedOf(31);
  DataVolume::Options options;
  // Small, so that blocks are reused soon.
  options.size_bytes = 96 << 20;
  options.volume.copy = GetParam();
  options.copy_limits = DeviceCopyLimits{.segment_bytes_max = 64 << 10,
                                         .command_bytes_max = 256 << 10,
                                         .segments_max = 8};
  DataVolume volume(options);
  std::vector<InodeRef> files;
  for (int i = 0; i < 3; ++i) files.push_back(volume.NewFile());
  std::vector<std::thread> threads;
  for (uint64_t number = 1; number <= 5; ++number)
    threads.emplace_back([&, number] {
      std::mt19937_64 random(seed * 100 + number);
      for (uint64_t step = 0; step < 250 && !::testing::Test::HasFailure(); ++step)
        RandomStep(volume, files, random, number << 32 | (step + 1));
    });
  for (std::thread& thread : threads) thread.join();
  for (const InodeRef& file : files) ExpectStamped(volume.ReadAll(file), 0);
  volume.ExpectSound();
}

INSTANTIATE_TEST_SUITE_P(Policies, ParallelMix,
                         ::testing::Values(CopyRangePolicy::kAuto, CopyRangePolicy::kShare));

// Files that come and go on a volume with little space: allocations wait for commits and
// readers, and nobody reads what was reused under him.
TEST(Parallel, LittleSpace) {
  const uint64_t seed = SeedOf(41);
  DataVolume volume({.size_bytes = 80 << 20});
  volume.Settle();
  // Leave some 6 MiB.
  InodeRef ballast = volume.NewFile();
  const uint64_t spare = 7 << 20;
  if (volume.free_bytes() > spare)
    DATA_EXPECT_OK(volume.data().Allocate(ballast, 0, FileOffset{0},
                                          RoundDown(volume.free_bytes() - spare, kBlockBytes)));
  std::atomic<uint64_t> done{0}, refused{0};
  std::vector<std::thread> threads;
  for (uint64_t number = 1; number <= 4; ++number)
    threads.emplace_back([&, number] {
      std::mt19937_64 random(seed + number);
      for (uint64_t round = 0; round < 40; ++round) {
        InodeRef file = volume.NewFile();
        const uint64_t count = 1 + random() % 200;
        const std::string bytes = StampedBlocks(number << 32 | (round + 1), 0, count);
        const Status written = volume.data().Write(file, FileOffset{0}, bytes, {});
        if (written.ok()) {
          ++done;
          EXPECT_TRUE(bytes == volume.ReadAll(file));
        } else {
          ++refused;
          DATA_EXPECT_CODE(kNoSpace, written);
        }
        DATA_EXPECT_OK(volume.Remove(file));
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(done, 100u) << refused << " refused";
  volume.ExpectSound();
}

}  // namespace
}  // namespace cofs
