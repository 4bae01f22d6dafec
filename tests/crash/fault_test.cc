// The N-th I/O of the device fails, for N over a workload of all operations: an errno for
// whoever asked, a volume that is read-only where it must be, a sound volume after the
// remount, and all that was acknowledged in it, whatever a power cut after the failure
// takes of what was not flushed.
//
// COFS_LONG=1: every N; else some 35 of each kind, chosen by COFS_SEED.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <future>
#include <iostream>
#include <thread>

#include "base/check.h"
#include "base/log.h"
#include "device/fault_device.h"
#include "device/file_device.h"
#include "mkfs/format.h"
#include "tests/core/test_volume.h"
#include "tests/crash/crash_checker.h"
#include "tests/crash/scene.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 64 << 20;
constexpr uint64_t kRunsOfTheShortForm = 35;

std::unique_ptr<MemoryDevice> FormattedCopyingMemory() {
  MemoryDevice::Options options;
  options.copy_limits = DeviceCopyLimits{
      .segment_bytes_max = 8192, .command_bytes_max = 16384, .segments_max = 4};
  auto memory = std::make_unique<MemoryDevice>(kVolumeBytes, options);
  const auto formatted = FormatDevice(*memory, {});
  CHECK(formatted.ok(), formatted.ok() ? "" : formatted.error().ToString());
  return memory;
}

// Copies by the device that may not fall back, or that may.
VolumeOptions FaultOptions(bool only_device_copies = true) {
  VolumeOptions options = QuietOptions();
  options.cache_bytes = 1 << 20;  // so that there are reads
  if (only_device_copies) options.copy = CopyRangePolicy::kDevice;
  return options;
}

// Every operation once, in five scenes, with acknowledgements between.
void RunWorkload(History& history) {
  uint64_t turn = 0;
  const auto& operations = SceneOperations();
  for (size_t first = 0; first < operations.size(); first += 9) {
    const Scene scene =
        Scene::Make(history, Numbered("s", static_cast<int64_t>(first)));
    for (size_t i = first; i < std::min(first + 9, operations.size()); ++i) {
      operations[i].run(history, scene);
      if (i % 3 == 2) Persist(history, scene, turn++);
    }
    Persist(history, scene, turn++);
    scene.Leave(history);
  }
}

// All data is read while the volume is mounted: what can be read is right.
void ReadBack(History& history) {
  for (const auto& [id, node] : history.model().nodes()) {
    if (!node.is_file() || node.link_count == 0) continue;
    AlignedBuffer buffer;
    const auto read =
        history.volume().Read(id, FileOffset{0}, node.size_bytes() + 1, buffer);
    if (!read.ok()) {
      EXPECT_CODE(kIo, read) << read.error().ToString();
      continue;
    }
    const std::string wanted = node.data == nullptr ? "" : *node.data;
    if (!history.last_gasp()) {
      EXPECT_TRUE(std::string_view(read->data(), read->size()) == wanted) << id;
    }
  }
}

struct FaultCase {
  const char* name;
  uint64_t torn_sector_count = 0;
  bool all_from_there = false;
  std::optional<FaultKind> only = {};
};

struct RunCounts {
  uint64_t runs = 0, failed = 0, latched = 0, mounts_refused = 0, states = 0;
};

