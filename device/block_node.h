// BlockNode: what sysfs tells about a block device.
//
// Everything is best effort: where sysfs is missing the facts are the defaults.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace cofs {

struct BlockNumber {
  unsigned major = 0;
  unsigned minor = 0;
  friend auto operator<=>(const BlockNumber&, const BlockNumber&) = default;
};

struct BlockNode {
  bool is_partition = false;
  bool can_discard = false;
  bool can_write_zeroes = false;
  std::string zoned = "none";        // "host-managed", "host-aware"
  std::string protection = "none";   // "T10-DIF-TYPE1-CRC" ...
  std::vector<std::string> holders;  // kernel names of devices built on it: "dm-0"
  std::string backing_file;          // of a loop device, or of the disk of a partition
  uint64_t backing_offset_bytes = 0;  // where it begins in that file
  // It, or a device that it is built on, is known to take a write with FUA for one without.
  bool ignores_fua = false;
  // Kernel names and numbers of its partitions.
  struct Partition {
    std::string name;
    BlockNumber number;
  };
  std::vector<Partition> partitions;
};

// `sysfs_root` is "/sys" except in tests.
BlockNode ReadBlockNode(const std::string& sysfs_root, BlockNumber number);

// kNotSupported for zoned devices and those with protection information: cofs writes
// anywhere, in any order, and copy commands don't carry protection information along.
Status CheckUsable(const BlockNode& node, const std::string& path);

}  // namespace cofs
