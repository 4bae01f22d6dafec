// The parts below the store, each by itself: envelope, pool, layout, records' borders.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <thread>

#include "base/aligned_buffer.h"
#include "device/memory_device.h"
#include "extent_map/store/chunk_pool.h"
#include "extent_map/store/envelope.h"
#include "extent_map/store/file_layout.h"
#include "extent_map/store/record_boundary.h"
#include "extent_map/store/shared_run.h"
#include "tests/store/golden.h"
#include "tests/store/hex.h"
#include "tests/store/workload.h"

namespace cofs::store {
namespace {

#define ASSERT_OK(expression)                                \
  do {                                                       \
    const auto& status_ = (expression);                      \
    ASSERT_TRUE(status_.ok()) << status_.error().ToString(); \
  } while (false)

// ---- envelope ----

TEST(EnvelopeTest, GoldenBytes) {
  std::string block(kBlockBytes, '\xee');
  block.replace(0, 4, "cofs");
  const BlockLabel label{0x0102030405060708, 9, 10, 4, true};
  SealBlock(block.data(), label);
  EXPECT_EQ(ToHex(block.substr(kPayloadBytes)), kGoldenTrailer);
  EXPECT_EQ(block.find_first_not_of('\0', 4), kPayloadBytes);
  EXPECT_EQ(OpenBlock(block.data()).value(), label);
  EXPECT_TRUE(OpenBlockOf(block.data(), label.file_id, 10).ok());
  EXPECT_TRUE(OpenBlockOf(block.data(), label.file_id, 11).Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(OpenBlockOf(block.data(), 1, 10).Is(ErrorCode::kCorrupt));
}

TEST(EnvelopeTest, EveryFlippedBitIsSeen) {
  std::string block(kBlockBytes, 'x');
  SealBlock(block.data(), {1, 1, 0, 3000, false});
  for (size_t bit = 0; bit < kBlockBytes * 8; ++bit) {
    block[bit / 8] ^= static_cast<char>(1 << bit % 8);
    ASSERT_TRUE(OpenBlock(block.data()).Is(ErrorCode::kCorrupt)) << bit;
    block[bit / 8] ^= static_cast<char>(1 << bit % 8);
  }
  EXPECT_TRUE(OpenBlock(block.data()).ok());
  const std::string zeros(kBlockBytes, '\0');
  EXPECT_TRUE(OpenBlock(zeros.data()).Is(ErrorCode::kCorrupt));
}

// ---- the document ----

TEST(FormatDocumentTest, ShowsTheGoldenBytes) {
  std::ifstream file(COFS_SOURCE_DIR "/docs/FORMAT-store.md");
  std::string code;
  bool is_code = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("```"))
      is_code = !is_code;
    else if (is_code)
      for (const char c : line)
        if (c != ' ') code.push_back(c);
  }
  EXPECT_EQ(code, std::string(kGoldenSnapshotHeader) + kGoldenSnapshot + kGoldenChanges +
                      kGoldenTrailer);
}

// ---- pool ----

constexpr uint64_t kChunk = 64 << 10;
DeviceRange Range(uint64_t offset, uint64_t length) {
  return {DeviceOffset{offset}, length};
}

TEST(ChunkPoolTest, TakesAndGivesBack) {
  ChunkPool pool(kChunk);
  ASSERT_OK(pool.AddRange(Range(1 << 20, 10 * kChunk + kBlockBytes)));
  EXPECT_EQ(pool.total_bytes(), 10 * kChunk + kBlockBytes);
  EXPECT_EQ(pool.free_bytes(), 10 * kChunk);
  EXPECT_EQ(pool.Allocate(1, std::nullopt).value(), std::vector{Range(1 << 20, kChunk)});
  // Goes on at the goal, though a run elsewhere would do as well.
  EXPECT_EQ(pool.Allocate(kChunk + 1, DeviceOffset{(1 << 20) + kChunk}).value(),
            std::vector{Range((1 << 20) + kChunk, 2 * kChunk)});
  EXPECT_EQ(pool.AllocateRun(2 * kChunk, 1).value(),
            Range((1 << 20) + 8 * kChunk, 2 * kChunk));
  EXPECT_EQ(pool.free_bytes(), 5 * kChunk);
  EXPECT_TRUE(pool.Allocate(5 * kChunk + 1, std::nullopt).Is(ErrorCode::kNoSpace));
  EXPECT_TRUE(pool.AllocateRun(6 * kChunk, 6 * kChunk).Is(ErrorCode::kNoSpace));
  EXPECT_EQ(pool.free_bytes(), 5 * kChunk);
  pool.Release(Range(1 << 20, kChunk));
  // Two runs: the rest of the middle and what was given back.
  EXPECT_EQ(pool.Allocate(6 * kChunk, std::nullopt).value().size(), 2u);
  EXPECT_EQ(pool.free_bytes(), 0u);
}

TEST(ChunkPoolTest, TheLongestRunWhereNoneIsLongEnough) {
  ChunkPool pool(kChunk);
  ASSERT_OK(pool.AddRange(Range(1 << 20, 10 * kChunk)));
  ASSERT_OK(pool.Take(Range((1 << 20) + 6 * kChunk, kChunk)));
  EXPECT_TRUE(pool.AllocateRun(8 * kChunk, 7 * kChunk).Is(ErrorCode::kNoSpace));
  EXPECT_EQ(pool.AllocateRun(8 * kChunk, 5 * kChunk).value(), Range(1 << 20, 6 * kChunk));
  EXPECT_EQ(pool.free_bytes(), 3 * kChunk);
}

TEST(ChunkPoolTest, RefusesWhatIsNotItsOwn) {
  ChunkPool pool(kChunk);
  ASSERT_OK(pool.AddRange(Range(1 << 20, 4 * kChunk)));
  EXPECT_TRUE(pool.AddRange(Range((1 << 20) + kChunk, kChunk)).Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(
      pool.AddRange(Range((1 << 20) - kChunk, 2 * kChunk)).Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(pool.AddRange(Range(4 << 20, 0)).Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(pool.Take(Range(0, kChunk)).Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(pool.Take(Range((1 << 20) + 4096, kChunk)).Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(pool.Take(Range(1 << 20, kChunk / 2)).Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(pool.Take(Range(1 << 20, 5 * kChunk)).Is(ErrorCode::kCorrupt));
  ASSERT_OK(pool.Take(Range(1 << 20, kChunk)));
  EXPECT_TRUE(pool.Take(Range(1 << 20, kChunk)).Is(ErrorCode::kCorrupt));
  EXPECT_DEATH(pool.Release(Range((1 << 20) + kChunk, kChunk)), "freed twice");
}

TEST(ChunkPoolTest, GivesBackLongRunsOfAllButOneRange) {
  ChunkPool pool(kChunk);
  const DeviceOffset kept{1 << 20};
  const uint64_t second = 64 << 20, third = 128 << 20;
  ASSERT_OK(pool.AddRange(Range(1 << 20, 500 * kChunk)));
  ASSERT_OK(pool.AddRange(Range(second, 250 * kChunk)));
  ASSERT_OK(pool.AddRange(Range(third, 150 * kChunk + kBlockBytes)));
  // Free of the second: 50, 104 and 94 chunks.
  const DeviceRange held[] = {Range(second + 50 * kChunk, kChunk),
                              Range(second + 155 * kChunk, kChunk)};
  for (const DeviceRange& range : held) ASSERT_OK(pool.Take(range));
  const uint64_t free = pool.free_bytes(), total = pool.total_bytes();
  EXPECT_TRUE(pool.GiveBack(63 * kChunk, kept).empty()) << "too little";
  // The longest, then the end of the next one.
  EXPECT_EQ(pool.GiveBack(235 * kChunk + 5, kept),
            (std::vector{Range(third, 150 * kChunk), Range(second + 70 * kChunk, 85 * kChunk)}));
  EXPECT_EQ(pool.free_bytes(), free - 235 * kChunk);
  EXPECT_EQ(pool.total_bytes(), total - 235 * kChunk);
  EXPECT_TRUE(pool.Take(Range(third, kChunk)).Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(pool.Take(Range(second + 70 * kChunk, kChunk)).Is(ErrorCode::kCorrupt));
  for (const DeviceRange& range : held) pool.Release(range);
  EXPECT_EQ(pool.AllocateRun(40 * kChunk, 1).value(), Range(second + 210 * kChunk, 40 * kChunk));
  EXPECT_EQ(pool.GiveBack(1 << 30, kept), std::vector{Range(second, 70 * kChunk)})
      << "55 chunks are too short a run";
  // What was given back may come again.
  ASSERT_OK(pool.AddRange(Range(third, 150 * kChunk)));
  EXPECT_EQ(pool.free_bytes(), free - 193 * kChunk);
}

TEST(ChunkPoolTest, AgainstAModel) {
  std::mt19937_64 random(TestSeed(5));
  ChunkPool pool(kChunk);
  // The first two ranges touch, so that extents may run over the border.
  ASSERT_OK(pool.AddRange(Range(0, 20 * kChunk)));
  ASSERT_OK(pool.AddRange(Range(20 * kChunk, 30 * kChunk + kBlockBytes)));
  ASSERT_OK(pool.AddRange(Range(100 * kChunk + kBlockBytes, 10 * kChunk)));
  std::vector<DeviceRange> held;
  uint64_t free = 60;
  for (int i = 0; i < 20000; ++i) {
    if (random() % 2 == 0) {
      const uint64_t count = random() % 12 + 1;
      std::optional<DeviceOffset> goal;
      if (!held.empty() && random() % 2 == 0) goal = held[random() % held.size()].end();
      auto taken = pool.Allocate(count * kChunk, goal);
      ASSERT_EQ(taken.ok(), count <= free);
      if (!taken.ok()) continue;
      std::vector<DeviceRange> joined;
      for (const DeviceRange& range : taken.value()) AppendExtent(joined, range);
      for (const DeviceRange& range : joined) {
        for (const DeviceRange& other : held)
          ASSERT_TRUE(range.end() <= other.offset || other.end() <= range.offset);
        held.push_back(range);
      }
      free -= count;
    } else if (!held.empty()) {
      const size_t index = random() % held.size();
      pool.Release(held[index]);
      free += held[index].length_bytes / kChunk;
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(index));
    }
    ASSERT_EQ(pool.free_bytes(), free * kChunk);
  }
  for (const DeviceRange& range : held) pool.Release(range);
  EXPECT_EQ(pool.AllocateRun(30 * kChunk, 1).value(), Range(20 * kChunk, 30 * kChunk));
}

// ---- layout ----

constexpr uint64_t kFileId = 77;

// Writes groups of the given sizes to a device as the writers do.
struct GroupFile {
  MemoryDevice device{4 << 20};
  FileLayout layout;
  std::string bytes;

  explicit GroupFile(const std::vector<size_t>& groups) {
    layout.extents = {Range(1 << 20, 16 * kBlockBytes), Range(2 << 20, 64 * kBlockBytes)};
    for (size_t g = 0; g < groups.size(); ++g) Write(g + 1, groups[g]);
  }
  void Write(uint64_t group, size_t size) {
    for (size_t done = 0; done < size; done += kPayloadBytes) {
      const size_t used = std::min(kPayloadBytes, size - done);
      std::string block(kBlockBytes, '\0');
      for (size_t i = 0; i < used; ++i)
        block[i] = static_cast<char>('a' + (bytes.size() + i) % 23);
      bytes += block.substr(0, used);
      const uint64_t index = layout.block_count + done / kPayloadBytes;
      SealBlock(block.data(), {kFileId, group, static_cast<uint32_t>(index),
                               static_cast<uint16_t>(used), done + used == size});
      device.Poke(PlaceOf(index), block);
    }
    layout.Append(size);
  }
  uint64_t PlaceOf(uint64_t block) const {
    uint64_t place = 0;
    ForEachRun(layout.extents, block, 1,
               [&](DeviceRange range, uint64_t) { place = range.offset.value(); });
    return place;
  }
  void Damage(uint64_t block) { device.Poke(PlaceOf(block) + 100, std::string(1, '!')); }

  // What a scan finds, in blocks.
  Result<uint64_t> Scan(uint64_t proven_blocks) {
    FileLayout found;
    found.extents = layout.extents;
    uint64_t last_group = 0;
    TRY(ScanGroups(device, kFileId, proven_blocks, found, last_group));
    EXPECT_TRUE(found.block_count != layout.block_count || found == layout);
    return found.block_count;
  }
};

TEST(FileLayoutTest, ReadsAnyPart) {
  GroupFile file({10, kPayloadBytes, 3 * kPayloadBytes + 1, 1, 2 * kPayloadBytes, 5000});
  ASSERT_EQ(file.layout.size_bytes, file.bytes.size());
  // A full last block needs no new section.
  EXPECT_EQ(file.layout.sections.size(), 3u);
  std::mt19937_64 random(TestSeed(6));
  std::string out(file.bytes.size() + 10, '\0');
  for (int i = 0; i < 2000; ++i) {
    const uint64_t offset = random() % (file.bytes.size() + 5);
    const size_t length = random() % (file.bytes.size() + 5);
    const auto done =
        ReadFile(file.device, kFileId, file.layout, offset, length, out.data());
    ASSERT_OK(done);
    const std::string want =
        offset < file.bytes.size() ? file.bytes.substr(offset, length) : "";
    ASSERT_EQ(out.substr(0, done.value()), want) << offset << " " << length;
  }
  file.Damage(2);
  EXPECT_TRUE(ReadFile(file.device, kFileId, file.layout, 0, 50, out.data()).ok());
  EXPECT_TRUE(ReadFile(file.device, kFileId, file.layout, 0, out.size(), out.data())
                  .Is(ErrorCode::kCorrupt));
}

TEST(ScanGroupsTest, EndsAtTheLastCompleteGroup) {
  const std::vector<size_t> groups{100, 9000, 20, 20000};  // 1, 3, 1 and 5 blocks
  EXPECT_EQ(GroupFile(groups).Scan(0).value(), 10u);
  EXPECT_EQ(GroupFile(groups).Scan(10).value(), 10u);
  EXPECT_EQ(GroupFile({}).Scan(0).value(), 0u);
  for (uint64_t block = 5; block < 10; ++block) {
    GroupFile torn(groups);
    torn.Damage(block);
    EXPECT_EQ(torn.Scan(0).value(), 5u) << block;
    EXPECT_EQ(torn.Scan(5).value(), 5u) << block;
    EXPECT_TRUE(torn.Scan(10).Is(ErrorCode::kCorrupt)) << block;
    EXPECT_TRUE(torn.Scan(6).Is(ErrorCode::kCorrupt)) << block;
  }
  GroupFile beyond(groups);
  EXPECT_TRUE(beyond.Scan(11).Is(ErrorCode::kCorrupt));
  EXPECT_TRUE(beyond.Scan(1000).Is(ErrorCode::kCorrupt));
}

TEST(ScanGroupsTest, DamageBeforeALaterGroupIsRot) {
  for (uint64_t block = 0; block < 5; ++block) {
    GroupFile rotten({100, 9000, 20, 20000});
    rotten.Damage(block);
    // A later group is only issued when the damaged one was durable, and so whole.
    EXPECT_TRUE(rotten.Scan(0).Is(ErrorCode::kCorrupt)) << block;
  }
}

TEST(ScanGroupsTest, OtherFilesBlocksAreNotSeen) {
  GroupFile file({100, 200});
  std::string block(kBlockBytes, 'o');
  SealBlock(block.data(), {kFileId + 1, 4, 2, 10, true});
  file.device.Poke(file.PlaceOf(2), block);
  EXPECT_EQ(file.Scan(0).value(), 2u);
  SealBlock(block.data(), {kFileId, 3, 2, 10, true});
  file.device.Poke(file.PlaceOf(2), block);
  EXPECT_EQ(file.Scan(0).value(), 3u);
}

// ---- borders of records ----

// A log as RocksDB writes it, with the offsets behind each record.
struct Log {
  std::string bytes;
  std::vector<uint64_t> ends{0};
  void Add(size_t length) {
    bool is_first = true;
    do {
      const size_t left = 32768 - bytes.size() % 32768;
      if (left < 7) bytes.append(left, '\0');
      const size_t room = 32768 - bytes.size() % 32768 - 7;
      const size_t part = std::min(room, length);
      length -= part;
      const bool is_last = length == 0;
      bytes += "CRCC";
      bytes.push_back(static_cast<char>(part));
      bytes.push_back(static_cast<char>(part >> 8));
      bytes.push_back(static_cast<char>(is_first ? is_last ? 1 : 2 : is_last ? 4 : 3));
      bytes.append(part, 'd');
      is_first = false;
    } while (length > 0);
    ends.push_back(bytes.size());
  }
};

TEST(RecordBoundaryTest, FindsEveryEndInAnyPieces) {
  std::mt19937_64 random(TestSeed(7));
  Log log;
  for (const size_t length : {100u, 0u, 32768u - 7 * 4 - 100, 32768u - 7, 32768u - 7 - 3,
                              5u, 100000u, 32768u * 3, 1u})
    log.Add(length);
  for (int i = 0; i < 200; ++i) log.Add(random() % 20000);
  for (const size_t piece_max : {1u, 7u, 1000u, 70000u}) {
    RecordBoundary boundary;
    size_t fed = 0;
    auto end = log.ends.begin();
    while (fed < log.bytes.size()) {
      const size_t piece = std::min(log.bytes.size() - fed, random() % piece_max + 1);
      boundary.Feed(std::string_view(log.bytes).substr(fed, piece));
      fed += piece;
      while (end + 1 != log.ends.end() && *(end + 1) <= fed) ++end;
      ASSERT_EQ(boundary.whole_bytes(), *end) << fed;
      ASSERT_FALSE(boundary.is_lost());
    }
  }
}

TEST(RecordBoundaryTest, SaysThatItIsLost) {
  RecordBoundary type;
  type.Feed(std::string("CRCC\x01\x00\x09z", 8));
  EXPECT_TRUE(type.is_lost());
  RecordBoundary length;
  length.Feed(std::string("CRCC\xff\xff\x01z", 8));
  EXPECT_TRUE(length.is_lost());
}

// ---- shared runs ----

TEST(SharedRunTest, EachCallIsServedByALaterRun) {
  Mutex mutex;
  int value = 0, seen = 0;
  SharedRun run([&] {
    MutexLock lock(mutex);
    seen = value;
    return OkStatus();
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        int mine;
        {
          MutexLock lock(mutex);
          mine = ++value;
        }
        EXPECT_TRUE(run.Run().ok());
        MutexLock lock(mutex);
        EXPECT_GE(seen, mine);
      }
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(SharedRunTest, TheFirstErrorStays) {
  int runs = 0;
  SharedRun run([&]() -> Status {
    if (++runs == 2) return Error(ErrorCode::kIo, "second");
    return OkStatus();
  });
  EXPECT_TRUE(run.Run().ok());
  EXPECT_TRUE(run.Run().Is(ErrorCode::kIo));
  EXPECT_TRUE(run.Run().Is(ErrorCode::kIo));
  EXPECT_EQ(runs, 2);
}

}  // namespace
}  // namespace cofs::store
