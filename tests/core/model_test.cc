// The whole core against a naive model, from one and from several threads, with
// remounts and crashes.
//
// COFS_SEED=n replays a run; COFS_LONG=1 runs for minutes.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <thread>

#include "base/check.h"
#include "device/crash_replay.h"
#include "device/recording_device.h"
#include "mkfs/format.h"
#include "tests/core/model_driver.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

VolumeOptions RandomOptions(std::mt19937_64& random) {
  VolumeOptions options;
  options.commit_interval_ms = random() % 2 == 0 ? 5 : 3'600'000;
  options.cache_bytes = random() % 2 == 0 ? 1 << 20 : 32 << 20;
  options.discard = random() % 2 == 0;
  options.atime = static_cast<AtimePolicy>(random() % 3);
  options.copy = random() % 3 == 0 ? CopyRangePolicy::kShare : CopyRangePolicy::kAuto;
  return options;
}

bool RandomlySync(std::mt19937_64& random, Volume& volume, ModelDriver& driver) {
  if (random() % 40 != 0) return false;
  EXPECT_OK(volume.SyncAll());
  driver.Synced();
  return true;
}

TEST(Model, OneThread) {
  const uint64_t seed = TestSeed(1);
  std::mt19937_64 random(seed);
  const int rounds = IsLongRun() ? 400 : 8;
  TestVolume volume(128 << 20, RandomOptions(random));
  ModelDriver driver(
      *volume,
      {.root = kRootInode, .shared = kRootInode, .prefix = "", .seed = random()});
  for (int round = 0; round < rounds && !driver.failed(); ++round) {
    const uint64_t steps = 50 + random() % 350;
    for (uint64_t i = 0; i < steps && !driver.failed(); ++i) {
      driver.Step();
      RandomlySync(random, *volume, driver);
    }
    driver.Check();
    if (driver.failed()) break;
    const VolumeOptions options = RandomOptions(random);
    if (round % 2 == 0) {
      volume.Crash();
      volume.ExpectSound();
      ASSERT_OK(volume.Mount(options));
      driver.Recovered(*volume);
    } else {
      if (random() % 2 == 0) driver.ForgetAll();
      ASSERT_OK(volume.Unmount());
      volume.ExpectSound();
      ASSERT_OK(volume.Mount(options));
      driver.Remounted(*volume);
    }
  }
}

// A volume so small that it is full all the time: whatever is refused has changed
// nothing, and what is removed makes room again.
TEST(Model, AFullVolume) {
  const uint64_t seed = TestSeed(2);
  std::mt19937_64 random(seed);
  TestVolume volume(64 << 20, RandomOptions(random));
  // Leave a MiB.
  const auto filler = volume->Create(kRootInode, "filler", File());
  ASSERT_OK(filler);
  volume->Forget(filler->id, 1);
  FileOffset offset{0};
  const std::string chunk(1 << 20, 'f');
  while (volume->Write(filler->id, offset, chunk, {}).ok()) offset += chunk.size();
  ASSERT_OK(
      volume->SetAttributes(filler->id, {.size_bytes = offset.value() - (512 << 10)}));
  ASSERT_OK(volume->SyncAll());
  const InodeId root = MakeDirectory(*volume, kRootInode, "d");
  ModelDriver driver(*volume, {.root = root,
                               .shared = root,
                               .prefix = "",
                               .seed = random(),
                               .file_bytes_max = 512 << 10,
                               .may_be_full = true});
  const int rounds = IsLongRun() ? 100 : 3;
  for (int round = 0; round < rounds && !driver.failed(); ++round) {
    for (int i = 0; i < 250 && !driver.failed(); ++i) driver.Step();
    driver.Check();
    if (driver.failed()) break;
    ASSERT_OK(volume.Unmount());
    volume.ExpectSound();
    ASSERT_OK(volume.Mount());
    driver.Remounted(*volume);
  }
  EXPECT_GT(driver.no_space_count(), 0u) << "the volume was never full";
}