class FailingDevice : public ::testing::TestWithParam<FaultCase> {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kError);
    SetLogSink([](LogLevel, std::string_view) {});
  }
  void TearDown() override {
    SetLogSink(nullptr);
    SetLogLevel(LogLevel::kInfo);
  }

  bool Counts(const FaultPoint& point) const {
    return !GetParam().only || point.kind == *GetParam().only;
  }
  // I/Os without a failure, of the kind that is to fail.
  struct IoCounts {
    uint64_t mount = 0, all = 0;
  };
  IoCounts CountIos(const MemoryDevice& formatted) {
    const auto memory = formatted.Fork();
    FaultDevice counting(*memory);
    const auto count = [&] {
      return GetParam().only ? counting.io_count(*GetParam().only) : counting.io_count();
    };
    auto volume = Volume::Mount(Borrow(counting), FaultOptions()).value();
    const uint64_t mount = count();
    History history(*volume, {});
    RunWorkload(history);
    EXPECT_OK(volume->Unmount());
    return {mount, count()};
  }
  // Which I/Os are to fail: in the short form a few of the mount's, most of them trials
  // of copies, and more of the rest.
  static std::vector<uint64_t> Choose(const IoCounts& counts, std::mt19937_64& random) {
    std::vector<uint64_t> chosen;
    const auto choose = [&](uint64_t begin, uint64_t end, uint64_t count) {
      const uint64_t step =
          IsLongRun() ? 1 : std::max<uint64_t>((end - begin) / count, 1);
      for (uint64_t n = begin + 1 + random() % step; n <= end; n += step)
        chosen.push_back(n);
    };
    choose(0, counts.mount, kRunsOfTheShortForm / 4);
    choose(counts.mount, counts.all, kRunsOfTheShortForm);
    return chosen;
  }
  void RunOne(const MemoryDevice& formatted, uint64_t n, uint64_t seed);
  void CheckAfterwards(History& history, std::unique_ptr<MemoryDevice> initial,
                       IoLog log, uint64_t seed);

  RunCounts counts_;
};

void FailingDevice::RunOne(const MemoryDevice& formatted, uint64_t n, uint64_t seed) {
  const FaultCase& fault = GetParam();
  const auto memory = formatted.Fork();
  auto initial = formatted.Fork();
  FaultDevice faults(*memory);
  RecordingDevice recorder(faults);
  uint64_t seen = 0;  // under the lock of the device
  faults.Add({.matches =
                  [&, this](const FaultPoint& point) {
                    if (!Counts(point)) return false;
                    ++seen;
                    return fault.all_from_there ? seen >= n : seen == n;
                  },
              .torn_sector_count = fault.torn_sector_count});
  ++counts_.runs;
  auto volume = Volume::Mount(Borrow(recorder), FaultOptions(seed % 2 == 0));
  if (!volume.ok()) {
    ++counts_.mounts_refused;
    EXPECT_CODE(kIo, volume) << volume.error().ToString();
    faults.ClearFaults();
    ExpectSoundDevice(*memory);
    return;
  }
  History history(**volume, {.recorder = &recorder, .device_fails = true});
  RunWorkload(history);
  ReadBack(history);
  const VolumeUsage usage = (*volume)->usage();
  if (usage.read_only) {
    ++counts_.latched;
    EXPECT_NE("", usage.read_only_reason);
    EXPECT_FALSE((*volume)->SyncAll().ok()) << "acknowledged after a failure";
    EXPECT_CODE(kReadOnly, (*volume)->Create(kRootInode, "late", File()));
    EXPECT_CODE(kReadOnly, (*volume)->SetXattr(kRootInode, "user.late", "", XattrMode::kSet));
  }
  if (history.failed_count() != 0) ++counts_.failed;
  const Status unmounted = (*volume)->Unmount();
  if (usage.read_only) {
    EXPECT_FALSE(unmounted.ok()) << "a clean unmount after a failure";
  }
  if (unmounted.ok()) history.Durable();
  volume->reset();
  faults.ClearFaults();
  CheckAfterwards(history, std::move(initial), recorder.TakeLog(), seed);
}

