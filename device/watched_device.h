// WatchedDevice: wraps a device and reports I/O that does not come back.
//
// An operation that has been under way for longer than a limit is reported in the log,
// once, with what it is and where; again when it has come back; and in totals() for as
// long as it is away. Nothing else happens to it: a timeout is not a completion, and its
// memory and its blocks stay its own.
//
// Several operations of one Execute() are one here, named by the first. What ways of
// copying send to a drive past BlockDevice, whoever sends it puts on the same watch.
//
// It is also where a volume that was lost to another host stops changing: Fence().
//
// Thread-safety: as BlockDevice. One thread looks at what is under way, four times within
// the limit. An operation costs two uncontended locks of one of sixteen mutexes.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "device/block_device.h"

namespace cofs {

struct StallTotals {
  uint64_t limit_ms = 0;       // 0: nobody watches
  uint64_t stalled_now = 0;    // away for longer than the limit
  uint64_t stalled_count = 0;  // since the device was opened, those of now included
  uint64_t longest_ms = 0;     // the longest of them
  std::string oldest;          // of now, in words: "write of 4096 bytes at 1048576"
  uint64_t oldest_ms = 0;
};

// What is under way. Watches until it is destroyed.
class StallWatch {
 public:
  using Clock = std::chrono::steady_clock;
  // One operation; it stays where it is from Begin() to End().
  struct Entry {
    std::string_view operation;  // static
    DeviceRange range;
    size_t operation_count = 1;  // the first is named, the others only counted

    // The watch's own.
    Clock::time_point begun_at{};
    bool is_reported = false;
    Entry* previous = nullptr;
    Entry* next = nullptr;
    size_t shard = 0;
  };

  explicit StallWatch(std::chrono::milliseconds limit);
  ~StallWatch();
  void Begin(Entry& entry);
  void End(Entry& entry, const std::optional<Error>& error);
  StallTotals totals() const EXCLUDES(mutex_);

 private:
  struct Shard {
    mutable Mutex mutex;
    Entry* first GUARDED_BY(mutex) = nullptr;
  };

  void Loop();
  // Reports what is away for too long and was not reported yet.
  void Look();

  const std::chrono::milliseconds limit_;
  std::array<Shard, 16> shards_;

  mutable Mutex mutex_;
  CondVar wake_;
  bool is_stopping_ GUARDED_BY(mutex_) = false;
  uint64_t stalled_count_ GUARDED_BY(mutex_) = 0;
  std::chrono::milliseconds longest_ GUARDED_BY(mutex_){0};
  std::thread thread_;
};

class WatchedDevice : public BlockDevice {
 public:
  // `limit` 0: nothing is watched.
  WatchedDevice(std::unique_ptr<BlockDevice> base, std::chrono::milliseconds limit)
      : base_(std::move(base)), watch_(limit) {}

  StallTotals totals() const { return watch_.totals(); }
  // For what goes to the same drive by another way.
  StallWatch& watch() { return watch_; }
  // From now on everything but reads is refused, with kIo and `reason`. What is under way
  // is not called back.
  void Fence(const Error& reason) EXCLUDES(fence_mutex_);
  // The refusal of such an operation; nullopt: it may go on.
  std::optional<Error> RefusalOf(IoKind kind) const EXCLUDES(fence_mutex_);

  const DeviceGeometry& geometry() const override { return base_->geometry(); }
  Status Execute(std::span<IoOp> ops) override;
  std::unique_ptr<IoQueue> NewQueue(unsigned depth) override;
  int native_fd() const override { return base_->native_fd(); }
  std::optional<DeviceCopyLimits> copy_limits() const override {
    return base_->copy_limits();
  }
  Status Copy(std::span<const DeviceRange> sources, DeviceOffset destination) override;

 private:
  Status ExecuteReads(std::span<IoOp> ops);

  const std::unique_ptr<BlockDevice> base_;
  StallWatch watch_;
  std::atomic<bool> is_fenced_{false};
  mutable Mutex fence_mutex_;
  std::string fence_reason_ GUARDED_BY(fence_mutex_);
};

}  // namespace cofs
