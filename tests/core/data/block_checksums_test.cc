// Checksums by place: runs of chunks, looked up and walked.
#include "fs/core/block_checksums.h"

#include <gtest/gtest.h>

#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

constexpr DeviceOffset kBase{64 << 20};

uint32_t CrcOf(uint64_t block) { return static_cast<uint32_t>(block * 2654435761u); }
DeviceOffset At(uint64_t block) { return kBase + block * kBlockBytes; }

class BlockChecksums : public testing::Test {
 protected:
  void Put(uint64_t first, uint64_t count) {
    std::vector<uint32_t> crcs;
    for (uint64_t block = first; block < first + count; ++block) crcs.push_back(CrcOf(block));
    Transaction transaction;
    ChecksumWriter writer(transaction.batch());
    writer.Add(At(first), crcs);
    writer.Finish();
    DATA_EXPECT_OK(volume_.core().committer->Apply(std::move(transaction)));
  }
  void ExpectRun(ChecksumReader& reader, uint64_t first, uint64_t count) {
    std::vector<uint32_t> crcs;
    DATA_EXPECT_OK(reader.Append({At(first), count * kBlockBytes}, crcs));
    ASSERT_EQ(count, crcs.size());
    for (uint64_t i = 0; i < count; ++i) ASSERT_EQ(CrcOf(first + i), crcs[i]) << first + i;
  }

  DataVolume volume_;
};

TEST_F(BlockChecksums, RunsOfEveryLength) {
  constexpr uint64_t kChunk = kChecksumChunkBlocks;
  Put(0, 30 * kChunk);
  Put(5 * kChunk + 7, 20);  // merged
  ChecksumReader reader(*volume_.core().store);
  for (uint64_t count = 1; count <= 12; ++count) {
    ExpectRun(reader, count, count * kChunk);
    ExpectRun(reader, 2 * kChunk, count * kChunk);  // back: a run of its own
  }
  ChecksumReader one(*volume_.core().store);
  ExpectRun(one, 0, 30 * kChunk);
}

TEST_F(BlockChecksums, WhatIsMissingInARunIsAnError) {
  constexpr uint64_t kChunk = kChecksumChunkBlocks;
  Put(0, 9 * kChunk);
  Put(10 * kChunk, 10 * kChunk - 1);
  ChecksumReader reader(*volume_.core().store);
  std::vector<uint32_t> crcs;
  DATA_EXPECT_CODE(kCorrupt, reader.Append({At(0), 12 * kChunk * kBlockBytes}, crcs));
  EXPECT_EQ(9 * kChunk, crcs.size());
  ExpectRun(reader, 10 * kChunk, 10 * kChunk - 1);
  DATA_EXPECT_CODE(kCorrupt, reader.Get(At(20 * kChunk - 1)));  // a part of its chunk is there
  DATA_EXPECT_CODE(kCorrupt, reader.Get(At(20 * kChunk)));      // none behind
}

// A whole chunk takes the place of what was there, a part of one is laid over it.
TEST_F(BlockChecksums, PartsAndWholeChunks) {
  constexpr uint64_t kChunk = kChecksumChunkBlocks;
  Put(3, 5);
  Put(0, kChunk);
  Put(kChunk, 10);
  Put(kChunk + 20, 30);
  volume_.Remount();
  ChecksumReader reader(*volume_.core().store);
  ExpectRun(reader, 0, kChunk + 10);
  ExpectRun(reader, kChunk + 20, 30);
  DATA_EXPECT_CODE(kCorrupt, reader.Get(At(kChunk + 15)));
}

}  // namespace
}  // namespace cofs
