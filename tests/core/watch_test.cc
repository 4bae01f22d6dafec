// A volume's watch over its device, and over who else has it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "base/log.h"
#include "extent_map/heartbeat.h"
#include "fs/core/watched_copies.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

class Watch : public ::testing::Test {
 protected:
  Watch() {
    SetLogSink([this](LogLevel, std::string_view line) {
      MutexLock lock(mutex_);
      log_ += std::string(line) + "\n";
    });
  }
  ~Watch() override { SetLogSink(nullptr); }
  std::string log() {
    MutexLock lock(mutex_);
    return log_;
  }
  static VolumeOptions Options(bool mmp) {
    VolumeOptions options = QuietOptions();
    options.stall_report_ms = 30;
    options.mmp = mmp;
    options.mmp_interval_ms = 150;
    return options;
  }
  template <typename Condition>
  static bool Await(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(milliseconds(2));
    }
    return true;
  }

  Mutex mutex_;
  std::string log_ GUARDED_BY(mutex_);
};

Result<Heartbeat> HeartbeatOf(MemoryDevice& memory) {
  std::string block(kBlockBytes, '\0');
  memory.Peek(kHeartbeatOffset.value(), block);
  return DecodeHeartbeat(block);
}

TEST_F(Watch, StalledIoIsInTheUsageUntilItComesBack) {
  TestVolume volume(256 << 20, Options(false));
  const InodeId file = MakeFile(*volume, kRootInode, "file");
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  volume.faults().Add(
      {.matches = [](const FaultPoint& p) { return p.kind == FaultKind::kFlush; },
       .stall = [released] { released.wait(); },
       .fails = false});
  std::thread worker([&] {
    EXPECT_OK(volume->Write(file, FileOffset{0}, std::string(4096, 'x'), {}));
    EXPECT_OK(volume->SyncAll());
  });
  EXPECT_TRUE(Await([&] { return volume->usage().stalls.oldest == "flush"; }));
  EXPECT_GE(volume->usage().stalls.stalled_now, 1u);
  EXPECT_FALSE(volume->usage().read_only) << "slow is not broken";
  release.set_value();
  worker.join();
  volume.faults().ClearFaults();
  EXPECT_TRUE(Await([&] { return volume->usage().stalls.stalled_now == 0; }));
  EXPECT_GE(volume->usage().stalls.stalled_count, 1u);
  EXPECT_THAT(log(), AllOf(HasSubstr("a flush has not come back"),
                           HasSubstr("the flush has come back after")));
  EXPECT_OK(volume.Unmount());
  volume.ExpectSound();
}

// A copy that does not come back, whatever way it takes.
class SlowEngine : public CopyEngine {
 public:
  explicit SlowEngine(std::shared_future<void> released) : released_(std::move(released)) {}
  Result<CopyReport> Copy(const CopyRequest&) override {
    released_.wait();
    return Error(ErrorCode::kTimedOut, "the drive");
  }
  CopyTotals totals() const override { return {}; }

 private:
  const std::shared_future<void> released_;
};

TEST_F(Watch, AStalledCopyIsToldOf) {
  std::promise<void> release;
  StallWatch watch(milliseconds(30));
  WatchedCopies copies(std::make_unique<SlowEngine>(release.get_future().share()), watch);
  std::thread worker([&] {
    const CopyPiece pieces[] = {{.source = DeviceOffset{1 << 20},
                                 .destination = DeviceOffset{2 << 20},
                                 .length_bytes = 8192},
                                {.source = DeviceOffset{5 << 20},
                                 .destination = DeviceOffset{6 << 20},
                                 .length_bytes = 4096}};
    CopyRequest request;
    request.pieces = pieces;
    EXPECT_CODE(kTimedOut, copies.Copy(request));
  });
  EXPECT_TRUE(Await([&] { return watch.totals().stalled_now == 1; }));
  EXPECT_EQ(watch.totals().oldest, "copy of 12288 bytes at 2097152");
  release.set_value();
  worker.join();
  EXPECT_EQ(watch.totals().stalled_now, 0u);
  EXPECT_THAT(log(), HasSubstr("has come back after"));
}

