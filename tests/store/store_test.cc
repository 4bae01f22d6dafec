// The store as its users see it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "device/memory_device.h"
#include "device/recording_device.h"
#include "extent_map/records.h"
#include "tests/store/test_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 64 << 20;

#define ASSERT_OK(expression)                                \
  do {                                                       \
    const auto& status_ = (expression);                      \
    ASSERT_TRUE(status_.ok()) << status_.error().ToString(); \
  } while (false)

std::string KeyOf(int i) { return InodeKey(InodeId{static_cast<uint64_t>(i)}); }

TEST(StoreTest, KeepsWhatWasWritten) {
  MemoryDevice device(kVolumeBytes);
  Batch initial;
  initial.Put(KeyOf(1), "root");
  ASSERT_OK(FormatTestVolume(device, initial));
  {
    auto volume = OpenTestVolume(device);
    ASSERT_OK(volume);
    Store& store = *volume->store;
    EXPECT_EQ(store.Get(KeyOf(1)).value(), "root");
    EXPECT_EQ(store.Get(KeyOf(2)).value(), std::nullopt);
    Batch batch;
    batch.Put(KeyOf(2), "two");
    batch.Delete(KeyOf(1));
    ASSERT_OK(store.Write(std::move(batch)));
    EXPECT_EQ(store.Get(KeyOf(2)).value(), "two");
    ASSERT_OK(store.Commit());
    ASSERT_OK(store.Close());
  }
  auto volume = OpenTestVolume(device);
  ASSERT_OK(volume);
  EXPECT_EQ(volume->store->Get(KeyOf(1)).value(), std::nullopt);
  EXPECT_EQ(volume->store->Get(KeyOf(2)).value(), "two");
}

TEST(StoreTest, DropIsACrash) {
  MemoryDevice device(kVolumeBytes);
  ASSERT_OK(FormatTestVolume(device));
  {
    auto volume = OpenTestVolume(device);
    ASSERT_OK(volume);
    for (int i = 0; i < 3; ++i) {
      Batch batch;
      batch.Put(KeyOf(i), "x");
      ASSERT_OK(volume->store->Write(std::move(batch)));
      if (i == 1) {
        ASSERT_OK(volume->store->Commit());
      }
    }
  }
  auto volume = OpenTestVolume(device);
  ASSERT_OK(volume);
  EXPECT_EQ(volume->store->Get(KeyOf(0)).value(), "x");
  EXPECT_EQ(volume->store->Get(KeyOf(1)).value(), "x");
  EXPECT_EQ(volume->store->Get(KeyOf(2)).value(), std::nullopt);
}

// Changes that have not been committed lie in memory, in a WAL, and in tables.
void WriteMany(Store& store, int count, size_t value_bytes) {
  for (int i = 1; i <= count; ++i) {
    Batch batch;
    batch.Put(KeyOf(i), std::to_string(i) + std::string(value_bytes, 'v'));
    ASSERT_OK(store.Write(std::move(batch)));
  }
}

TEST(StoreTest, ReadOnlyWritesNothing) {
  MemoryDevice memory(kVolumeBytes);
  ASSERT_OK(FormatTestVolume(memory));
  {
    auto volume = OpenTestVolume(memory);
    ASSERT_OK(volume);
    WriteMany(*volume->store, 300, 2000);
    ASSERT_OK(volume->store->Commit());
  }  // by a crash
  RecordingDevice device(memory);
  {
    StoreOptions options;
    options.read_only = true;
    auto volume = OpenTestVolume(device, options);
    ASSERT_OK(volume);
    Store& store = *volume->store;
    for (int i = 1; i <= 300; ++i)
      EXPECT_EQ(store.Get(KeyOf(i)).value()->size(), std::to_string(i).size() + 2000);
    Batch batch;
    batch.Put(KeyOf(1), "x");
    EXPECT_TRUE(store.Write(std::move(batch)).Is(ErrorCode::kReadOnly));
    EXPECT_TRUE(store.Commit().Is(ErrorCode::kReadOnly));
    EXPECT_TRUE(store.AdmitGrowth(1).Is(ErrorCode::kReadOnly));
    int reported = 0;
    ASSERT_OK(store.VerifyAll([&](const Error&) { ++reported; }));
    EXPECT_EQ(reported, 0);
    ASSERT_OK(store.Close());
  }
  EXPECT_EQ(device.TakeLog().ios.size(), 0u);
}

