// Every single I/O fails once: no acknowledged commit is lost, the store fails as a whole
// and says so once, and it opens again.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>

#include "base/log.h"
#include "device/fault_device.h"
#include "device/memory_device.h"
#include "tests/store/test_volume.h"
#include "tests/store/workload.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 64 << 20;

struct Outcome {
  int committed = 0;
  int failures_told = 0;
  bool has_opened = false;
  bool has_failed = false;  // a write or a commit was refused
};

// Runs the workload on `device` until it ends or fails.
Outcome Run(const Workload& workload, BlockDevice& device) {
  Outcome outcome;
  std::atomic<int> told{0};
  StoreOptions options;
  options.on_failure = [&](const Error&) { ++told; };
  TestSpace space(kReservedEnd + Store::InitialPoolBytes(kVolumeBytes),
                  DeviceOffset{kVolumeBytes});
  {
    auto volume = OpenTestVolume(device, options);
    outcome.has_opened = volume.ok();
    if (!volume.ok()) return outcome;
    Store& store = *volume->store;
    store.StartGrowing(&space);
    for (int n = 1; n <= workload.batch_count() && !outcome.has_failed; ++n) {
      outcome.has_failed = !store.Write(workload.MakeBatch(n)).ok();
      if (outcome.has_failed || n % 4 != 0) continue;
      outcome.has_failed = !store.Commit().ok();
      if (!outcome.has_failed) outcome.committed = n;
    }
    if (outcome.has_failed) {
      EXPECT_FALSE(store.Write(workload.MakeBatch(1)).ok());
      EXPECT_FALSE(store.Commit().ok());
      EXPECT_FALSE(store.AdmitGrowth(1).ok());
    }
    if (store.Close().ok()) outcome.committed = workload.batch_count();
  }
  outcome.failures_told = told;
  return outcome;
}

// Fails from I/O `n` on as `arm` says. False: the workload ended before it.
template <typename Arm>
bool RunWithFault(const Workload& workload, const MemoryDevice& initial, uint64_t n,
                  Arm arm) {
  const auto memory = initial.Fork();
  FaultDevice device(*memory);
  arm(device, n);
  const Outcome outcome = Run(workload, device);
  const bool has_hit = device.failed_count() > 0;
  EXPECT_TRUE(has_hit || (outcome.has_opened && !outcome.has_failed));
  EXPECT_LE(outcome.failures_told, 1);
  EXPECT_TRUE(!outcome.has_failed || outcome.failures_told == 1);

  auto volume = OpenTestVolume(*memory);
  EXPECT_TRUE(volume.ok()) << volume.error().ToString();
  if (!volume.ok()) return has_hit;
  const auto count = workload.CountBatches(*volume->store);
  EXPECT_TRUE(count.ok()) << count.error().ToString();
  EXPECT_TRUE(!count.ok() || count.value() >= outcome.committed)
      << count.value() << " of " << outcome.committed;
  return has_hit;
}

class StoreFaultTest : public testing::Test {
 protected:
  void SetUp() override {
    SetLogSink([](LogLevel, std::string_view) {});
    ASSERT_TRUE(FormatTestVolume(initial_).ok());
  }
  void TearDown() override { SetLogSink(nullptr); }

  template <typename Arm>
  void ForEachIo(uint64_t step, Arm arm) {
    Workload::Options options;
    options.seed = 31;
    options.batch_count = 80;  // two flushes of the memtable
    const Workload workload(options);
    uint64_t n = 1;
    for (; !HasFailure() && n < 2000; n += step)
      if (!RunWithFault(workload, initial_, n, arm)) break;
    EXPECT_GT(n, 60u);
    std::printf("%llu I/Os\n", static_cast<unsigned long long>(n));
    if (HasFailure())
      std::printf("failed at I/O %llu\n", static_cast<unsigned long long>(n));
  }

  MemoryDevice initial_{kVolumeBytes};
};

TEST_F(StoreFaultTest, EachIoFailsOnce) {
  ForEachIo(1, [](FaultDevice& device, uint64_t n) { device.FailNth(n); });
}

TEST_F(StoreFaultTest, EachIoIsTorn) {
  ForEachIo(3, [](FaultDevice& device, uint64_t n) { device.FailNth(n, n % 12); });
}

TEST_F(StoreFaultTest, TheDeviceGoesAway) {
  ForEachIo(3, [](FaultDevice& device, uint64_t n) { device.FailFrom(n); });
}

}  // namespace
}  // namespace cofs
