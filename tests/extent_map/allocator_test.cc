// The allocator against a bitmap, at the edges, and at the size of a real volume.
#include "extent_map/allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "tests/extent_map/random.h"

namespace cofs {
namespace {

constexpr uint64_t kB = kBlockBytes;

DeviceRange Blocks(uint64_t first, uint64_t count) {
  return {DeviceOffset{first * kB}, count * kB};
}

std::unique_ptr<Allocator> WithRuns(uint64_t volume_blocks,
                                    std::initializer_list<DeviceRange> runs) {
  auto allocator = std::make_unique<Allocator>(volume_blocks * kB);
  for (DeviceRange run : runs) EXPECT_TRUE(allocator->Release(run).ok());
  return allocator;
}

TEST(Allocator, StartsFull) {
  Allocator allocator(1024 * kB);
  EXPECT_EQ(allocator.free_bytes(), 0u);
  EXPECT_EQ(allocator.largest_run_bytes(), 0u);
  EXPECT_TRUE(allocator.Allocate({.length_bytes = kB}).Is(ErrorCode::kNoSpace));
  EXPECT_TRUE(allocator.Allocate({.length_bytes = kB, .may_be_short = true})
                  .Is(ErrorCode::kNoSpace));
}

struct PlaceCase {
  const char* what;
  AllocateOptions options;
  std::vector<DeviceRange> want;  // empty: kNoSpace
};

TEST(Allocator, Places) {
  const std::vector<DeviceRange> runs{Blocks(10, 4), Blocks(20, 8), Blocks(40, 4),
                                      Blocks(60, 16), Blocks(90, 4)};
  auto goal = [](uint64_t block) { return DeviceOffset{block * kB}; };
  const PlaceCase cases[] = {
      {"at the goal, inside a larger run", {.length_bytes = 4 * kB, .goal = goal(64)},
       {Blocks(64, 4)}},
      {"goal is too short: the smallest that holds it", {.length_bytes = 4 * kB,
       .goal = goal(74)}, {Blocks(90, 4)}},
      {"nearest before", {.length_bytes = 4 * kB, .goal = goal(46)}, {Blocks(40, 4)}},
      {"nearest after", {.length_bytes = 4 * kB, .goal = goal(80)}, {Blocks(90, 4)}},
      {"nearest, none after", {.length_bytes = 4 * kB, .goal = goal(99)}, {Blocks(90, 4)}},
      {"no goal: the first of the smallest", {.length_bytes = 3 * kB}, {Blocks(10, 3)}},
      {"smallest that holds, though farther", {.length_bytes = 7 * kB, .goal = goal(90)},
       {Blocks(20, 7)}},
      {"the largest runs, in order of place", {.length_bytes = 22 * kB},
       {Blocks(20, 6), Blocks(60, 16)}},
      {"one run is not enough", {.length_bytes = 17 * kB, .run_count_max = 1}, {}},
      {"one run, short", {.length_bytes = 17 * kB, .run_count_max = 1,
       .may_be_short = true}, {Blocks(60, 16)}},
      {"two runs are not enough", {.length_bytes = 25 * kB, .run_count_max = 2}, {}},
      {"all there is", {.length_bytes = 36 * kB}, runs},
      {"more than there is", {.length_bytes = 37 * kB}, {}},
      {"more than there is, short", {.length_bytes = 37 * kB, .may_be_short = true}, runs},
  };
  for (const PlaceCase& test : cases) {
    SCOPED_TRACE(test.what);
    Allocator allocator(100 * kB);
    for (DeviceRange run : runs) ASSERT_TRUE(allocator.Release(run).ok());
    const auto got = allocator.Allocate(test.options);
    if (test.want.empty()) {
      EXPECT_TRUE(got.Is(ErrorCode::kNoSpace));
      EXPECT_EQ(allocator.FreeRuns(), runs);
      EXPECT_EQ(allocator.free_bytes(), 36 * kB);
    } else {
      ASSERT_TRUE(got.ok());
      EXPECT_EQ(*got, test.want);
    }
  }
}

TEST(Allocator, ReleaseJoinsNeighbours) {
  auto allocator = WithRuns(100, {Blocks(10, 5), Blocks(20, 5), Blocks(15, 5)});
  EXPECT_EQ(allocator->FreeRuns(), std::vector{Blocks(10, 15)});
  EXPECT_EQ(allocator->largest_run_bytes(), 15 * kB);
  EXPECT_EQ(allocator->run_count(), 1u);
}

TEST(Allocator, RefusesWhatCannotBe) {
  auto allocator = WithRuns(100, {Blocks(10, 10), Blocks(30, 10)});
  const DeviceRange not_releasable[] = {
      Blocks(10, 1), Blocks(19, 2), Blocks(9, 2),  Blocks(5, 30),
      Blocks(99, 2), Blocks(0, 0),  Blocks(100, 1), {DeviceOffset{100}, kB},
      {DeviceOffset{0}, 100},       {DeviceOffset{UINT64_MAX - kB + 1}, kB}};
  for (DeviceRange range : not_releasable)
    EXPECT_TRUE(allocator->Release(range).Is(ErrorCode::kCorrupt)) << range.offset;
  const DeviceRange not_takable[] = {Blocks(9, 2),  Blocks(19, 2), Blocks(10, 11),
                                     Blocks(20, 1), Blocks(15, 20), Blocks(0, 1),
                                     Blocks(40, 1), Blocks(10, 0), Blocks(98, 10)};
  for (DeviceRange range : not_takable)
    EXPECT_TRUE(allocator->Take(range).Is(ErrorCode::kCorrupt)) << range.offset;
  EXPECT_EQ(allocator->FreeRuns(), (std::vector{Blocks(10, 10), Blocks(30, 10)}));
  EXPECT_TRUE(allocator->Take(Blocks(12, 3)).ok());
  EXPECT_EQ(allocator->FreeRuns(),
            (std::vector{Blocks(10, 2), Blocks(15, 5), Blocks(30, 10)}));
}

// A bitmap, and the rules of the header read once more.
class BitmapModel {
 public:
  explicit BitmapModel(size_t blocks) : free_(blocks, false) {}

