// CopyEngine: carries out copies between places of one device, by the best way
// that works: the device's own copy command, the host file system under an image,
// or reading and writing at depth.
//
// Thread-safety: Copy() may be called from many threads at once.
// Durability: none; a copy is durable after a later BlockDevice::Flush().
// Copy() blocks, and returns only when nothing of it is in flight any more. An
// interrupted copy leaves an undefined destination beyond `completed_bytes`, a failed
// one everywhere; sources are never written.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "device/block_device.h"

namespace cofs {

enum class CopyWayId : uint8_t { kNvmeCopy, kScsiXcopy, kHostFile, kDevice, kBuffered };
inline constexpr size_t kCopyWayCount = 5;
// "nvme-copy", "scsi-xcopy", "host-file", "device", "buffered"
std::string_view NameOf(CopyWayId way);

// One contiguous piece of a copy. Block-aligned, not empty. No destination overlaps a
// source or another destination of the request: cofs copies to freshly allocated
// blocks. Sources may overlap each other.
struct CopyPiece {
  DeviceOffset source;
  DeviceOffset destination;
  uint64_t length_bytes = 0;
};

enum class CopyPolicy : uint8_t {
  kAuto,      // the device where it is worth it, else buffered
  kDevice,    // the device, or kNotSupported
  kBuffered,  // through memory
};

struct CopyRequest {
  std::span<const CopyPiece> pieces{};
  CopyPolicy policy = CopyPolicy::kAuto;
  // Polled between commands: true ends the copy early with what is complete.
  std::function<bool()> interrupted{};
  // Called with source data that passes through memory (the buffered way, and
  // read-back verification): an error ends the copy with that error. May be
  // called from the calling thread only. `data` is whole blocks of source.
  std::function<Status(DeviceOffset source, std::span<const char> data)> check_source{};
};

struct CopyReport {
  uint64_t completed_bytes = 0;  // a prefix of the pieces, in their order
  std::array<uint64_t, kCopyWayCount> bytes_by_way{};
  std::array<uint64_t, kCopyWayCount> commands_by_way{};
  uint64_t command_count = 0;
  uint64_t fallback_count = 0;
  std::string fallback_reason;  // of the last one
};

struct CopyTotals {
  std::array<uint64_t, kCopyWayCount> bytes_by_way{};
  std::array<uint64_t, kCopyWayCount> commands_by_way{};
  uint64_t copy_count = 0;
  uint64_t fallback_count = 0;
  uint64_t verified_bytes = 0;  // read back after a copy by the device
  uint64_t verify_failed_count = 0;
};

// How copies that did not pass through memory are checked: some kernels report success
// for a command that failed, and drives lie.
enum class CopyVerify : uint8_t {
  kNone,
  kSample,  // 64 KiB of each copy, and of each 64 MiB of a long one, at random places
  kAll,
};

// One way as it stands. Best first, the buffered way the last of those that are there;
// then those that are not there or failed their trial.
struct CopyWayState {
  CopyWayId id = CopyWayId::kBuffered;
  bool is_there = true;
  bool is_proved = false;     // a trial or a copy was read back, and was right
  bool is_set_aside = false;  // it failed, and is tried again after a pause
  uint64_t failure_count = 0;
  std::string last_failure{};
  std::string description{};  // in words; why it is not there
};

class CopyEngine {
 public:
  struct Options {
    unsigned depth = 16;                      // commands or chunks in flight
    uint64_t in_flight_bytes_max = 16 << 20;  // memory of one buffered copy
    uint64_t chunk_bytes = 1 << 20;           // of one buffered read and write
    CopyVerify verify = CopyVerify::kSample;
    // Free blocks for trial copies, from 32 KiB up to 4 MiB (copy_probe.h); what is in
    // them is lost. Without them a way is proved by its first copy, which is then read
    // back more.
    std::optional<DeviceRange> scratch{};
  };
  // With the ways that ways.h finds. `device` outlives the engine.
  static Result<std::unique_ptr<CopyEngine>> Create(BlockDevice& device, Options options);
  virtual ~CopyEngine() = default;
  // kInvalidArgument for pieces that are not as CopyPiece says. kNotSupported under
  // CopyPolicy::kDevice when no device way does all of it. kRetry or kTimedOut when what
  // lies below changed meanwhile: the destination must be abandoned, and the copy may be
  // tried again to other blocks. Else the error of the I/O or of check_source.
  virtual Result<CopyReport> Copy(const CopyRequest& request) = 0;
  virtual CopyTotals totals() const = 0;
  virtual std::vector<CopyWayState> ways() const { return {}; }
};

}  // namespace cofs
