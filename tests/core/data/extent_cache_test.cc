// ExtentCache against the list itself: look-ups and changes of a file with more extents
// than the window holds.
#include "fs/core/extent_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "extent_map/records.h"
#include "fs/core/mapping_change.h"
#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

constexpr InodeId kFile{500};

// Without a budget, with one that is soon spent, and with one that holds everything.
class ExtentCacheTest : public ::testing::TestWithParam<int> {
 protected:
  static std::shared_ptr<ExtentBudget> BudgetOf(int count_max) {
    return count_max < 0 ? nullptr
                         : std::make_shared<ExtentBudget>(static_cast<uint64_t>(count_max));
  }
  // Puts `change` into the store, the list and the cache.
  void Apply(const ExtentChange& change) {
    Batch batch;
    PutExtents(kFile, change, batch);
    DATA_EXPECT_OK(volume_.core().store->Write(std::move(batch)));
    ApplyChange(list_, change);
    cache_.Apply(change);
  }

  void Replace(uint64_t begin_block, uint64_t end_block, std::span<const Extent> with) {
    Apply(ReplaceRange(list_, FileOffset{begin_block * kBlockBytes},
                       FileOffset{end_block * kBlockBytes}, with));
  }

  void ExpectFind(uint64_t begin_block, uint64_t end_block, size_t count_max,
                  bool with_neighbours) {
    const FileOffset begin{begin_block * kBlockBytes}, end{end_block * kBlockBytes};
    const auto found = cache_.Find(*volume_.core().store, kFile, begin, end, count_max,
                                   with_neighbours);
    ASSERT_TRUE(found.ok());
    std::vector<Extent> expected;
    FileOffset complete_to = end;
    size_t count = 0;
    for (const Extent& extent : list_) {
      const bool inside = extent.file_offset < end && extent.file_end() > begin;
      const bool beside = extent.file_end() == begin || extent.file_offset == complete_to;
      if (inside && complete_to == end && count == count_max) {
        complete_to = expected.back().file_end();
        if (!with_neighbours || extent.file_offset != complete_to) break;
        expected.push_back(extent);
        break;
      }
      if (inside) ++count;
      if (inside || (with_neighbours && beside)) expected.push_back(extent);
    }
    EXPECT_EQ(complete_to, found->complete_to);
    EXPECT_EQ(expected.size(), found->extents.size());
    EXPECT_TRUE(expected == found->extents)
        << "blocks " << begin_block << " to " << end_block << " max " << count_max;
  }

  DataVolume volume_;
  ExtentCache cache_{BudgetOf(GetParam())};
  std::vector<Extent> list_;
};

TEST_P(ExtentCacheTest, EmptyFile) {
  ExpectFind(0, 10, 5, true);
  ExpectFind(1000, 1001, 5, false);
}

TEST_P(ExtentCacheTest, RefusesOverlappingRecords) {
  Batch batch;
  batch.Put(ExtentKey(kFile, FileOffset{0}),
            EncodeExtent({FileOffset{0}, DeviceOffset{8 << 20}, 3 * kBlockBytes, 0}));
  batch.Put(ExtentKey(kFile, FileOffset{kBlockBytes}),
            EncodeExtent({FileOffset{kBlockBytes}, DeviceOffset{9 << 20}, kBlockBytes, 0}));
  DATA_EXPECT_OK(volume_.core().store->Write(std::move(batch)));
  DATA_EXPECT_CODE(kCorrupt, cache_.Find(*volume_.core().store, kFile, FileOffset{0},
                                         FileOffset{1 << 20}, 10, false));
}

TEST_P(ExtentCacheTest, AsTheListAtRandom) {
  std::mt19937_64 random(SeedOf(7));
  constexpr uint64_t kBlocks = 6000;
  for (int round = 0; round < 6000; ++round) {
    const uint64_t hot = random() % 4 == 0 ? random() % kBlocks : round % kBlocks;
    const uint64_t begin = hot, end = begin + 1 + random() % 6;
    if (random() % 3 != 0) {
      std::vector<Extent> with;
      if (random() % 5 != 0)
        with.push_back({FileOffset{begin * kBlockBytes},
                        DeviceOffset{(16 << 20) + random() % 5000 * kBlockBytes},
                        (end - begin) * kBlockBytes,
                        static_cast<uint8_t>(random() % 2)});
      Replace(begin, end, with);
    } else if (random() % 300 == 0) {
      cache_.Clear();
    } else {
      const uint64_t length = random() % 20 == 0 ? kBlocks : 1 + random() % 40;
      ExpectFind(begin, begin + length, random() % 5 == 0 ? 1 + random() % 900 : 10000,
                 random() % 2 == 0);
    }
    // A window may be read whole before room is made for it.
    ASSERT_LE(cache_.extent_count(),
              std::max<size_t>(ExtentCache::kExtentCountMax, GetParam() + 1) +
                  ExtentCache::kExtentCountMax);
    if (HasFailure()) break;
  }
  EXPECT_GT(list_.size(), 2 * ExtentCache::kExtentCountMax);
}

// Look-ups all over a file in many pieces need the store once.
TEST_P(ExtentCacheTest, KeepsWhatItsBudgetAllows) {
  constexpr uint64_t kBlocks = 4000;
  for (uint64_t block = 0; block < kBlocks; block += 2) {
    const Extent extent{FileOffset{block * kBlockBytes},
                        DeviceOffset{(16 << 20) + block * kBlockBytes}, kBlockBytes, 0};
    Replace(block, block + 1, {&extent, 1});
  }
  cache_.Clear();
  std::mt19937_64 random(SeedOf(8));
  std::vector<uint64_t> order(kBlocks);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::shuffle(order, random);
  for (const uint64_t block : order) ExpectFind(block, block + 1, 10, true);
  if (GetParam() > static_cast<int>(kBlocks)) {
    EXPECT_EQ(cache_.extent_count(), kBlocks / 2);
  } else {
    EXPECT_GT(cache_.extent_count(), ExtentCache::kExtentCountMax / 8);
    EXPECT_LT(cache_.extent_count(), kBlocks / 2);
  }
}

INSTANTIATE_TEST_SUITE_P(Budgets, ExtentCacheTest, ::testing::Values(-1, 900, 100'000));

}  // namespace
}  // namespace cofs