TEST(Model, SeveralThreads) {
  constexpr int kThreads = 3;
  const uint64_t seed = TestSeed(3);
  std::mt19937_64 random(seed);
  VolumeOptions first_options = RandomOptions(random);
  TestVolume volume(256 << 20, first_options);
  const InodeId shared = MakeDirectory(*volume, kRootInode, "shared");
  std::vector<std::unique_ptr<ModelDriver>> drivers;
  for (int i = 0; i < kThreads; ++i) {
    const InodeId root = MakeDirectory(*volume, kRootInode, Numbered("tree", i));
    drivers.push_back(std::make_unique<ModelDriver>(
        *volume, ModelDriver::Options{.root = root,
                                      .shared = shared,
                                      .prefix = Numbered("t", i) + "-",
                                      .seed = random()}));
  }
  const auto any_failed = [&] {
    return std::ranges::any_of(drivers, [](const auto& d) { return d->failed(); });
  };
  const int rounds = IsLongRun() ? 200 : 4;
  for (int round = 0; round < rounds && !any_failed(); ++round) {
    const uint64_t steps = 100 + random() % 200;
    std::vector<std::thread> threads;
    for (const auto& driver : drivers)
      threads.emplace_back([&, steps] {
        for (uint64_t i = 0; i < steps && !driver->failed(); ++i) {
          driver->Step();
          if (i % 61 == 60) {
            EXPECT_OK(volume->SyncAll());
          }
        }
      });
    for (std::thread& thread : threads) thread.join();
    for (const auto& driver : drivers) driver->Check();
    if (any_failed()) break;
    const VolumeOptions options = RandomOptions(random);
    if (round % 2 == 0) {
      ASSERT_OK(volume->SyncAll());
      volume.Crash();
    } else {
      ASSERT_OK(volume.Unmount());
    }
    volume.ExpectSound();
    ASSERT_OK(volume.Mount(options));
    for (const auto& driver : drivers) driver->Remounted(*volume);
  }
}

// Every state that a power cut may leave on a device with a volatile cache: what was
// synced is there, and what is there is a prefix of what was done.
TEST(Model, PowerCuts) {
  const uint64_t seed = TestSeed(4);
  std::mt19937_64 random(seed);
  const auto memory = FormattedMemory(64 << 20);
  auto initial = memory->Fork();
  RecordingDevice recorder(*memory, random());
  VolumeOptions options = QuietOptions();
  options.discard = random() % 2 == 0;
  auto volume = Volume::Mount(Borrow(recorder), options).value();
  ModelDriver driver(*volume, {.root = kRootInode,
                               .shared = kRootInode,
                               .prefix = "",
                               .seed = random(),
                               .file_bytes_max = 32 << 10});
  const int steps = IsLongRun() ? 600 : 100;
  for (int i = 0; i < steps && !driver.failed(); ++i) {
    driver.Step();
    if (random() % 12 != 0) continue;
    ASSERT_OK(volume->SyncAll());
    recorder.Mark(driver.history().size());
  }
  ASSERT_FALSE(driver.failed());
  ASSERT_OK(volume->Unmount());
  recorder.Mark(driver.history().size());
  volume.reset();

  CrashReplay replay(std::move(initial), recorder.TakeLog(),
                     {.seed = random(),
                      .random_state_count = IsLongRun() ? 4u : 1u,
                      .at_fua_writes = IsLongRun()});
  int state_count = 0;
  const Status visited = replay.ForEachState([&](CrashState& state) -> Status {
    ++state_count;
    const size_t durable = state.marks.empty() ? 0 : state.marks.back();
    ExpectSoundDevice(*state.image);
    auto remounted = Volume::Mount(std::move(state.image), options);
    if (!remounted.ok()) return remounted.error().Within("mount");
    const Model found = ReadTree(**remounted, kRootInode, kRootInode, driver.is_own());
    Model reached = driver.base();
    if (::testing::Test::HasFailure() ||
        !FindPrefix(driver.base(), driver.history(), durable, found, reached))
      return Error(ErrorCode::kCorrupt,
                   StrCat("no prefix of at least ", durable, " operations"));
    TRY((*remounted)->DrainRemoved());
    return (*remounted)->Unmount();
  });
  EXPECT_TRUE(visited.ok()) << visited.error().ToString();
  EXPECT_GT(state_count, 20);
  std::cout << state_count << " states\n";
}

}  // namespace
}  // namespace cofs
