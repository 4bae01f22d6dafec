// The pool: it grows, it fills up to the limit of admission, and then everything can
// still be deleted, committed, closed and opened.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <random>
#include <thread>

#include "device/memory_device.h"
#include "extent_map/records.h"
#include "tests/store/test_volume.h"
#include "tests/store/workload.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 64 << 20;
constexpr uint64_t kParent = 1;

#define ASSERT_OK(expression)                                \
  do {                                                       \
    const auto& status_ = (expression);                      \
    ASSERT_TRUE(status_.ok()) << status_.error().ToString(); \
  } while (false)

std::string RandomValue(std::mt19937_64& random, size_t bytes) {
  std::string value(bytes, '\0');
  for (char& c : value) c = static_cast<char>(random());
  return value;
}

// Small files as a file system makes them: one batch each, asked for.
class Filler {
 public:
  Filler(Store& store, uint64_t seed) : store_(store), random_(seed) {}

  // Until there is no room; how many files there are. 0 after an error.
  uint64_t Fill(uint64_t commit_every) {
    for (;; ++next_) {
      Batch batch;
      const InodeId inode{next_};
      batch.Put(InodeKey(inode), RandomValue(random_, 110));
      batch.Put(DentryKey(InodeId{kParent}, next_), RandomValue(random_, 40));
      batch.Put(ExtentKey(inode, FileOffset{0}), RandomValue(random_, 30));
      if (next_ % 16 == 0)
        batch.Put(XattrKey(inode, "user.x"), RandomValue(random_, 3000));
      batch.Put(InodeKey(InodeId{kParent}), RandomValue(random_, 110));
      const Status admitted = store_.AdmitGrowth(batch.size_bytes());
      if (admitted.Is(ErrorCode::kNoSpace)) return next_ - first_;
      if (!Is(admitted) || !Is(store_.Write(std::move(batch)))) return 0;
      if (next_ % commit_every == 0 && !Is(store_.Commit())) return 0;
    }
  }

  // Nobody asks for room to delete.
  bool DeleteAll(uint64_t commit_every) {
    for (; first_ < next_; ++first_) {
      Batch batch;
      const InodeId inode{first_};
      batch.Put(InodeKey(InodeId{kParent}), RandomValue(random_, 110));
      batch.Delete(DentryKey(InodeId{kParent}, first_));
      batch.Put(OrphanKey(inode), "");
      if (!Is(store_.Write(std::move(batch)))) return false;
      Batch reap;
      reap.Delete(InodeKey(inode));
      reap.Delete(ExtentKey(inode, FileOffset{0}));
      if (first_ % 16 == 0) reap.Delete(XattrKey(inode, "user.x"));
      reap.Delete(OrphanKey(inode));
      if (!Is(store_.Write(std::move(reap)))) return false;
      if (first_ % commit_every == 0 && !Is(store_.Commit())) return false;
      lowest_free_ = std::min(lowest_free_, store_.usage().pool_free_bytes);
    }
    return true;
  }
  uint64_t lowest_free_bytes() const { return lowest_free_; }

 private:
  bool Is(const Status& status) {
    EXPECT_TRUE(status.ok()) << status.error().ToString();
    return status.ok();
  }
  Store& store_;
  std::mt19937_64 random_;
  uint64_t first_ = 16, next_ = 16;
  uint64_t lowest_free_ = UINT64_MAX;
};

// Until as much room as `files` small files need is there again: what was deleted is
// compacted away in the background.
bool WaitForRoom(Store& store, uint64_t bytes) {
  for (int i = 0; i < 600; ++i) {
    const Status admitted = store.AdmitGrowth(bytes);
    if (admitted.ok()) return true;
    EXPECT_TRUE(admitted.Is(ErrorCode::kNoSpace)) << admitted.error().ToString();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return false;
}

// Until the volume has `bytes` again.
bool WaitForReturns(Store& store, const TestSpace& space, uint64_t bytes) {
  for (int i = 0; i < 600; ++i) {
    if (space.FreeBytes() >= bytes) return true;
    EXPECT_TRUE(store.Commit().ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return false;
}

TEST(StoreSpaceTest, SizesStaySmall) {
  for (const uint64_t mib : {64, 100, 256, 1000, 4096, 10240, 65536, 16 << 20}) {
    const uint64_t volume = mib << 20;
    const uint64_t pool = Store::InitialPoolBytes(volume);
    EXPECT_TRUE(IsBlockAligned(pool));
    EXPECT_LT(pool, mib < 256 ? volume / 7 : volume / 25) << mib;
    EXPECT_LT(pool, mib < 10240 ? volume / 7 : volume * 3 / 200) << mib;
  }
}

TEST(StoreSpaceTest, FullManyTimes) {
  const uint64_t seed = TestSeed(11);
  MemoryDevice device(kVolumeBytes);
  ASSERT_OK(FormatTestVolume(device));
  const DeviceOffset pool_end = kReservedEnd + Store::InitialPoolBytes(kVolumeBytes);
  TestSpace space(pool_end, pool_end + (6 << 20));
  uint64_t first_fill = 0;
  const uint64_t rounds = TestCount("COFS_ROUND_COUNT", 4);
  for (uint64_t round = 0; round < rounds; ++round) {
    StoreOptions options;
    std::string failure;
    options.on_failure = [&](const Error& error) { failure = error.ToString(); };
    auto volume = OpenTestVolume(device, options);
    ASSERT_OK(volume);
    Store& store = *volume->store;
    store.StartGrowing(&space);
    Filler filler(store, seed + round);
    // In every second round WALs are made of many small groups.
    const uint64_t commit_every = round % 2 == 0 ? 500 : 3;
    const uint64_t files = filler.Fill(commit_every);
    ASSERT_GT(files, 1000u) << failure;
    if (round == 0) first_fill = files;
    EXPECT_GT(files, first_fill / 2);
    const StoreUsage full = store.usage();
    std::printf("round %llu: %llu files, pool %llu, free %llu, reserve %llu\n",
                static_cast<unsigned long long>(round),
                static_cast<unsigned long long>(files),
                static_cast<unsigned long long>(full.pool_bytes),
                static_cast<unsigned long long>(full.pool_free_bytes),
                static_cast<unsigned long long>(full.pool_reserve_bytes));
    ASSERT_TRUE(filler.DeleteAll(commit_every)) << failure;
    std::printf("lowest free %llu\n",
                static_cast<unsigned long long>(filler.lowest_free_bytes()));
    ASSERT_OK(store.Commit());
    EXPECT_TRUE(WaitForRoom(store, 2 << 20)) << store.usage().pool_free_bytes;
    // Most of what the pool took comes back.
    EXPECT_TRUE(WaitForReturns(store, space, full.pool_bytes / 4)) << store.usage().pool_bytes;
    if (round % 2 == 0) ASSERT_OK(store.Close());
  }
}

}  // namespace
}  // namespace cofs
