// Long random workloads from several threads, with a power cut at every flush and
// between flushes: each thread's tree is a prefix of what the thread did, at least up to
// what was acknowledged to it as durable.
//
// COFS_SEED=n replays a run; COFS_LONG=1 takes more seeds, more steps and all states.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <thread>

#include "base/check.h"
#include "mkfs/format.h"
#include "tests/core/test_volume.h"
#include "tests/crash/crash_checker.h"

namespace cofs {
namespace {

constexpr size_t kThreads = 3;

struct RandomRun {
  explicit RandomRun(uint64_t run_seed) : seed(run_seed), random(run_seed) {}

  const uint64_t seed;
  std::mt19937_64 random;
  uint64_t operation_count = 0, copy_count = 0, seen = 0;
  CrashChecker::Counts counts;

  void Run(int steps, uint64_t state_count_max);
};

VolumeOptions OptionsOfRun(std::mt19937_64& random) {
  VolumeOptions options;
  // Commits by the clock come in between.
  options.commit_interval_ms = random() % 2 == 0 ? 3 : 3'600'000;
  options.discard = random() % 2 == 0;
  options.copy = random() % 3 == 0 ? CopyRangePolicy::kShare : CopyRangePolicy::kAuto;
  options.cache_bytes = 4 << 20;
  return options;
}

void RandomRun::Run(int steps, uint64_t state_count_max) {
  SCOPED_TRACE(StrCat("seed ", seed));
  MemoryDevice::Options memory_options;
  memory_options.copy_limits =
      DeviceCopyLimits{.segment_bytes_max = 64 << 10,
                       .command_bytes_max = 256 << 10,
                       .segments_max = 1 + static_cast<uint32_t>(random() % 8)};
  MemoryDevice memory(160 << 20, memory_options);
  ASSERT_OK(FormatDevice(memory, {}));
  VolumeOptions options = OptionsOfRun(random);
  InodeId roots[kThreads];
  {
    auto volume = Volume::Mount(Borrow(memory), options).value();
    for (size_t i = 0; i < kThreads; ++i)
      roots[i] = MakeDirectory(*volume, kRootInode, Numbered("tree", static_cast<int64_t>(i)));
    ASSERT_OK(volume->Unmount());
  }
  auto initial = memory.Fork();
  RecordingDevice recorder(memory, random());
  auto volume = Volume::Mount(Borrow(recorder), options).value();
  std::vector<std::unique_ptr<ModelDriver>> drivers(kThreads);
  for (size_t i = 0; i < kThreads; ++i) {
    const auto is_durable = [&recorder, &drivers, i] {
      recorder.Mark(TimelineMark(i, drivers[i]->history().size()));
    };
    drivers[i] = std::make_unique<ModelDriver>(
        *volume, ModelDriver::Options{.root = roots[i],
                                      .shared = roots[i],
                                      .prefix = "",
                                      .seed = random(),
                                      .file_bytes_max = 256 << 10,
                                      .inode_count_max = 60,
                                      .on_durable = is_durable});
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i, choices = random()] {
      std::mt19937_64 own(choices);
      ModelDriver& driver = *drivers[i];
      for (int step = 0; step < steps && !driver.failed(); ++step) {
        driver.Step();
        if (own() % 15 != 0) continue;
        const size_t count = driver.history().size();
        EXPECT_OK(volume->SyncAll());
        recorder.Mark(TimelineMark(i, count));
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < kThreads; ++i) {
    ASSERT_FALSE(drivers[i]->failed());
    operation_count += drivers[i]->history().size();
  }
  ASSERT_OK(volume->Unmount());
  for (size_t i = 0; i < kThreads; ++i)
    recorder.Mark(TimelineMark(i, drivers[i]->history().size()));
  volume.reset();

  IoLog log = recorder.TakeLog();
  for (const LoggedIo& io : log.ios) copy_count += io.is_copy;
  std::vector<Timeline> timelines;
  for (const auto& driver : drivers)
    timelines.emplace_back(driver->base(), driver->history(), driver->is_own());
  std::vector<const Timeline*> pointers;
  for (const Timeline& timeline : timelines) pointers.push_back(&timeline);
  CrashChecker checker(pointers, {.volume = options,
                                  .seed = random(),
                                  .go_on_one_of = 5,
                                  .interrupt_one_of = 60});
  // A choice of the states that is spread over all of the log.
  const auto stops = static_cast<uint64_t>(std::ranges::count_if(
      log.ios, [](const LoggedIo& io) { return io.fua || io.kind == IoKind::kFlush; }));
  const uint64_t one_of = std::max<uint64_t>(1, stops * 3 / state_count_max);
  CrashReplay replay(std::move(initial), std::move(log),
                     {.seed = random(), .random_state_count = 3, .at_fua_writes = true});
  const Status status = replay.ForEachState([&](CrashState& state) {
    ++seen;
    return random() % one_of == 0 ? checker.Check(state) : OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status.error().ToString();
  counts = checker.counts();
}

TEST(CrashRandom, EachThreadLeavesAPrefix) {
  const uint64_t first = TestSeed(1);
  const uint64_t seeds = IsLongRun() ? 40 : 4;
  for (uint64_t seed = first; seed < first + seeds && !HasFailure(); ++seed) {
    RandomRun run(seed);
    run.Run(IsLongRun() ? 600 : 120, IsLongRun() ? 1000 : 60);
    std::cout << "seed " << seed << ": " << run.operation_count << " operations, "
              << run.copy_count << " copies by the device, " << run.counts.states
              << " states of " << run.seen << ", " << run.counts.interrupted_recoveries
              << " recoveries cut off with " << run.counts.states_of_recoveries
              << " states\n";
  }
}

}  // namespace
}  // namespace cofs
