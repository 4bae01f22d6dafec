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
#include "copy_engine/copy_cost.h"
#include "copy_engine/latency_histogram.h"
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

// How copies that did not pass through memory are checked: some kernels report success
// for a command that failed, and drives lie.
enum class CopyVerify : uint8_t {
  kNone,
  kSample,  // 64 KiB of each copy, and of each 64 MiB of a long one, at random places
  kAll,
};

struct CopyRequest {
  std::span<const CopyPiece> pieces{};
  CopyPolicy policy = CopyPolicy::kAuto;
  std::optional<CopyVerify> verify{};  // not set: as Options::verify says
  // Polled between commands: true ends the copy early with what is complete.
  std::function<bool()> interrupted{};
  // Called with source data that passes through memory (the buffered way, and
  // read-back verification): an error ends the copy with that error. May be
  // called from the calling thread only. `data` is whole blocks of source.
  std::function<Status(DeviceOffset source, std::span<const char> data)> check_source{};
};

// Why bytes did not go by a way of the device.
enum class FallbackReason : uint8_t {
  kNoWay,          // the device has none that works
  kTooSmall,       // faster through memory, by the cost model
  kSetAside,       // the way failed a while ago
  kNotApplicable,  // the way can't do these pieces: a border below, an alignment
  kCommandFailed,
  kVerifyFailed,   // what was read back differed
  kChangedBelow,   // the stack changed, or a command's end is not known
  // Of callers, who don't ask for a copy by the device then:
  kUnaligned,      // parts of blocks
  kBadSource,      // a source block that does not match its checksum
};
inline constexpr size_t kFallbackReasonCount = 9;
// "no-way", "too-small", "set-aside" ...
std::string_view NameOf(FallbackReason reason);

struct FallbackCount {
  uint64_t count = 0;
  uint64_t bytes = 0;      // that were left to another way
  std::string last_words;  // of the last one
};
using FallbackCounts = std::array<FallbackCount, kFallbackReasonCount>;

struct CopyReport {
  uint64_t completed_bytes = 0;  // a prefix of the pieces, in their order
  std::array<uint64_t, kCopyWayCount> bytes_by_way{};
  std::array<uint64_t, kCopyWayCount> commands_by_way{};
  std::array<LatencyHistogram, kCopyWayCount> latency_by_way{};  // of commands
  uint64_t command_count = 0;
  uint64_t fallback_count = 0;   // ways that were tried in vain
  std::string fallback_reason;   // of the last one
  FallbackCounts fallbacks{};    // those that were not tried, too
  uint64_t verified_bytes = 0;   // read back after a copy by the device

  // What another copy did, on top.
  void Add(const CopyReport& other);
};

struct CopyTotals {
  std::array<uint64_t, kCopyWayCount> bytes_by_way{};
  std::array<uint64_t, kCopyWayCount> commands_by_way{};
  std::array<LatencyHistogram, kCopyWayCount> latency_by_way{};
  uint64_t copy_count = 0;
  uint64_t fallback_count = 0;
  FallbackCounts fallbacks{};
  uint64_t verified_bytes = 0;  // read back after a copy by the device
  uint64_t verify_failed_count = 0;
};

// What one command of a way may be. Every limit is positive: a way that finds a
// zero limit on its device (drives report that and then refuse every command) is
// not created.
struct CopyLimits {
  // Sources, destinations and lengths are multiples of it; a power of two. Pieces
  // are always block-aligned, so it only matters above kBlockBytes.
  uint64_t alignment_bytes = kBlockBytes;
  uint64_t segment_bytes_max = UINT64_MAX;  // of one source range
  uint64_t command_bytes_max = UINT64_MAX;  // of all source ranges of one command
  uint32_t segments_max = 1;                // source ranges of one command
  // Below this many bytes a request under CopyPolicy::kAuto is faster through
  // memory, and the engine does not offer it to this way. From measurement.
  uint64_t request_bytes_min = 0;
};

// One way as it stands. Best first, the buffered way the last of those that are there;
// then those that are not there or failed their trial.
struct CopyWayState {
  CopyWayId id = CopyWayId::kBuffered;
  bool is_there = true;
  bool is_for_good = false;  // not there, and never will be: another kind of device
  bool is_proved = false;     // a trial or a copy was read back, and was right
  bool is_set_aside = false;  // it failed, and is tried again after a pause
  uint64_t failure_count = 0;
  std::string last_failure{};
  std::string description{};  // in words; why it is not there
  CopyLimits limits{};        // of a way that is there
  // Measured; what it takes through memory for kBuffered. Not set: not measured.
  std::optional<CopyCost> cost{};
  // Under CopyPolicy::kAuto copies of fewer bytes go through memory; UINT64_MAX: all.
  uint64_t request_bytes_min = 0;
};

// Where the bytes of a block came from.
struct CopyOrigin {
  CopyWayId way = CopyWayId::kBuffered;
  DeviceOffset source{};
};

// Lends free blocks for trial copies. Thread-safe.
class CopyScratch {
 public:
  virtual ~CopyScratch() = default;
  // From 32 KiB up to `bytes_max` in one run; what is in them is lost. An error says in
  // words why there are none.
  virtual Result<DeviceRange> Borrow(uint64_t bytes_max) = 0;
  // Nothing of what was begun there still runs. Not called when that is not known: the
  // blocks must not be used again then.
  virtual void Return(DeviceRange range) = 0;
};

class CopyEngine {
 public:
  struct Options {
    unsigned depth = 16;                      // commands or chunks in flight
    uint64_t in_flight_bytes_max = 16 << 20;  // memory of one buffered copy
    uint64_t chunk_bytes = 1 << 20;           // of one buffered read and write
    CopyVerify verify = CopyVerify::kSample;
    // For the trial copies and measurements of Create(), and of later ones for ways that
    // were absent or failed. Outlives the engine. Without it a way is proved by its
    // first copy, which is then read back more, and nothing is measured.
    CopyScratch* scratch = nullptr;
  };
  // With the ways that ways.h finds. `device` outlives the engine.
  static Result<std::unique_ptr<CopyEngine>> Create(BlockDevice& device, Options options);
  virtual ~CopyEngine() = default;
  // kInvalidArgument for pieces that are not as CopyPiece says. kNotSupported under
  // CopyPolicy::kDevice when no device way does all of it. kRetry or kTimedOut when what
  // lies below changed meanwhile: the destination must be abandoned, for a command may
  // still write to it, and the copy may be tried again to other blocks. Else the error
  // of the I/O or of check_source.
  virtual Result<CopyReport> Copy(const CopyRequest& request) = 0;
  virtual CopyTotals totals() const = 0;
  // `verify`: what copies of no policy of their own are read back for, which makes small
  // ones dearer.
  virtual std::vector<CopyWayState> ways(CopyVerify /*verify*/) const { return {}; }
  // The last copy to `block` that did not pass through memory, among the latest few
  // thousand pieces. What was written there since is not known here.
  virtual std::optional<CopyOrigin> OriginOf(DeviceOffset /*block*/) const {
    return std::nullopt;
  }
  // As ways() in words, for a log: one line for each way that there is or may be.
  std::vector<std::string> DescribeWays(CopyVerify verify) const;
};

// "limits: 64 KiB a source, 1 MiB and 8 sources a command", for people.
std::string DescribeLimits(const CopyLimits& limits);

}  // namespace cofs
