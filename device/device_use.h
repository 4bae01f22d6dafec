// Who uses a block device or image: mounts, swap, devices built on it, loop devices.
// For the messages of mkfs and for what O_EXCL does not see (images).
#pragma once

#include <string>

#include "base/result.h"

namespace cofs {

// In words, for example "/dev/sda1 is mounted on /home", "/dev/sdb is used by dm-0";
// empty when nothing is known. For a disk its partitions count too.
Result<std::string> FindDeviceUse(const std::string& path);

// The same with other roots for /proc and /sys, for tests.
struct SystemRoots {
  std::string proc = "/proc";
  std::string sys = "/sys";
};
Result<std::string> FindDeviceUse(const std::string& path, const SystemRoots& roots);

}  // namespace cofs
