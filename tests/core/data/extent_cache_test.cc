// ExtentCache against the list itself: look-ups and changes of a file with more extents
// than the window holds.
#include "fs/core/extent_cache.h"

#include <gtest/gtest.h>

#include "extent_map/records.h"
#include "fs/core/mapping_change.h"
#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

constexpr InodeId kFile{500};

class ExtentCacheTest : public ::testing::Test {
 protected:
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
  ExtentCache cache_;
  std::vector<Extent> list_;
};

TEST_F(ExtentCacheTest, EmptyFile) {
  ExpectFind(0, 10, 5, true);
  ExpectFind(1000, 1001, 5, false);
}

TEST_F(ExtentCacheTest, RefusesOverlappingRecords) {
  Batch batch;
  batch.Put(ExtentKey(kFile, FileOffset{0}),
            EncodeExtent({FileOffset{0}, DeviceOffset{8 << 20}, 3 * kBlockBytes, 0}));
  batch.Put(ExtentKey(kFile, FileOffset{kBlockBytes}),
            EncodeExtent({FileOffset{kBlockBytes}, DeviceOffset{9 << 20}, kBlockBytes, 0}));
  DATA_EXPECT_OK(volume_.core().store->Write(std::move(batch)));
  DATA_EXPECT_CODE(kCorrupt, cache_.Find(*volume_.core().store, kFile, FileOffset{0},
                                         FileOffset{1 << 20}, 10, false));
}

TEST_F(ExtentCacheTest, AsTheListAtRandom) {
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
    if (HasFailure()) break;
  }
  EXPECT_GT(list_.size(), 2 * ExtentCache::kExtentCountMax);
}

}  // namespace
}  // namespace cofs
