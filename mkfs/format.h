// Making a volume: what mkfs.cofs does, as a library.
//
// What is laid out, in this order:
//
//   0         2 MiB    reserved: zeros and the two superblocks
//   2 MiB     ...      the metadata pool with an empty store: the root directory and the
//                      inode counter
//   after it           free space
//
// Crash: old signatures and old superblocks go first, durably; the new superblocks are
// written last, over a durable store. In between the device holds no volume at all.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/types.h"
#include "base/uuid.h"
#include "device/block_device.h"

namespace cofs {

struct FormatOptions {
  // Of the volume, rounded down to blocks. An image is created or extended to it; of a
  // larger device only so much is used. Not set: all of the device or image.
  std::optional<uint64_t> size_bytes;
  std::string label;                     // at most kLabelBytesMax bytes
  std::optional<Uuid> uuid;              // not set: a random one
  bool force = false;                    // over whatever is there
  bool dry_run = false;                  // all the checks, and nothing is written
  bool discard = true;                   // the free space of devices that can
  uid_t root_uid = 0;                    // owner of the root directory
  gid_t root_gid = 0;
  // How long a program that is just letting go of the device is waited for.
  std::chrono::milliseconds wait{5000};
};

struct FormatSummary {
  std::string path;
  std::string label;
  Uuid uuid;
  uint64_t volume_bytes = 0;
  DeviceRange pool;
  uint32_t format_version = 0;
  std::string wiped;  // what was there before, in words; empty: nothing known
};

// Formats the block device or image at `path`, durable on return. Refuses, in a sentence
// and with nothing changed: what is in use, mounted, swap, zoned, protected, read-only,
// too small (kBusy, kNotSupported, kAccess, kReadOnly, kInvalidArgument) and, without
// `force`, what holds something already (kExists).
Result<FormatSummary> FormatVolume(const std::string& path, const FormatOptions& options);

// The same without looking at what is there: for devices that are open already.
Result<FormatSummary> FormatDevice(BlockDevice& device, const FormatOptions& options);

// The summary in lines, as mkfs.cofs prints it.
std::string DescribeSummary(const FormatSummary& summary);

}  // namespace cofs
