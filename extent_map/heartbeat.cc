#include "extent_map/heartbeat.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/check.h"
#include "base/crc32c.h"

namespace cofs {
namespace {

constexpr char kHeartbeatMagic[8] = {'c', 'o', 'f', 's', 'b', 'e', 'a', 't'};

// Little-endian.
//
//   offset  size  field
//        0     8  magic
//        8     4  state
//       12     4  CRC-32C of the block with this field zero
//       16     8  sequence
//       24    16  uuid of the volume
//       40    16  holder
//       56    16  boot id of the holder's host
//       72     8  written, seconds since 1970 (signed)
//       80     8  inode of the pid namespace
//       88     8  start time of the process, clock ticks since boot
//       96     4  pid
//      100     4  interval, ms
//      104    64  host name, zero-padded
//      168   256  device, zero-padded
//      424  3672  reserved, zero
struct HeartbeatLayout {
  char magic[8];
  uint32_t state;
  uint32_t crc32c;
  uint64_t sequence;
  uint8_t volume[16];
  uint8_t holder[16];
  uint8_t boot[16];
  int64_t written_s;
  uint64_t pid_namespace;
  uint64_t pid_start;
  uint32_t pid;
  uint32_t interval_ms;
  char host[kHeartbeatHostBytesMax + 1];
  char device[kHeartbeatDeviceBytesMax + 1];
  char reserved[3672];
};
static_assert(sizeof(HeartbeatLayout) == kBlockBytes);
static_assert(offsetof(HeartbeatLayout, crc32c) == 12);
static_assert(offsetof(HeartbeatLayout, holder) == 40);
static_assert(offsetof(HeartbeatLayout, written_s) == 72);
static_assert(offsetof(HeartbeatLayout, pid) == 96);
static_assert(offsetof(HeartbeatLayout, host) == 104);
static_assert(offsetof(HeartbeatLayout, device) == 168);
static_assert(offsetof(HeartbeatLayout, reserved) == 424);

Error BadHeartbeat(std::string_view what) {
  return Error(ErrorCode::kCorrupt, StrCat("heartbeat: ", what));
}

uint32_t HeartbeatCrc(const HeartbeatLayout& layout) {
  HeartbeatLayout copy = layout;
  copy.crc32c = 0;
  return Crc32c(&copy, sizeof(copy));
}

template <size_t kSize>
void PutText(char (&out)[kSize], const std::string& text) {
  // Up to a zero, which would end it.
  std::memcpy(out, text.data(), std::min(text.find('\0'), std::min(text.size(), kSize - 1)));
}

// False: not zero-padded.
template <size_t kSize>
bool TakeText(const char (&in)[kSize], std::string& out) {
  const std::string_view field(in, kSize);
  out = field.substr(0, field.find('\0'));
  return out.size() < kSize &&
         field.find_first_not_of('\0', out.size()) == std::string_view::npos;
}

void PutUuid(uint8_t (&out)[16], const Uuid& uuid) {
  std::memcpy(out, uuid.bytes.data(), sizeof(out));
}

Uuid TakeUuid(const uint8_t (&in)[16]) {
  Uuid uuid;
  std::memcpy(uuid.bytes.data(), in, sizeof(in));
  return uuid;
}

}  // namespace

std::string EncodeHeartbeat(const Heartbeat& heartbeat) {
  CHECK(heartbeat.interval_ms >= 1 && heartbeat.interval_ms <= kHeartbeatIntervalMsMax,
        heartbeat.interval_ms);
  HeartbeatLayout out{};
  std::memcpy(out.magic, kHeartbeatMagic, sizeof(kHeartbeatMagic));
  out.state = static_cast<uint32_t>(heartbeat.state);
  out.sequence = heartbeat.sequence;
  PutUuid(out.volume, heartbeat.volume);
  PutUuid(out.holder, heartbeat.holder);
  PutUuid(out.boot, heartbeat.boot);
  out.written_s = heartbeat.written_s;
  out.pid_namespace = heartbeat.pid_namespace;
  out.pid_start = heartbeat.pid_start;
  out.pid = heartbeat.pid;
  out.interval_ms = heartbeat.interval_ms;
  PutText(out.host, heartbeat.host);
  PutText(out.device, heartbeat.device);
  out.crc32c = HeartbeatCrc(out);
  return std::string(reinterpret_cast<const char*>(&out), sizeof(out));
}

Result<Heartbeat> DecodeHeartbeat(std::string_view block) {
  if (block.size() != sizeof(HeartbeatLayout))
    return Error(ErrorCode::kInvalidArgument, "heartbeat: not one block");
  HeartbeatLayout in;
  std::memcpy(&in, block.data(), sizeof(in));
  if (std::memcmp(in.magic, kHeartbeatMagic, sizeof(kHeartbeatMagic)) != 0)
    return Error(ErrorCode::kNotFound, "heartbeat");
  if (in.crc32c != HeartbeatCrc(in)) return BadHeartbeat("checksum does not match");
  if (in.state > static_cast<uint32_t>(HeartbeatState::kRepaired))
    return BadHeartbeat(StrCat("state ", in.state));
  if (in.interval_ms < 1 || in.interval_ms > kHeartbeatIntervalMsMax)
    return BadHeartbeat(StrCat("interval ", in.interval_ms));
  if (std::string_view(in.reserved, sizeof(in.reserved)).find_first_not_of('\0') !=
      std::string_view::npos)
    return BadHeartbeat("reserved bytes are not zero");
  Heartbeat out;
  out.state = static_cast<HeartbeatState>(in.state);
  out.sequence = in.sequence;
  out.volume = TakeUuid(in.volume);
  out.holder = TakeUuid(in.holder);
  out.boot = TakeUuid(in.boot);
  out.written_s = in.written_s;
  out.pid_namespace = in.pid_namespace;
  out.pid_start = in.pid_start;
  out.pid = in.pid;
  out.interval_ms = in.interval_ms;
  if (!TakeText(in.host, out.host) || !TakeText(in.device, out.device))
    return BadHeartbeat("a name is not zero-padded");
  return out;
}

}  // namespace cofs
