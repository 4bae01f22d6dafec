// FaultDevice: wraps a device and fails chosen I/Os, whole or torn. For tests.
//
// Thread-safety: as BlockDevice; faults may be set while I/O runs.
// An I/O that fails does not reach the device, except for its first sectors when the
// fault is torn. Those that don't fail pass through unchanged. A stalled one waits, in
// the thread that submitted it, and then passes through or fails.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "device/block_device.h"

namespace cofs {

inline constexpr uint64_t kSectorBytes = 512;  // what a device writes whole or not at all

enum class FaultKind : uint8_t { kRead, kWrite, kWriteZeroes, kDiscard, kFlush, kCopy };
inline constexpr size_t kFaultKindCount = 6;

// One I/O as a fault sees it. A copy has its destination as its range.
struct FaultPoint {
  uint64_t number = 0;  // of all I/Os since the device was made, from 1
  FaultKind kind = FaultKind::kRead;
  DeviceRange range{};
};

struct Fault {
  // Called for each I/O in the order of their numbers, under a lock of the device.
  std::function<bool(const FaultPoint&)> matches;
  ErrorCode code = ErrorCode::kIo;
  // Writes, write-zeroes and copies: that many sectors reach the device all the same.
  uint64_t torn_sector_count = 0;
  // Called for each I/O that matches, before it is carried out, without a lock: the I/O
  // is stalled until it returns.
  std::function<void()> stall = {};
  bool fails = true;  // false: it is only stalled
};

class FaultDevice : public BlockDevice {
 public:
  // `base` outlives this. `queue_shuffle_seed` as in software_queue.h.
  explicit FaultDevice(BlockDevice& base,
                       std::optional<uint64_t> queue_shuffle_seed = std::nullopt);

  void Add(Fault fault) EXCLUDES(mutex_);
  // `n` counts from the next I/O, which is 1. Only the n-th fails; all from it on fail.
  void FailNth(uint64_t n, uint64_t torn_sector_count = 0);
  void FailFrom(uint64_t n);
  void FailKind(FaultKind kind);
  void ClearFaults() EXCLUDES(mutex_);

  uint64_t io_count() const EXCLUDES(mutex_);
  uint64_t io_count(FaultKind kind) const EXCLUDES(mutex_);
  uint64_t failed_count() const EXCLUDES(mutex_);

  const DeviceGeometry& geometry() const override { return base_.geometry(); }
  Status Execute(std::span<IoOp> ops) override;
  std::unique_ptr<IoQueue> NewQueue(unsigned depth) override;
  std::optional<DeviceCopyLimits> copy_limits() const override {
    return base_.copy_limits();
  }
  Status Copy(std::span<const DeviceRange> sources, DeviceOffset destination) override;

 private:
  struct Verdict {
    Error error;
    uint64_t torn_sector_count;
  };
  // Counts one I/O, stalls it, and says whether it fails.
  std::optional<Verdict> Judge(FaultKind kind, DeviceRange range) EXCLUDES(mutex_);
  void WriteTorn(DeviceOffset offset, std::span<const char> data, uint64_t sector_count);

  BlockDevice& base_;
  const std::optional<uint64_t> queue_shuffle_seed_;
  mutable Mutex mutex_;
  std::vector<Fault> faults_ GUARDED_BY(mutex_);
  std::array<uint64_t, kFaultKindCount> counts_ GUARDED_BY(mutex_){};
  uint64_t count_ GUARDED_BY(mutex_) = 0;
  uint64_t failed_count_ GUARDED_BY(mutex_) = 0;
};

}  // namespace cofs