// Journal, files and tables are read in pieces that the caller paces, and ended by it.
TEST(StoreTest, VerifyingIsPacedAndCanBeStopped) {
  MemoryDevice device(kVolumeBytes);
  ASSERT_OK(FormatTestVolume(device));
  {
    auto volume = OpenTestVolume(device);
    ASSERT_OK(volume);
    WriteMany(*volume->store, 300, 1);
    ASSERT_OK(volume->store->Close());
  }
  auto volume = OpenTestVolume(device);
  ASSERT_OK(volume);
  const Store& store = *volume->store;
  int reported = 0;
  uint64_t total = 0, calls = 0;
  const auto report = [&](const Error&) { ++reported; };
  ASSERT_OK(store.VerifyAll(report, [&](uint64_t bytes) {
    total += bytes;
    ++calls;
    return true;
  }));
  EXPECT_EQ(reported, 0);
  EXPECT_GT(total, 8 * kBlockBytes);
  EXPECT_GT(calls, 3u);
  // Wherever it is stopped, in tables too, it ends there and finds no damage in that.
  for (uint64_t stop = 1; stop <= calls; ++stop) {
    uint64_t call = 0;
    EXPECT_TRUE(store.VerifyAll(report, [&](uint64_t) { return ++call != stop; })
                    .Is(ErrorCode::kInterrupted));
    EXPECT_EQ(call, stop);
  }
  EXPECT_EQ(reported, 0);
  ASSERT_OK(store.VerifyAll(report));
}

TEST(StoreTest, CursorsWalkBothWaysWithinBounds) {
  MemoryDevice device(kVolumeBytes);
  ASSERT_OK(FormatTestVolume(device));
  auto volume = OpenTestVolume(device);
  ASSERT_OK(volume);
  Store& store = *volume->store;
  WriteMany(store, 20, 1);
  const auto cursor = store.NewCursor(KeyOf(5), KeyOf(10));
  Batch later;  // not seen by a cursor that was there before
  later.Delete(KeyOf(6));
  ASSERT_OK(store.Write(std::move(later)));
  int i = 5;
  for (cursor->Seek(""); cursor->valid(); cursor->Next(), ++i)
    EXPECT_EQ(cursor->key(), KeyOf(i));
  EXPECT_EQ(i, 10);
  for (cursor->SeekForPrev(KeyOf(100)); cursor->valid(); cursor->Prev())
    EXPECT_EQ(cursor->key(), KeyOf(--i));
  EXPECT_EQ(i, 5);
  cursor->SeekForPrev(KeyOf(7) + "x");
  EXPECT_EQ(cursor->key(), KeyOf(7));
  EXPECT_EQ(cursor->value(), "7v");
  ASSERT_OK(cursor->status());
  const auto all = store.NewCursor();
  all->Seek(KeyOf(6));
  EXPECT_EQ(all->key(), KeyOf(7));
}

TEST(StoreTest, ChecksumsAreMerged) {
  MemoryDevice device(kVolumeBytes);
  ASSERT_OK(FormatTestVolume(device));
  auto volume = OpenTestVolume(device);
  ASSERT_OK(volume);
  Store& store = *volume->store;
  const std::string key = ChecksumKey(DeviceOffset{0});
  ChecksumChunk want;
  // Longer than the chain that is merged when it is written.
  for (uint32_t n = 0; n < 300; ++n) {
    ChecksumChunk one;
    const uint32_t k = n * 7 % kChecksumChunkBlocks;
    one.present = 1ull << k;
    one.crc32c[k] = n;
    want = MergeChecksums(want, one);
    Batch batch;
    batch.Merge(key, EncodeChecksums(one));
    ASSERT_OK(store.Write(std::move(batch)));
    ASSERT_EQ(store.Get(key).value(), EncodeChecksums(want)) << n;
  }
  const auto cursor = store.NewCursor();
  cursor->SeekForPrev(key);
  ASSERT_TRUE(cursor->valid());
  EXPECT_EQ(cursor->value(), EncodeChecksums(want));
}