  std::vector<DeviceRange> Runs() const {
    std::vector<DeviceRange> runs;
    for (size_t block = 0; block < free_.size(); ++block) {
      if (!free_[block]) continue;
      if (!runs.empty() && runs.back().end().value() == block * kB)
        runs.back().length_bytes += kB;
      else
        runs.push_back(Blocks(block, 1));
    }
    return runs;
  }
  bool AllAre(DeviceRange range, bool free) const {
    for (uint64_t b = range.offset.value() / kB; b < range.end().value() / kB; ++b)
      if (free_[b] != free) return false;
    return true;
  }
  void Set(DeviceRange range, bool free) {
    for (uint64_t b = range.offset.value() / kB; b < range.end().value() / kB; ++b)
      free_[b] = free;
  }
  // Where one contiguous run must come from, when there is one.
  std::optional<DeviceRange> OneRun(uint64_t length, std::optional<uint64_t> goal) const {
    if (goal && *goal + length <= free_.size() * kB) {
      const DeviceRange there{DeviceOffset{*goal}, length};
      if (AllAre(there, true)) return there;
    }
    std::optional<DeviceRange> best;
    auto distance = [&](const DeviceRange& run) {
      const uint64_t at = run.offset.value(), to = goal.value_or(0);
      return at > to ? at - to : to - at;
    };
    for (const DeviceRange& run : Runs()) {
      if (run.length_bytes < length) continue;
      if (!best || run.length_bytes < best->length_bytes ||
          (run.length_bytes == best->length_bytes && distance(run) < distance(*best)))
        best = run;
    }
    if (best) best->length_bytes = length;
    return best;
  }

