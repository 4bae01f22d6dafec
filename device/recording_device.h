// RecordingDevice: wraps a device and logs every change with its data and the order of
// starts and completions, for crash_replay.h. For tests.
//
// Thread-safety: as BlockDevice; Mark() too.
// The data of a write is taken before it is passed on, so the log holds what the
// caller gave. A copy command is logged as a write of what its sources held when it
// started: sources don't change while they are copied.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "device/block_device.h"

namespace cofs {

// Events count from 1: each start, each completion and each mark is one.
using EventNumber = uint64_t;

struct LoggedIo {
  IoKind kind = IoKind::kWrite;  // never kRead
  DeviceRange range{};
  std::vector<char> data;  // kWrite
  bool fua = false;
  bool is_copy = false;
  bool failed = false;
  EventNumber started = 0;
  EventNumber completed = 0;  // 0: not before the log ended
};

struct LoggedMark {
  uint64_t id = 0;
  EventNumber event = 0;
};

struct IoLog {
  std::vector<LoggedIo> ios;  // in order of start
  std::vector<LoggedMark> marks;
  EventNumber event_count = 0;
};

class RecordingDevice : public BlockDevice {
 public:
  // `base` outlives this. `queue_shuffle_seed` as in software_queue.h.
  explicit RecordingDevice(BlockDevice& base,
                           std::optional<uint64_t> queue_shuffle_seed = std::nullopt);

  // Puts `id` into the log: "the caller was told that this is durable".
  void Mark(uint64_t id) EXCLUDES(mutex_);
  // The log so far; recording goes on with an empty one. Nothing may be in flight.
  IoLog TakeLog() EXCLUDES(mutex_);
  // Bytes of data in the log, to watch its memory.
  uint64_t logged_bytes() const EXCLUDES(mutex_);

  const DeviceGeometry& geometry() const override { return base_.geometry(); }
  Status Execute(std::span<IoOp> ops) override;
  std::unique_ptr<IoQueue> NewQueue(unsigned depth) override;
  std::optional<DeviceCopyLimits> copy_limits() const override {
    return base_.copy_limits();
  }
  Status Copy(std::span<const DeviceRange> sources, DeviceOffset destination) override;

 private:
  size_t Start(LoggedIo io) EXCLUDES(mutex_);  // its index in the log
  void Complete(size_t index, bool failed) EXCLUDES(mutex_);

  BlockDevice& base_;
  const std::optional<uint64_t> queue_shuffle_seed_;
  mutable Mutex mutex_;
  IoLog log_ GUARDED_BY(mutex_);
  uint64_t in_flight_ GUARDED_BY(mutex_) = 0;
  uint64_t logged_bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace cofs