TEST_F(Watch, AVolumeThatBeatsIsMountedOnce) {
  TestVolume volume(256 << 20, Options(true));
  for (const bool mmp : {false, true})
    for (const bool read_only : {false, true}) {
      VolumeOptions options = Options(mmp);
      options.read_only = read_only;
      const auto second = Volume::Mount(Borrow(volume.memory()), options);
      EXPECT_CODE(kBusy, second);
    }
  EXPECT_OK(volume.Unmount());
  EXPECT_EQ(HeartbeatOf(volume.memory())->state, HeartbeatState::kEnded);
  volume.ExpectSound();
  EXPECT_OK(volume.Mount());
}

// Without the option nothing of it is written, and others are seen all the same.
TEST_F(Watch, WithoutTheOptionNothingIsWritten) {
  TestVolume volume(256 << 20, Options(false));
  EXPECT_OK(volume.Unmount());
  EXPECT_CODE(kNotFound, HeartbeatOf(volume.memory()));
}

TEST_F(Watch, AfterACrashItIsMountedAgain) {
  TestVolume volume(256 << 20, Options(true));
  MakeFile(*volume, kRootInode, "file");
  EXPECT_OK(volume->SyncAll());
  volume.Crash();
  EXPECT_EQ(HeartbeatOf(volume.memory())->state, HeartbeatState::kMounted);
  EXPECT_OK(volume.Mount());
  EXPECT_TRUE(HasEntry(*volume, kRootInode, "file"));
  EXPECT_THAT(log(), HasSubstr("left by a crash"));
  EXPECT_OK(volume.Unmount());
  volume.ExpectSound();
}

TEST_F(Watch, AMountThatFailsLeavesNoHeartbeat) {
  TestVolume volume(256 << 20, Options(true));
  EXPECT_OK(volume.Unmount());
  const auto formatted = volume.memory().Fork();
  // Some I/O in the middle of the mount fails.
  int refused = 0;
  for (uint64_t n = 12; n < 60; n += 6) {
    const auto memory = formatted->Fork();
    auto faults = std::make_unique<FaultDevice>(*memory);
    FaultDevice* const device = faults.get();
    device->Add({.matches = [n](const FaultPoint& p) { return p.number == n; }});
    auto mounted = Volume::Mount(std::move(faults), Options(true));
    if (mounted.ok()) continue;
    ++refused;
    EXPECT_EQ(HeartbeatOf(*memory)->state, HeartbeatState::kEnded) << n;
  }
  EXPECT_GT(refused, 0);
}

// The other one writes over the heartbeat, as a host does that has waited long enough.
TEST_F(Watch, AVolumeThatAnotherHostTookIsReadOnlyAtOnce) {
  TestVolume volume(256 << 20, Options(true));
  const InodeId file = MakeFile(*volume, kRootInode, "file");
  ASSERT_OK(volume->Write(file, FileOffset{0}, std::string(4096, 'x'), {}));
  ASSERT_OK(volume->SyncAll());
  Heartbeat other = *HeartbeatOf(volume.memory());
  other.holder.bytes[0] ^= 1;
  other.host = "beta";
  other.device = "/dev/vdb";
  volume.memory().Poke(kHeartbeatOffset.value(), EncodeHeartbeat(other));
  ASSERT_TRUE(Await([&] { return volume->usage().read_only; }));
  EXPECT_THAT(volume->usage().read_only_reason,
              AllOf(HasSubstr("another one has taken the volume"), HasSubstr("beta"),
                    HasSubstr("/dev/vdb")));
  const auto before = volume.memory().Fork();
  EXPECT_CODE(kReadOnly, volume->Create(kRootInode, "new", File()));
  EXPECT_CODE(kReadOnly, volume->Write(file, FileOffset{0}, std::string(4096, 'y'), {}));
  AlignedBuffer buffer;
  EXPECT_OK(volume->Read(file, FileOffset{0}, 4096, buffer));
  // Nothing is written any more, not even by the unmount.
  EXPECT_FALSE(volume.Unmount().ok());
  std::string was(256 << 10, '\0'), is(256 << 10, '\0');
  for (uint64_t at = 0; at < 256 << 20; at += was.size()) {
    before->Peek(at, was);
    volume.memory().Peek(at, is);
    ASSERT_EQ(was, is) << "around device offset " << at;
  }
}

}  // namespace
}  // namespace cofs
