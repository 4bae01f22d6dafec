// How fast the store is on memory: prints microseconds for each operation, by the clock
// and of the calling thread's CPU time. Not a test.
#include <time.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "device/memory_device.h"
#include "extent_map/records.h"
#include "tests/store/test_volume.h"

namespace cofs {
namespace {

class Timer {
 public:
  void Print(const char* what, uint64_t count) const {
    const double n = static_cast<double>(count);
    std::printf("%-20s %9.2f us %9.2f us CPU\n", what,
                (Now(CLOCK_MONOTONIC) - clock_) / n,
                (Now(CLOCK_THREAD_CPUTIME_ID) - cpu_) / n);
  }

 private:
  static double Now(clockid_t clock) {
    timespec now;
    clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
  }
  const double clock_ = Now(CLOCK_MONOTONIC);
  const double cpu_ = Now(CLOCK_THREAD_CPUTIME_ID);
};

void WriteOne(Store& store, uint64_t i) {
  Batch batch;
  const std::string value(120, 'v');
  batch.Put(InodeKey(InodeId{i}), value);
  batch.Put(ExtentKey(InodeId{i}, FileOffset{0}), value.substr(0, 20));
  const Status status = store.Write(std::move(batch));
  CHECK(status.ok(), status.error().ToString());
}

void Run() {
  constexpr uint64_t kVolumeBytes = 16ull << 30;
  MemoryDevice device(kVolumeBytes);
  Timer format_timer;
  CHECK(FormatTestVolume(device).ok());
  format_timer.Print("format", 1);
  Timer open_timer;
  auto volume = OpenTestVolume(device);
  CHECK(volume.ok(), volume.error().ToString());
  open_timer.Print("open", 1);
  Store& store = *volume->store;

  constexpr uint64_t kCount = 100000;
  Timer write_timer;
  for (uint64_t i = 0; i < kCount; ++i) WriteOne(store, i);
  write_timer.Print("write", kCount);

  Timer get_timer;
  for (uint64_t i = 0; i < kCount; ++i)
    CHECK(store.Get(InodeKey(InodeId{i * 7919 % kCount})).value().has_value());
  get_timer.Print("get", kCount);

  constexpr uint64_t kCommits = 5000;
  CHECK(store.Commit().ok());
  Timer commit_timer;
  for (uint64_t i = 0; i < kCommits; ++i) {
    WriteOne(store, i);
    CHECK(store.Commit().ok());
  }
  commit_timer.Print("write and commit", kCommits);

  Timer shared_timer;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < kCommits; ++i) {
        WriteOne(store, i * 8 + static_cast<uint64_t>(t));
        CHECK(store.Commit().ok());
      }
    });
  for (std::thread& thread : threads) thread.join();
  shared_timer.Print("the same, 8 threads", 8 * kCommits);
  Timer close_timer;
  CHECK(store.Close().ok());
  close_timer.Print("close", 1);
}

}  // namespace
}  // namespace cofs

int main() { cofs::Run(); }
