// The mounted file system against a model in memory: many threads, random system calls
// through the kernel, copies and clones among them; between rounds the volume is mounted
// anew, or its daemon is killed.
//
// COFS_SEED=n replays a run (each thread's calls follow from it; how they interleave, and
// where a kill meets them, does not). COFS_LONG=1 runs for ten minutes,
// COFS_MODEL_SECONDS=n for so long.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <thread>

#include "tests/mount/file_io.h"
#include "tests/mount/model_driver.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

constexpr int kThreads = 4;

// How a round ends.
enum class Ending {
  kUnmount,       // cleanly, with dirty pages in the kernel
  kKillSynced,    // kill -9 after everything was synced: all of it is there
  kKillAnywhere,  // kill -9 in the middle: a prefix of each thread's calls is there
};

std::chrono::seconds RunTime() {
  const char* is_long = getenv("COFS_LONG");
  if (is_long != nullptr && std::string(is_long) == "1") return std::chrono::seconds(600);
  const char* text = getenv("COFS_MODEL_SECONDS");
  return std::chrono::seconds(text != nullptr ? std::atoi(text) : 0);
}

class ModelTest : public CofsMountTest {
 protected:
  ModelTest() : ModelTest(VolumeSetup{.size_bytes = uint64_t{1} << 30}) {}
  explicit ModelTest(VolumeSetup setup) : CofsMountTest(std::move(setup)) {}

  void Run(int rounds);
  void RunRound(Ending ending, int steps);
  bool AnyFailed() const {
    for (const auto& driver : drivers_)
      if (driver->failed()) return true;
    return HasFailure();
  }

  std::mt19937_64 random_{Seed()};
  std::vector<std::unique_ptr<MountDriver>> drivers_;
};

void ModelTest::Run(int rounds) {
  MakeDirectory(Path("shared"));
  for (int i = 0; i < kThreads; ++i) {
    MakeDirectory(Path("tree" + std::to_string(i)));
    drivers_.push_back(std::make_unique<MountDriver>(
        MountDriver::Options{.root = Path("tree" + std::to_string(i)),
                             .shared = Path("shared"),
                             .mount_point = root(),
                             .prefix = "t" + std::to_string(i) + "-",
                             .seed = random_()}));
  }
  SyncDirectory(root());
  const auto end = std::chrono::steady_clock::now() + RunTime();
  int round = 0;
  for (; !AnyFailed() && (round < rounds || std::chrono::steady_clock::now() < end);
       ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    RunRound(static_cast<Ending>(round % 3), static_cast<int>(150 + random_() % 200));
  }
  uint64_t operations = 0, copies = 0, clones = 0, syncs = 0;
  for (const auto& driver : drivers_) {
    operations += driver->operation_count();
    copies += driver->copy_count();
    clones += driver->clone_count();
    syncs += driver->sync_count();
    driver->CloseAll();
  }
  std::cout << round << " rounds, " << operations << " operations, " << copies
            << " copies, " << clones << " clones, " << syncs << " syncs to be kept\n";
  EXPECT_GT(copies, 0u);
}

void ModelTest::RunRound(Ending ending, int steps) {
  // A kill in the middle takes the kernel's dirty pages: then there are none.
  const bool writes_through = ending == Ending::kKillAnywhere;
  volume().Unmount();
  volume().Mount(writes_through ? "nowriteback_cache" : "");
  for (const auto& driver : drivers_) {
    driver->set_writes_through(writes_through);
    driver->Remounted();
  }
  if (AnyFailed()) return;
  std::atomic<int> done{0};
  const int kill_at = static_cast<int>(random_() % static_cast<uint64_t>(kThreads * steps));
  InThreads(kThreads, [&](int thread) {
    MountDriver& driver = *drivers_[static_cast<size_t>(thread)];
    for (int step = 0; step < steps && driver.Step(); ++step) {
      if (done++ == kill_at && ending == Ending::kKillAnywhere)
        volume().SignalDaemon(SIGKILL);
    }
  });
  if (AnyFailed()) return;
  if (ending == Ending::kKillAnywhere) {
    volume().Kill();
    // Files that are open would keep the dead mount of a block device, and the device.
    for (const auto& driver : drivers_) driver->CloseAll();
  } else {
    for (const auto& driver : drivers_) {
      driver->Check();
      driver->CloseAll();
    }
    if (AnyFailed()) return;
    if (ending == Ending::kKillSynced) {
      const Fd fd = Open(root(), O_RDONLY | O_DIRECTORY);
      ASSERT_TRUE(Succeeds(syncfs(fd.get())));  // of a plain mount: up to the daemon
      ASSERT_TRUE(Succeeds(fsync(fd.get())));
      volume().Kill();
    } else {
      volume().Unmount();
    }
  }
  volume().Check();
  volume().Mount();
  for (const auto& driver : drivers_) {
    if (ending == Ending::kKillAnywhere)
      driver->Recovered();
    else
      driver->Remounted();
  }
}

TEST_F(ModelTest, ThreadsCopiesRemountsAndKills) { Run(9); }

class BlockDeviceModelTest : public ModelTest {
 protected:
  BlockDeviceModelTest()
      : ModelTest(VolumeSetup{.size_bytes = uint64_t{1} << 30, .block_device = true}) {}
};

TEST_F(BlockDeviceModelTest, ThreadsCopiesRemountsAndKills) { Run(3); }

}  // namespace
}  // namespace cofs
