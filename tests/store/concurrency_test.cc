// Writers, committers and readers at once.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "device/memory_device.h"
#include "extent_map/records.h"
#include "tests/store/test_volume.h"
#include "tests/store/workload.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 64 << 20;
constexpr int kWriterCount = 4;

std::string PairKey(int writer, int half) {
  return ExtentKey(InodeId{static_cast<uint64_t>(100 + writer)},
                   FileOffset{static_cast<uint64_t>(half) * kBlockBytes});
}

int NumberIn(const std::optional<std::string>& value) {
  return value ? std::atoi(value->c_str()) : 0;
}

TEST(StoreConcurrencyTest, WritersCommittersAndReaders) {
  const int rounds = static_cast<int>(TestCount("COFS_ROUND_COUNT", 400));
  MemoryDevice device(kVolumeBytes);
  ASSERT_TRUE(FormatTestVolume(device).ok());
  TestSpace space(kReservedEnd + Store::InitialPoolBytes(kVolumeBytes),
                  DeviceOffset{kVolumeBytes});
  std::array<std::atomic<int>, kWriterCount> written{}, committed{};
  {
    auto volume = OpenTestVolume(device);
    ASSERT_TRUE(volume.ok()) << volume.error().ToString();
    Store& store = *volume->store;
    store.StartGrowing(&space);
    std::atomic<bool> is_done{false};
    std::vector<std::thread> writers, readers;
    for (int w = 0; w < kWriterCount; ++w)
      writers.emplace_back([&, w] {
        const std::string filling(static_cast<size_t>(500 * w), 'f');
        for (int i = 1; i <= rounds; ++i) {
          // Both halves of a pair change together.
          Batch batch;
          for (const int half : {0, 1})
            batch.Put(PairKey(w, half), std::to_string(i) + " " + filling);
          EXPECT_TRUE(store.AdmitGrowth(batch.size_bytes()).ok());
          EXPECT_TRUE(store.Write(std::move(batch)).ok());
          written[static_cast<size_t>(w)] = i;
          if (i % (w + 1) != 0) continue;
          EXPECT_TRUE(store.Commit().ok());
          committed[static_cast<size_t>(w)] = i;
        }
      });
    readers.emplace_back([&] {
      while (!is_done) {
        const auto cursor = store.NewCursor();
        std::string first;
        int seen = 0;
        for (cursor->Seek(""); cursor->valid(); cursor->Next(), ++seen) {
          if (seen % 2 == 0)
            first = cursor->value();
          else
            EXPECT_EQ(first, cursor->value());
        }
        EXPECT_TRUE(cursor->status().ok());
        EXPECT_EQ(seen % 2, 0);
      }
    });
    readers.emplace_back([&] {
      while (!is_done)
        for (int w = 0; w < kWriterCount; ++w) {
          const int before = written[static_cast<size_t>(w)];
          EXPECT_GE(NumberIn(store.Get(PairKey(w, 1)).value()), before);
          EXPECT_GE(store.usage().pool_bytes, store.usage().pool_free_bytes);
        }
    });
    readers.emplace_back([&] {
      while (!is_done) {
        int reported = 0;
        EXPECT_TRUE(store.VerifyAll([&](const Error&) { ++reported; }).ok());
        EXPECT_EQ(reported, 0);
        EXPECT_FALSE(store.PoolRanges().empty());
      }
    });
    for (std::thread& writer : writers) writer.join();
    is_done = true;
    for (std::thread& reader : readers) reader.join();
    EXPECT_GT(store.usage().commit_count, 0u);
  }  // dropped
  auto volume = OpenTestVolume(device);
  ASSERT_TRUE(volume.ok()) << volume.error().ToString();
  for (int w = 0; w < kWriterCount; ++w) {
    const int n = NumberIn(volume->store->Get(PairKey(w, 0)).value());
    EXPECT_GE(n, committed[static_cast<size_t>(w)]);
    EXPECT_LE(n, rounds);
    EXPECT_EQ(NumberIn(volume->store->Get(PairKey(w, 1)).value()), n);
  }
}

}  // namespace
}  // namespace cofs
