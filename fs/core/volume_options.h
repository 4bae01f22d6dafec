// What a mount is asked to do. Parsed from -o by fs/fuse/mount_options.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "copy_engine/copy_engine.h"

namespace cofs {

enum class AtimePolicy : uint8_t { kRelative, kNone, kStrict };
// What copy_file_range does.
enum class CopyRangePolicy : uint8_t {
  kAuto,      // device copy where it is worth it, else buffered
  kShare,     // shares extents
  kDevice,    // device copy or kNotSupported
  kBuffered,  // through memory
};
// What a clone does.
enum class ClonePolicy : uint8_t {
  kShare,   // shares extents
  kDevice,  // copies by the device
};

// As options of a mount spell them: "auto", "share" ...
std::string_view NameOf(CopyRangePolicy policy);
std::string_view NameOf(ClonePolicy policy);
// "off", "sample", "all"
std::string_view NameOf(CopyVerify verify);

// A setting that may change while others read it: a change is seen by what begins after
// it.
template <typename T>
class Live {
 public:
  Live(T value) : value_(value) {}  // NOLINT: it is that value
  Live(const Live& other) : value_(other.get()) {}
  Live& operator=(const Live& other) { return *this = other.get(); }
  Live& operator=(T value) {
    value_.store(value, std::memory_order_relaxed);
    return *this;
  }
  T get() const { return value_.load(std::memory_order_relaxed); }
  operator T() const { return get(); }  // NOLINT: it is that value

 private:
  std::atomic<T> value_;
};

struct VolumeOptions {
  bool read_only = false;
  bool sync = false;     // every operation is committed before it returns
  bool discard = false;  // freed blocks are discarded before they are reused
  AtimePolicy atime = AtimePolicy::kRelative;
  Live<CopyRangePolicy> copy = CopyRangePolicy::kAuto;
  Live<ClonePolicy> clone = ClonePolicy::kShare;
  Live<CopyVerify> verify_copy = CopyVerify::kSample;
  uint64_t cache_bytes = 64ull << 20;  // store's block cache and inodes together
  uint32_t commit_interval_ms = 5000;
  // I/O that has not come back for so long is reported (device/watched_device.h); 0: never.
  uint32_t stall_report_ms = 30'000;
  // Multi-mount protection: writes a heartbeat, so often (extent_map/mount_protection.h).
  // The heartbeat of others is looked at in any case.
  bool mmp = false;
  uint32_t mmp_interval_ms = 2000;
};

}  // namespace cofs
