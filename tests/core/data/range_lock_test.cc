// RangeLock: exclusion, order of arrival, requests of several ranges.
#include "fs/core/range_lock.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <random>
#include <thread>

#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

// Starts a thread that wants the range and says when it has it.
class Waiter {
 public:
  Waiter(RangeLock& lock, uint64_t begin, uint64_t end, std::vector<int>& order, Mutex& mutex,
         int number)
      : thread_([this, &lock, begin, end, &order, &mutex, number] {
          started_.store(true);
          const auto hold = lock.Acquire(begin, end);
          MutexLock guard(mutex);
          order.push_back(number);
        }) {
    while (!started_.load()) std::this_thread::yield();
  }
  ~Waiter() { thread_.join(); }

 private:
  std::atomic<bool> started_{false};
  std::thread thread_;
};

void SleepShortly() { std::this_thread::sleep_for(std::chrono::milliseconds(30)); }

TEST(RangeLock, DisjointRangesDoNotWait) {
  RangeLock lock;
  const auto a = lock.Acquire(0, 10);
  const auto b = lock.Acquire(10, 20);
  const auto c = lock.Acquire(20, UINT64_MAX);
}

TEST(RangeLock, ReleasesOnMoveAndOnDestruction) {
  RangeLock lock;
  RangeLock::Hold hold = lock.Acquire(0, 10);
  RangeLock::Hold moved = std::move(hold);
  hold.Release();  // has nothing any more
  moved = lock.Acquire(20, 30);
  // 0..10 is free again, else this would wait for ever.
  const auto again = lock.Acquire(0, 10);
}

// Breaks when a later request may overtake an earlier one that overlaps it.
TEST(RangeLock, ServesInOrderOfArrival) {
  RangeLock lock;
  Mutex mutex;
  std::vector<int> order;
  {
    auto hold = std::make_unique<RangeLock::Hold>(lock.Acquire(0, 10));
    // 1 waits for the hold; 2 overlaps 1 alone, and waits behind it.
    Waiter one(lock, 5, 25, order, mutex, 1);
    SleepShortly();
    Waiter two(lock, 20, 30, order, mutex, 2);
    SleepShortly();
    {
      MutexLock guard(mutex);
      EXPECT_TRUE(order.empty());
    }
    // 3 overlaps nobody.
    { Waiter three(lock, 40, 50, order, mutex, 3); }
    {
      MutexLock guard(mutex);
      EXPECT_EQ(std::vector<int>{3}, order);
    }
    hold.reset();
  }
  EXPECT_EQ((std::vector<int>{3, 1, 2}), order);
}

TEST(RangeLock, ExcludesAtRandom) {
  const uint64_t seed = SeedOf(1);
  constexpr size_t kCells = 64;
  RangeLock lock;
  std::array<int, kCells> owner{};  // guarded by the ranges of `lock`: TSan watches
  std::atomic<bool> is_broken{false};
  std::vector<std::thread> threads;
  for (int number = 1; number <= 6; ++number) {
    threads.emplace_back([&, number] {
      std::mt19937_64 random(seed + static_cast<uint64_t>(number));
      for (int round = 0; round < 3000; ++round) {
        std::vector<LockedRange> ranges;
        for (uint64_t count = 1 + random() % 3; count > 0; --count) {
          const uint64_t begin = random() % kCells;
          ranges.push_back({begin, begin + 1 + random() % (kCells - begin)});
          ranges.back().end = std::min(ranges.back().end, begin + 8);
        }
        const auto hold = lock.AcquireAll(ranges);
        for (const LockedRange& range : ranges)
          for (uint64_t cell = range.begin; cell < range.end; ++cell) owner[cell] = number;
        if (random() % 8 == 0) std::this_thread::yield();
        for (const LockedRange& range : ranges)
          for (uint64_t cell = range.begin; cell < range.end; ++cell)
            if (owner[cell] != number) is_broken = true;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(is_broken);
}

}  // namespace
}  // namespace cofs