TEST(BatchDeathTest, OnlyChecksumsAreMerged) {
  Batch batch;
  EXPECT_DEATH(batch.Merge(KeyOf(1), "x"), "checksums");
}

TEST(StoreTest, BatchesLargerThanAMemtable) {
  MemoryDevice device(kVolumeBytes);
  ASSERT_OK(FormatTestVolume(device));
  const DeviceOffset pool_end = kReservedEnd + Store::InitialPoolBytes(kVolumeBytes);
  TestSpace space(pool_end, DeviceOffset{kVolumeBytes});
  {
    auto volume = OpenTestVolume(device);
    ASSERT_OK(volume);
    Store& store = *volume->store;
    store.StartGrowing(&space);
    // Records of a log that are longer than any buffer of RocksDB's.
    for (int round = 0; round < 3; ++round) {
      Batch batch;
      for (int i = 0; i < 40; ++i)
        batch.Put(KeyOf(round * 40 + i), std::string(65536, static_cast<char>('a' + i)));
      ASSERT_OK(store.AdmitGrowth(batch.size_bytes()));
      ASSERT_OK(store.Write(std::move(batch)));
      if (round < 2) {
        ASSERT_OK(store.Commit());
      }
    }
  }
  auto volume = OpenTestVolume(device);
  ASSERT_OK(volume);
  for (int i = 0; i < 80; ++i)
    EXPECT_EQ(volume->store->Get(KeyOf(i)).value()->front(),
              static_cast<char>('a' + i % 40));
}

TEST(StoreTest, ANewVolumeDoesNotSeeTheOldOne) {
  MemoryDevice device(kVolumeBytes);
  for (int life = 0; life < 3; ++life) {
    ASSERT_OK(FormatTestVolume(device));
    auto volume = OpenTestVolume(device);
    ASSERT_OK(volume);
    for (int i = 1; i <= 50; ++i)
      EXPECT_EQ(volume->store->Get(KeyOf(i)).value(), std::nullopt);
    WriteMany(*volume->store, 50, 3000);
    ASSERT_OK(volume->store->Commit());
  }
}

TEST(StoreTest, RefusesAPoolThatIsTooSmall) {
  MemoryDevice device(kVolumeBytes);
  Superblock superblock = TestSuperblock(kVolumeBytes);
  const uint64_t bytes = Store::InitialPoolBytes(kVolumeBytes) - kBlockBytes;
  EXPECT_TRUE(Store::Format(device, {kReservedEnd, bytes}, Batch(), superblock)
                  .Is(ErrorCode::kInvalidArgument));
  EXPECT_TRUE(
      Store::Format(device, {DeviceOffset{kVolumeBytes}, 2 * bytes}, Batch(), superblock)
          .Is(ErrorCode::kInvalidArgument));
}

TEST(StoreTest, ManySmallCommitsKeepTheWalShort) {
  MemoryDevice device(kVolumeBytes);
  ASSERT_OK(FormatTestVolume(device));
  auto volume = OpenTestVolume(device);
  ASSERT_OK(volume);
  Store& store = *volume->store;
  // 4 KiB each in WALs: many times what the pool has.
  for (int i = 0; i < 5000; ++i) {
    Batch batch;
    batch.Put(KeyOf(i % 10), std::to_string(i));
    ASSERT_OK(store.Write(std::move(batch)));
    ASSERT_OK(store.Commit());
  }
  EXPECT_EQ(store.usage().commit_count, 5000u);
  ASSERT_OK(store.Close());
}

}  // namespace
}  // namespace cofs
