// Checking a volume: what fsck.cofs does, as a library.
//
// Nothing is written. The records are judged by what docs/FORMAT.md says of them, with
// the codecs of extent_map/ and none of the logic of fs/, so that a mistake there shows
// here. Passes, each over sorted data:
//
//   1  superblocks
//   2  journal and files of the store, block by block
//   3  records of files in key order: each by itself and against its inode
//   4  entries against inodes: links, parents, cycles, orphans
//   5  blocks in order of place: overlaps, shared ranges, checksums, allocator image
//   6  with CheckOptions::data: every written block against its checksum
//
// (A repair shows its own work as pass 7, and goes back to pass 3 after it.)
//
// A pass that can't be finished ends the check: what would be compared with half of the
// records would only be noise.
#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "device/block_device.h"
#include "fsck/report.h"

namespace cofs {

struct CheckProgress {
  int pass = 0;
  const char* name = "";
  uint64_t done = 0;
  uint64_t total = 0;
};

struct CheckOptions {
  bool data = false;
  size_t finding_count_max = 1000;  // all are counted, so many are kept in words
  std::function<void(const CheckProgress&)> progress;
  std::function<bool()> is_cancelled;  // asked often
};

// kNotCofs, kUnsupportedFormat, kIo and kInterrupted when the volume can't be judged.
Result<Report> CheckVolume(BlockDevice& device, const CheckOptions& options);

}  // namespace cofs
