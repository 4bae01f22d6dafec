// Heartbeat: the block by which programs on several hosts, or on several paths to one
// volume, see that somebody has it. Its holder writes it anew every few seconds, with a
// higher sequence number. docs/FORMAT.md has the layout table; mount_protection.h has the
// protocol.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"
#include "base/uuid.h"

namespace cofs {

// In the reserved region. All zeros on a volume that never had one.
inline constexpr DeviceOffset kHeartbeatOffset{512 << 10};
inline constexpr size_t kHeartbeatHostBytesMax = 63;
inline constexpr size_t kHeartbeatDeviceBytesMax = 255;
inline constexpr uint32_t kHeartbeatIntervalMsMax = 10'000;

enum class HeartbeatState : uint32_t {
  kEnded = 0,    // nobody has the volume
  kMounted = 1,
  kRepaired = 2,  // by fsck.cofs
};

struct Heartbeat {
  HeartbeatState state = HeartbeatState::kEnded;
  uint64_t sequence = 0;
  Uuid volume;
  Uuid holder;  // random, of one mount
  int64_t written_s = 0;       // since 1970, by the holder's clock; for people
  uint32_t interval_ms = 0;    // between two beats, 1 to kHeartbeatIntervalMsMax
  // Who it is. The process is known by its number, the pid namespace that the number is
  // of, and the time it was started, in clock ticks since the host was booted.
  Uuid boot;
  uint64_t pid_namespace = 0, pid_start = 0;
  uint32_t pid = 0;
  std::string host;    // cut to kHeartbeatHostBytesMax bytes
  std::string device;  // as that host calls it; cut to kHeartbeatDeviceBytesMax bytes
  friend bool operator==(const Heartbeat&, const Heartbeat&) = default;
};

// One block, of which the first sector holds everything.
std::string EncodeHeartbeat(const Heartbeat& heartbeat);
// kNotFound for a block that never was a heartbeat (zeros, or anything without the magic),
// kCorrupt for one whose checksum or values are wrong.
Result<Heartbeat> DecodeHeartbeat(std::string_view block);

}  // namespace cofs
