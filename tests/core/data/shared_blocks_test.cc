// SharedBlocks: counts under concurrency, and changes of one record by one batch.
#include "fs/core/shared_blocks.h"

#include <gtest/gtest.h>

#include <thread>

#include "extent_map/records.h"
#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kBase = 64 << 20;

DeviceRange Blocks(uint64_t first, uint64_t count) {
  return {DeviceOffset{kBase + first * kBlockBytes}, count * kBlockBytes};
}
Extent SharedExtent(DeviceRange range) {
  return {FileOffset{0}, range.offset, range.length_bytes, kExtentShared};
}

// Reference counts by block, from the records; 1 where there is none.
std::vector<uint32_t> CountsOf(const Store& store, uint64_t block_count) {
  std::vector<uint32_t> counts(block_count, 1);
  const KeyRange keys = AllShared();
  const auto cursor = store.NewCursor(keys.first, keys.last);
  uint64_t last_end = 0;
  for (cursor->Seek(keys.first); cursor->valid(); cursor->Next()) {
    const uint64_t offset = ParseKey(cursor->key())->position;
    const SharedRecord record = *DecodeShared(cursor->value());
    EXPECT_GE(offset, last_end);
    last_end = offset + record.length_bytes;
    for (uint64_t at = offset; at < last_end; at += kBlockBytes)
      counts[(at - kBase) / kBlockBytes] = record.reference_count;
  }
  return counts;
}

Status Apply(DataVolume& volume, std::span<const DeviceRange> shared,
             std::span<const Extent> dropped, std::vector<DeviceRange>* freed) {
  Transaction transaction;
  TRY_ASSIGN(const auto locks, volume.core().shared_blocks->ShareAndDrop(shared, dropped,
                                                                         transaction));
  *freed = transaction.freed();
  // The blocks of this test are not the allocator's: they must not come back to it.
  return volume.core().store->Write(std::move(transaction.batch()));
}

TEST(SharedBlocks, ChangesOfOneBatchAddUp) {
  DataVolume volume;
  std::vector<DeviceRange> freed;
  const std::vector<DeviceRange> twice{Blocks(0, 4), Blocks(2, 4), Blocks(0, 1)};
  DATA_EXPECT_OK(Apply(volume, twice, {}, &freed));
  EXPECT_EQ((std::vector<uint32_t>{3, 2, 3, 3, 2, 2, 1}), CountsOf(*volume.core().store, 7));
  // Both owners of blocks 4 and 5 go in one batch; block 6 has one owner.
  const std::vector<Extent> dropped{SharedExtent(Blocks(4, 3)), SharedExtent(Blocks(4, 2))};
  DATA_EXPECT_OK(Apply(volume, {}, dropped, &freed));
  EXPECT_EQ((std::vector<uint32_t>{3, 2, 3, 3, 1, 1, 1}), CountsOf(*volume.core().store, 7));
  ASSERT_EQ(2u, freed.size());
  EXPECT_EQ(Blocks(6, 1), freed[0]);
  EXPECT_EQ(Blocks(4, 2), freed[1]);
}

TEST(SharedBlocks, WhatIsSharedAnewIsNotFreed) {
  DataVolume volume;
  std::vector<DeviceRange> freed;
  const std::vector<DeviceRange> shared{Blocks(0, 2)};
  const std::vector<Extent> dropped{SharedExtent(Blocks(0, 2)), SharedExtent(Blocks(0, 1))};
  DATA_EXPECT_OK(Apply(volume, shared, dropped, &freed));
  ASSERT_EQ(1u, freed.size());
  EXPECT_EQ(Blocks(0, 1), freed[0]);
  const std::vector<Extent> unshared{
      {FileOffset{0}, Blocks(9, 1).offset, kBlockBytes, 0}};
  DATA_EXPECT_OK(Apply(volume, {}, unshared, &freed));
  EXPECT_EQ(Blocks(9, 1), freed.at(0));
}

// Breaks when only the range asked for is locked: records reach beyond it, and an update
// gets lost.
TEST(SharedBlocks, ParallelChangesOfOneRecord) {
  constexpr uint64_t kCount = 64;
  const uint64_t seed = SeedOf(3);
  DataVolume volume;
  std::vector<DeviceRange> freed;
  // All blocks have many owners, in one record.
  for (int i = 0; i < 4; ++i)
    DATA_EXPECT_OK(Apply(volume, std::vector{Blocks(0, kCount)}, {}, &freed));
  std::vector<std::thread> threads;
  std::array<std::array<int, kCount>, 4> changes{};
  for (size_t number = 0; number < changes.size(); ++number) {
    threads.emplace_back([&, number] {
      std::mt19937_64 random(seed + number);
      std::vector<DeviceRange> unused;
      for (int round = 0; round < 300; ++round) {
        const uint64_t first = random() % kCount;
        const uint64_t count = 1 + random() % std::min<uint64_t>(8, kCount - first);
        // A thread drops what it has shared before, so that nothing is freed.
        bool drops = random() % 2 == 0;
        for (uint64_t i = first; i < first + count; ++i) drops &= changes[number][i] > 0;
        for (uint64_t i = first; i < first + count; ++i)
          changes[number][i] += drops ? -1 : 1;
        if (drops)
          DATA_EXPECT_OK(
              Apply(volume, {}, std::vector{SharedExtent(Blocks(first, count))}, &unused));
        else
          DATA_EXPECT_OK(Apply(volume, std::vector{Blocks(first, count)}, {}, &unused));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<uint32_t> expected(kCount, 5);
  for (const auto& of_thread : changes)
    for (size_t i = 0; i < kCount; ++i) expected[i] += static_cast<uint32_t>(of_thread[i]);
  EXPECT_EQ(expected, CountsOf(*volume.core().store, kCount));
}

}  // namespace
}  // namespace cofs