void FailingDevice::CheckAfterwards(History& history,
                                    std::unique_ptr<MemoryDevice> initial, IoLog log,
                                    uint64_t seed) {
  std::vector<History::Change> changes = history.changes();
  if (history.last_gasp()) changes.push_back(*history.last_gasp());
  const Timeline timeline(history.base(), std::move(changes),
                          [](std::string_view name) { return name[0] != '~'; });
  CrashChecker checker({&timeline}, {.volume = FaultOptions(),
                                     .seed = seed,
                                     .go_on_one_of = 2,
                                     .interrupt_one_of = 0});
  const EventNumber end = log.event_count;
  CrashReplay replay(std::move(initial), std::move(log),
                     {.seed = seed, .random_state_count = 1, .at_fua_writes = false});
  const Status status = replay.ForEachState([&](CrashState& state) {
    // Before the failure the states are those of other tests.
    return state.event == end ? checker.Check(state) : OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status.error().ToString();
  counts_.states += checker.counts().states;
}

TEST_P(FailingDevice, NothingAcknowledgedIsLost) {
  const uint64_t seed = TestSeed(1);
  std::mt19937_64 random(seed);
  const auto formatted = FormattedCopyingMemory();
  const IoCounts io_counts = CountIos(*formatted);
  ASSERT_FALSE(HasFailure());
  for (const uint64_t n : Choose(io_counts, random)) {
    SCOPED_TRACE(StrCat("I/O ", n, " of ", io_counts.all));
    RunOne(*formatted, n, random());
    if (HasFailure()) return;
  }
  std::cout << counts_.runs << " runs with " << io_counts.all << " I/Os each ("
            << io_counts.mount << " of the mount): an error in "
            << counts_.failed << ", read-only in " << counts_.latched << ", no mount in "
            << counts_.mounts_refused << "; " << counts_.states << " states afterwards\n";
  if (io_counts.all > 10) {
    EXPECT_GT(counts_.failed + counts_.mounts_refused, 0u);
  }
}

// The host file system under a sparse image runs full: all that lies behind a limit of the
// image can't be written. A limit on file sizes fails such writes as a full host does.
TEST(FullHost, WritesFailAndNothingElse) {
  SetLogSink([](LogLevel, std::string_view) {});
  const std::string path = ::testing::TempDir() + "/crash_fault_test.img." +
                           std::to_string(::getpid());
  struct Cleanup {
    const std::string& path;
    rlimit limit{};
    ~Cleanup() {
      ::setrlimit(RLIMIT_FSIZE, &limit);
      ::unlink(path.c_str());
      SetLogSink(nullptr);
    }
  } cleanup{path};
  ::getrlimit(RLIMIT_FSIZE, &cleanup.limit);
  FormatOptions format;
  format.size_bytes = kVolumeBytes;
  ASSERT_OK(FormatVolume(path, format));
  ::signal(SIGXFSZ, SIG_IGN);
  const auto mount = [&]() -> Result<std::unique_ptr<Volume>> {
    TRY_ASSIGN(auto device, FileDevice::Open(path, OpenMode::kReadWrite, {}));
    return Volume::Mount(std::move(device), QuietOptions());
  };
  auto volume = mount().value();
  History history(*volume, {.device_fails = true});
  const Scene scene = Scene::Make(history, "scene");
  history.SyncAll();
  rlimit limit = cleanup.limit;
  limit.rlim_cur = 32 << 20;
  ASSERT_EQ(0, ::setrlimit(RLIMIT_FSIZE, &limit));
  for (int64_t i = 0; i < 100 && history.failed_count() < 5; ++i) {
    const InodeId file =
        history.Create(scene.dir, Numbered("large", i), File());
    if (file.value() == 0) continue;
    history.Write(file, 0, 1 << 20);
    history.SyncAll();
    volume->Forget(file, 1);
  }
  EXPECT_EQ(5u, history.failed_count()) << "64 MiB below a limit of 32 MiB";
  ReadBack(history);
  scene.Leave(history);
  volume->Unmount().IgnoreError("the host is full");
  volume.reset();
  ::setrlimit(RLIMIT_FSIZE, &cleanup.limit);

  std::vector<History::Change> changes = history.changes();
  if (history.last_gasp()) changes.push_back(*history.last_gasp());
  const auto all = [](std::string_view) { return true; };
  const Timeline timeline(history.base(), std::move(changes), all);
  volume = mount().value();
  EXPECT_TRUE(timeline.Find(ReadTree(*volume, kRootInode, kRootInode, all),
                            history.durable_count()));
  ASSERT_OK(volume->Unmount());
}

// An I/O that does not come back for a while keeps up those who need it, and nobody else;
// then it succeeds, and everything is as if it had not happened.
TEST(StalledDevice, OthersGoOn) {
  std::mt19937_64 random(TestSeed(1));
  const auto formatted = FormattedCopyingMemory();
  uint64_t io_count = 0;
  {
    const auto memory = formatted->Fork();
    FaultDevice counting(*memory);
    auto volume = Volume::Mount(Borrow(counting), FaultOptions()).value();
    const uint64_t before = counting.io_count();
    History history(*volume, {});
    RunWorkload(history);
    io_count = counting.io_count() - before;
  }
  const uint64_t step =
      IsLongRun() ? 1 : std::max<uint64_t>(io_count / kRunsOfTheShortForm, 1);
  uint64_t stalled_count = 0;
  for (uint64_t n = 1 + random() % step; n <= io_count; n += step) {
    SCOPED_TRACE(StrCat("I/O ", n, " of ", io_count));
    const auto memory = formatted->Fork();
    FaultDevice faults(*memory);
    auto volume = Volume::Mount(Borrow(faults), FaultOptions()).value();
    const InodeId other = volume->Create(kRootInode, "~other", File())->id;
    ASSERT_OK(volume->Write(other, FileOffset{0}, CrashBytes(7, 20'000), {}));
    ASSERT_OK(volume->SyncAll());

    std::promise<void> reached, release;
    std::shared_future<void> released = release.get_future().share();
    const uint64_t number = faults.io_count() + n;
    faults.Add({.matches =
                    [number](const FaultPoint& point) { return point.number == number; },
                .stall =
                    [&] {
                      reached.set_value();
                      released.wait();
                    },
                .fails = false});
    History history(*volume, {});
    std::atomic<bool> has_ended{false};
    std::thread worker([&] {
      RunWorkload(history);
      has_ended = true;
    });
    auto is_reached = reached.get_future();
    while (!has_ended && is_reached.wait_for(std::chrono::milliseconds(5)) !=
                             std::future_status::ready) {
    }
    if (!has_ended) {
      ++stalled_count;
      AlignedBuffer buffer;
      const auto read = volume->Read(other, FileOffset{0}, 20'001, buffer);
      EXPECT_OK(read);
      EXPECT_TRUE(read.ok() && std::string_view(read->data(), read->size()) ==
                                   CrashBytes(7, 20'000));
      EXPECT_OK(volume->GetAttributes(kRootInode));
      EXPECT_FALSE(volume->usage().read_only);
    }
    release.set_value();
    worker.join();
    volume->Forget(other, 1);
    const auto is_own = [](std::string_view name) { return name[0] != '~'; };
    ExpectSame(history.model(), ReadTree(*volume, kRootInode, kRootInode, is_own));
    ASSERT_OK(volume->Unmount());
    volume.reset();
    ExpectSoundDevice(*memory);
    if (HasFailure()) return;
  }
  std::cout << stalled_count << " stalled I/Os\n";
  EXPECT_GT(stalled_count, kRunsOfTheShortForm / 2);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, FailingDevice,
    ::testing::Values(
        FaultCase{.name = "Once"}, FaultCase{.name = "Torn", .torn_sector_count = 3},
        FaultCase{.name = "Short", .torn_sector_count = 8},
        FaultCase{.name = "FromThereOn", .all_from_there = true},
        FaultCase{.name = "Flush", .only = FaultKind::kFlush},
        FaultCase{.name = "Read", .only = FaultKind::kRead},
        FaultCase{.name = "Copy", .torn_sector_count = 5, .only = FaultKind::kCopy}),
    [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace cofs
