// WatchedDevice: I/O that does not come back is told of, and a fenced device is not written.
#include "device/watched_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "base/aligned_buffer.h"
#include "base/log.h"
#include "device/fault_device.h"
#include "device/memory_device.h"
#include "tests/device/device_fixture.h"

namespace cofs {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

constexpr milliseconds kLimit{30};

class WatchedDeviceTest : public ::testing::Test {
 protected:
  WatchedDeviceTest() {
    SetLogSink([this](LogLevel, std::string_view line) {
      MutexLock lock(mutex_);
      log_ += std::string(line) + "\n";
    });
    auto faults = std::make_unique<FaultDevice>(memory_);
    faults_ = faults.get();
    device_ = std::make_unique<WatchedDevice>(std::move(faults), kLimit);
  }
  ~WatchedDeviceTest() override {
    device_.reset();
    SetLogSink(nullptr);
  }

  std::string log() {
    MutexLock lock(mutex_);
    return log_;
  }
  // I/O of this kind does not come back before release_.
  void Stall(FaultKind kind, bool fails = false) {
    faults_->Add({.matches = [kind](const FaultPoint& p) { return p.kind == kind; },
                  .stall = [this] { released_.wait(); },
                  .fails = fails});
  }
  // While `io` is away: it is told of. Then it comes back.
  void ExpectToldOf(const std::function<void()>& io, const std::string& words) {
    std::thread thread(io);
    StallTotals totals;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (((totals = device_->totals()).stalled_now == 0 || totals.stalled_count == 0) &&
           std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(milliseconds(1));
    EXPECT_EQ(totals.stalled_now, 1u);
    EXPECT_EQ(totals.stalled_count, 1u);
    EXPECT_EQ(totals.oldest, words);
    EXPECT_GE(totals.oldest_ms, static_cast<uint64_t>(kLimit.count()));
    // Once only.
    std::this_thread::sleep_for(2 * kLimit);
    EXPECT_EQ(device_->totals().stalled_count, 1u);
    EXPECT_THAT(log(), HasSubstr("a " + words + " has not come back"));
    EXPECT_THAT(log(), Not(HasSubstr("has come back after")));
    release_.set_value();
    thread.join();
    EXPECT_THAT(log(), HasSubstr("the " + words + " has come back after"));
    totals = device_->totals();
    EXPECT_EQ(totals.stalled_now, 0u);
    EXPECT_EQ(totals.oldest, "");
    EXPECT_GE(totals.longest_ms, static_cast<uint64_t>(kLimit.count()));
  }

  Mutex mutex_;
  std::string log_ GUARDED_BY(mutex_);
  std::promise<void> release_;
  std::shared_future<void> released_ = release_.get_future().share();
  MemoryDevice memory_{16 << 20};
  FaultDevice* faults_ = nullptr;
  std::unique_ptr<WatchedDevice> device_;
  AlignedBuffer block_ = AlignedBuffer::Zeroed(kBlockBytes);
};

TEST_F(WatchedDeviceTest, AStalledWriteIsToldOf) {
  Stall(FaultKind::kWrite);
  ExpectToldOf([&] { EXPECT_TRUE(device_->Write(DeviceOffset{8192}, block_.span()).ok()); },
               "write of 4096 bytes at 8192");
}

TEST_F(WatchedDeviceTest, AStalledFlushIsToldOfAndItsErrorToo) {
  Stall(FaultKind::kFlush, /*fails=*/true);
  ExpectToldOf([&] { EXPECT_TRUE(device_->Flush().Is(ErrorCode::kIo)); }, "flush");
  EXPECT_THAT(log(), HasSubstr("injected fault"));
}

TEST_F(WatchedDeviceTest, AStalledOperationOfAQueueIsToldOf) {
  Stall(FaultKind::kRead);
  ExpectToldOf(
      [&] {
        const auto queue = device_->NewQueue(4);
        IoOp op{.kind = IoKind::kRead, .offset = DeviceOffset{4096},
                .data = block_.data(), .length_bytes = kBlockBytes};
        queue->Submit(&op);
        EXPECT_EQ(queue->Reap(), &op);
        EXPECT_EQ(queue->Reap(), nullptr);
      },
      "read of 4096 bytes at 4096");
}

TEST_F(WatchedDeviceTest, OfSeveralTheFirstIsNamed) {
  Stall(FaultKind::kDiscard);
  ExpectToldOf(
      [&] {
        IoOp ops[2] = {{.kind = IoKind::kDiscard, .length_bytes = 8192},
                       {.kind = IoKind::kRead, .data = block_.data(),
                        .length_bytes = kBlockBytes}};
        EXPECT_TRUE(device_->Execute(ops).ok());
      },
      "discard of 8192 bytes at 0 and 1 more");
}

TEST_F(WatchedDeviceTest, WhatComesBackIsNotToldOf) {
  // So long that a busy machine does not make an operation late.
  constexpr milliseconds kLongLimit{500};
  WatchedDevice device(std::make_unique<FaultDevice>(memory_), kLongLimit);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(device.Write(DeviceOffset{0}, block_.span()).ok());
    ASSERT_TRUE(device.Flush().ok());
  }
  std::this_thread::sleep_for(2 * kLongLimit);
  EXPECT_EQ(device.totals().stalled_count, 0u);
  EXPECT_EQ(log(), "");
}

TEST_F(WatchedDeviceTest, AFencedDeviceIsReadAndNotWritten) {
  block_.data()[0] = 'a';
  ASSERT_TRUE(device_->Write(DeviceOffset{4096}, block_.span()).ok());
  const auto queue = device_->NewQueue(2);
  device_->Fence(Error(ErrorCode::kBusy, "host alpha has it"));
  const uint64_t writes = faults_->io_count() - faults_->io_count(FaultKind::kRead);
  const Status written = device_->Write(DeviceOffset{4096}, block_.span());
  ASSERT_TRUE(written.Is(ErrorCode::kIo));
  EXPECT_THAT(written.error().ToString(), HasSubstr("host alpha has it"));
  EXPECT_TRUE(device_->Flush().Is(ErrorCode::kIo));
  EXPECT_TRUE(device_->Discard({DeviceOffset{}, 4096}).Is(ErrorCode::kIo));
  EXPECT_TRUE(device_->WriteZeroes({DeviceOffset{}, 4096}).Is(ErrorCode::kIo));
  IoOp mixed[2] = {{.kind = IoKind::kWrite, .data = block_.data(), .length_bytes = 4096},
                   {.kind = IoKind::kRead, .offset = DeviceOffset{4096},
                    .data = block_.data(), .length_bytes = 4096}};
  EXPECT_TRUE(device_->Execute(mixed).Is(ErrorCode::kIo));
  EXPECT_TRUE(mixed[0].error.has_value());
  EXPECT_FALSE(mixed[1].error.has_value());
  EXPECT_EQ(block_.data()[0], 'a');
  IoOp queued{.kind = IoKind::kWrite, .data = block_.data(), .length_bytes = 4096};
  queue->Submit(&queued);
  EXPECT_EQ(queue->in_flight(), 1u);
  EXPECT_EQ(queue->Reap(), &queued);
  EXPECT_TRUE(queued.error.has_value());
  EXPECT_EQ(queue->Reap(), nullptr);
  EXPECT_EQ(faults_->io_count() - faults_->io_count(FaultKind::kRead), writes);
}

}  // namespace
}  // namespace cofs