 private:
  std::vector<bool> free_;
};

TEST(Allocator, AgreesWithABitmap) {
  constexpr uint64_t kBlocks = 400;
  TestRandom random;
  Allocator allocator(kBlocks * kB);
  BitmapModel model(kBlocks);
  for (int step = 0; step < 20000; ++step) {
    const uint64_t first = random.Below(kBlocks);
    const uint64_t count = 1 + random.Below(std::min<uint64_t>(12, kBlocks - first));
    const DeviceRange range = Blocks(first, count);
    switch (random.Below(4)) {
      case 0:
      case 1: {
        const bool possible = model.AllAre(range, false);
        ASSERT_EQ(allocator.Release(range).ok(), possible);
        if (possible) model.Set(range, true);
        break;
      }
      case 2: {
        const bool possible = model.AllAre(range, true);
        ASSERT_EQ(allocator.Take(range).ok(), possible);
        if (possible) model.Set(range, false);
        break;
      }
      default: {
        AllocateOptions options{.length_bytes = range.length_bytes};
        if (!random.OneIn(3)) options.goal = range.offset;
        options.run_count_max = static_cast<uint32_t>(1 + random.Below(4));
        options.may_be_short = random.OneIn(2);
        std::optional<uint64_t> goal;
        if (options.goal) goal = options.goal->value();
        const auto one = model.OneRun(options.length_bytes, goal);
        const uint64_t free_before = allocator.free_bytes();
        const auto got = allocator.Allocate(options);
        if (one) {
          ASSERT_TRUE(got.ok());
          ASSERT_EQ(*got, std::vector{*one});
        } else if (free_before == 0) {
          ASSERT_TRUE(got.Is(ErrorCode::kNoSpace));
        } else if (!got.ok()) {
          ASSERT_FALSE(options.may_be_short);
          // The largest runs, so many as are allowed, would not have been enough.
          auto runs = model.Runs();
          std::ranges::sort(runs, std::ranges::greater{}, &DeviceRange::length_bytes);
          uint64_t reachable = 0;
          for (size_t i = 0; i < runs.size() && i < options.run_count_max; ++i)
            reachable += runs[i].length_bytes;
          ASSERT_LT(reachable, options.length_bytes);
        } else {
          uint64_t total = 0;
          for (const DeviceRange& run : *got) {
            ASSERT_TRUE(model.AllAre(run, true));
            model.Set(run, false);
            total += run.length_bytes;
          }
          ASSERT_LE(got->size(), options.run_count_max);
          ASSERT_TRUE(total == options.length_bytes ||
                      (options.may_be_short && total < options.length_bytes));
          break;
        }
        if (one) model.Set(*one, false);
      }
    }
    const auto runs = model.Runs();
    ASSERT_EQ(allocator.FreeRuns(), runs) << "step " << step;
    uint64_t total = 0, largest = 0;
    for (const DeviceRange& run : runs) {
      total += run.length_bytes;
      largest = std::max(largest, run.length_bytes);
    }
    ASSERT_EQ(allocator.free_bytes(), total);
    ASSERT_EQ(allocator.largest_run_bytes(), largest);
    ASSERT_EQ(allocator.run_count(), runs.size());
    if (step % 100 == 0) {
      const auto again = Allocator::DecodeImage(allocator.EncodeImage(), kBlocks * kB);
      ASSERT_TRUE(again.ok());
      ASSERT_EQ((*again)->FreeRuns(), runs);
      ASSERT_EQ((*again)->free_bytes(), total);
      ASSERT_EQ((*again)->largest_run_bytes(), largest);
    }
  }
}

TEST(Allocator, AMillionRunsOfATebibyteAreNotSearchedOneByOne) {
  constexpr uint64_t kVolumeBytes = 1ull << 40;
  constexpr uint64_t kRuns = 1'000'000;
  constexpr uint64_t kSpacing = kVolumeBytes / kB / kRuns;  // 268 blocks
  Allocator allocator(kVolumeBytes);
  // Many runs of each of 200 lengths: both "the smallest that holds" and "the nearest
  // of them" have much to search.
  for (uint64_t i = 0; i < kRuns; ++i)
    ASSERT_TRUE(allocator.Release(Blocks(i * kSpacing, 1 + i * 7919 % 200)).ok());
  ASSERT_EQ(allocator.run_count(), kRuns);

  TestRandom random;
  const uint64_t before = allocator.comparison_count();
  constexpr uint64_t kOperations = 2000;
  for (uint64_t i = 0; i < kOperations; ++i) {
    const DeviceOffset goal{random.Below(kVolumeBytes / kB) * kB};
    const uint64_t length = (1 + random.Below(200)) * kB;
    const auto got = allocator.Allocate({.length_bytes = length, .goal = goal});
    ASSERT_TRUE(got.ok());
    for (DeviceRange run : *got) ASSERT_TRUE(allocator.Release(run).ok());
  }
  // A red-black tree of a million nodes is at most 40 deep. An allocation and a release
  // make some ten searches and changes.
  EXPECT_LT((allocator.comparison_count() - before) / kOperations, 20 * 40u);
  EXPECT_EQ(allocator.run_count(), kRuns);

  const std::string image = allocator.EncodeImage();
  EXPECT_LT(image.size(), kRuns * 5);
  const auto again = Allocator::DecodeImage(image, kVolumeBytes);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ((*again)->free_bytes(), allocator.free_bytes());
  EXPECT_EQ((*again)->run_count(), kRuns);
}

TEST(Allocator, ManyThreadsGetDifferentBlocks) {
  constexpr uint64_t kBlocks = 4096;
  auto allocator = WithRuns(kBlocks, {Blocks(0, kBlocks)});
  std::vector<std::vector<DeviceRange>> taken(4);
  std::vector<std::thread> threads;
  for (auto& mine : taken)
    threads.emplace_back([&] {
      for (int i = 0; i < 300; ++i) {
        auto got = allocator->Allocate({.length_bytes = 3 * kB});
        if (!got.ok()) break;
        mine.insert(mine.end(), got->begin(), got->end());
        if (i % 5 == 0) {
          EXPECT_TRUE(allocator->Release(mine.back()).ok());
          mine.pop_back();
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const auto& mine : taken)
    for (DeviceRange range : mine) ASSERT_TRUE(allocator->Release(range).ok());
  EXPECT_EQ(allocator->FreeRuns(), std::vector{Blocks(0, kBlocks)});
}

// ---- the image ----

std::string Image(std::initializer_list<DeviceRange> runs, uint64_t volume_blocks = 100) {
  return WithRuns(volume_blocks, runs)->EncodeImage();
}

TEST(AllocatorImage, GoldenBytes) {
  const std::string image = Image({Blocks(2, 3), Blocks(20, 70)});
  std::string want("cofsfree", 8);
  want += std::string("\x00\x40\x06\x00\x00\x00\x00\x00", 8);  // 100 blocks
  want += std::string("\x00\x90\x04\x00\x00\x00\x00\x00", 8);  // 73 blocks
  want += std::string("\x02\x00\x00\x00\x00\x00\x00\x00", 8);
  want += std::string("\x02\x03\x0f\x46", 4);
  want.resize(kB);
  EXPECT_EQ(image, want);
}

TEST(AllocatorImage, OfNothing) {
  const auto allocator = Allocator::DecodeImage(Image({}), 100 * kB);
  ASSERT_TRUE(allocator.ok());
  EXPECT_EQ((*allocator)->run_count(), 0u);
}

TEST(AllocatorImage, RefusesDamage) {
  const std::string good = Image({Blocks(2, 3), Blocks(20, 70)});
  auto with = [&](size_t place, char byte) {
    std::string image = good;
    image[place] = byte;
    return image;
  };
  const std::pair<const char*, std::string> cases[] = {
      {"empty", ""},
      {"cut off in the header", good.substr(0, 20)},
      {"cut off in the runs", good.substr(0, 35)},
      {"not whole blocks", good.substr(0, 100)},
      {"a block too many", good + std::string(kB, '\0')},
      {"magic", with(0, 'k')},
      {"volume size", with(9, '\x41')},
      {"free bytes", with(17, '\x91')},
      {"a run fewer", with(24, '\x01')},
      {"a run more", with(24, '\x03')},
      {"a run of nothing", with(33, '\x00')},
      {"a run that touches the one before", with(34, '\x00')},
      {"a run past the end", with(34, '\x20')},
      {"a byte after the end", with(kB - 1, '\x01')},
      {"absurd count", with(31, '\x7f')},
  };
  for (const auto& [what, image] : cases)
    EXPECT_TRUE(Allocator::DecodeImage(image, 100 * kB).Is(ErrorCode::kCorrupt)) << what;
  EXPECT_TRUE(Allocator::DecodeImage(good, 101 * kB).Is(ErrorCode::kCorrupt));
}

TEST(AllocatorImage, SurvivesAnyByte) {
  TestRandom random;
  const std::string good = Image({Blocks(2, 3), Blocks(20, 70)});
  for (int i = 0; i < 20000; ++i) {
    std::string image = good;
    for (uint64_t flips = 1 + random.Below(4); flips > 0; --flips)
      image[random.Below(40)] = static_cast<char>(random.Below(256));
    const auto got = Allocator::DecodeImage(image, 100 * kB);
    if (got.ok()) {
      EXPECT_EQ((*got)->EncodeImage(), image);
    }
  }
}

}  // namespace
}  // namespace cofs
