// AllocationWindows: free space kept for a while behind what a stream of writes has
// just been given, so that the next write of the stream continues on the device, even
// when other files are written at the same time.
//
// A window is known by its place alone: whoever asks for blocks at a goal inside it
// gets them. So nothing has to be told when a file is closed, truncated or removed: an
// unused window goes back at the second commit after its last use, at once when space
// is short, and never outlives the mount (it is in memory only).
//
// Not thread-safe: Space's lock guards it. Its ranges are taken from the allocator.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/types.h"
#include "extent_map/allocator.h"

namespace cofs {

class AllocationWindows {
 public:
  static constexpr size_t kWindowCountMax = 128;

  explicit AllocationWindows(Allocator& allocator) : allocator_(allocator) {}

  // Takes up to `length_bytes` from the window that holds `goal`, from `goal` on. What
  // is before and behind stays kept.
  std::optional<DeviceRange> Take(DeviceOffset goal, uint64_t length_bytes);
  // Keeps up to `length_bytes` from `begin` on, as far as they are free.
  void Open(DeviceOffset begin, uint64_t length_bytes);
  // Gives back what was not used since the last but one call.
  void Age();
  // Gives back everything; whether there was anything.
  bool ReleaseAll();

  uint64_t kept_bytes() const { return kept_bytes_; }

 private:
  struct Window {
    uint64_t length_bytes = 0;
    uint64_t last_use = 0;
  };
  using Windows = std::map<uint64_t, Window>;  // by offset

  Windows::iterator Release(Windows::iterator window);

  Allocator& allocator_;
  Windows windows_;
  uint64_t kept_bytes_ = 0;
  uint64_t age_ = 0;
};

}  // namespace cofs
