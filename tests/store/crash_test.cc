// Power cuts: whatever a recorded workload may leave behind, the store opens with every
// batch that was committed, and holds exactly a prefix of all.
#include <gtest/gtest.h>

#include <cstdio>

#include "device/crash_replay.h"
#include "device/memory_device.h"
#include "device/recording_device.h"
#include "tests/store/test_volume.h"
#include "tests/store/workload.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 64 << 20;

struct Recording {
  std::unique_ptr<MemoryDevice> initial;
  IoLog log;
  StoreUsage usage;
};

// Marks carry how many batches a completed commit covers.
Recording Record(const Workload& workload, uint64_t seed, bool is_closed) {
  MemoryDevice memory(kVolumeBytes);
  const Status formatted = FormatTestVolume(memory);
  CHECK(formatted.ok(), formatted.error().ToString());
  Recording recording;
  recording.initial = memory.Fork();
  RecordingDevice device(memory);
  TestSpace space(kReservedEnd + Store::InitialPoolBytes(kVolumeBytes),
                  DeviceOffset{kVolumeBytes});
  {
    auto volume = OpenTestVolume(device);
    CHECK(volume.ok(), volume.error().ToString());
    volume->store->StartGrowing(&space);
    std::mt19937_64 random(seed);
    for (int n = 1; n <= workload.batch_count(); ++n) {
      const Status written = volume->store->Write(workload.MakeBatch(n));
      CHECK(written.ok(), written.error().ToString());
      if (random() % 6 == 0) {
        const Status committed = volume->store->Commit();
        CHECK(committed.ok(), committed.error().ToString());
        device.Mark(static_cast<uint64_t>(n));
      }
    }
    recording.usage = volume->store->usage();
    if (is_closed) {
      const Status closed = volume->store->Close();
      CHECK(closed.ok(), closed.error().ToString());
      device.Mark(static_cast<uint64_t>(workload.batch_count()));
    }
  }
  recording.log = device.TakeLog();
  return recording;
}

// Opens the image, checks it, goes on with the workload, loses power again, checks again.
Status CheckState(const Workload& workload, CrashState& state, uint64_t number) {
  const int committed = state.marks.empty() ? 0 : static_cast<int>(state.marks.back());
  int count = 0;
  {
    StoreOptions options;
    options.read_only = number % 4 == 0;
    options.cache_bytes = 1 << 20;
    TRY_ASSIGN(auto volume, OpenTestVolume(*state.image, options));
    TRY_ASSIGN(count, workload.CountBatches(*volume.store));
    if (count < committed)
      return Error(Workload::kDifference,
                   StrCat("holds ", count, " batches, ", committed, " were committed"));
    if (options.read_only || count == workload.batch_count()) return OkStatus();
    ++count;
    TRY(volume.store->Write(workload.MakeBatch(count)));
    TRY(volume.store->Commit());
    if (number % 4 == 1) TRY(volume.store->Close());
  }
  TRY_ASSIGN(auto volume, OpenTestVolume(*state.image));
  TRY_ASSIGN(const int again, workload.CountBatches(*volume.store));
  if (again != count)
    return Error(Workload::kDifference,
                 StrCat("held ", count, " batches, after a second crash ", again));
  return OkStatus();
}

void RunSeed(uint64_t seed, uint64_t state_count_max) {
  Workload::Options options;
  options.seed = seed;
  options.batch_count = 400;
  options.has_large_batches = seed % 2 == 0;
  const Workload workload(options);
  Recording recording = Record(workload, seed, seed % 3 == 0);
  EXPECT_GT(recording.usage.table_file_count, 0u);
  EXPECT_GT(recording.usage.pool_bytes, Store::InitialPoolBytes(kVolumeBytes));

  CrashReplay::Options replay_options;
  replay_options.seed = seed;
  replay_options.random_state_count = 3;
  // A choice of the states that is spread over all of the log and follows from the seed.
  const uint64_t about = 5 * recording.log.ios.size();
  const uint64_t one_of = std::max<uint64_t>(1, about / state_count_max);
  CrashReplay replay(std::move(recording.initial), std::move(recording.log),
                     replay_options);
  std::mt19937_64 random(seed);
  uint64_t seen = 0, checked = 0;
  const Status status = replay.ForEachState([&](CrashState& state) {
    ++seen;
    if (random() % one_of != 0) return OkStatus();
    return CheckState(workload, state, checked++);
  });
  EXPECT_TRUE(status.ok()) << "seed " << seed << ": " << status.error().ToString();
  std::printf("seed %llu: %llu of %llu states\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(checked),
              static_cast<unsigned long long>(seen));
}

TEST(StoreCrashTest, EveryStateIsAPrefix) {
  const uint64_t first = TestSeed(1);
  const uint64_t seeds = TestCount("COFS_SEED_COUNT", 4);
  const uint64_t states = TestCount("COFS_STATE_COUNT", 60);
  for (uint64_t seed = first; seed < first + seeds && !HasFailure(); ++seed)
    RunSeed(seed, states);
}

}  // namespace
}  // namespace cofs
