// cofs probe: which ways of copying a device, an image or a mounted volume has.
#pragma once

#include <optional>
#include <string>

#include "base/types.h"

namespace cofs {

struct ProbeOptions {
  bool json = false;
  // A trial copy on a device or image that holds nothing known: in the middle of it. What
  // was there is put back.
  bool write_test = false;
  // A trial copy in exactly that range, whatever is there; it is put back.
  std::optional<DeviceRange> scratch;
};

// Writes nothing but to free blocks of a volume that is not mounted, and what the options
// allow. Exit codes as RunStat(); 0 also when there is no way but memory.
int RunProbe(const std::string& path, const ProbeOptions& options);

}  // namespace cofs
