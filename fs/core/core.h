// Core: the parts of a mounted volume, as its halves see each other: names
// (names.h, xattrs.h) and data (file_data.h, copy_range.h). Volume owns them.
#pragma once

#include <atomic>
#include <cstdint>

#include "copy_engine/copy_engine.h"
#include "device/block_device.h"
#include "extent_map/store/store.h"
#include "extent_map/superblock.h"
#include "fs/core/transaction.h"
#include "fs/core/volume_options.h"

namespace cofs {

class InodeTable;
class SharedBlocks;

// Live counters, for `cofs stat`. Relaxed.
struct CoreCounters {
  std::atomic<uint64_t> read_bytes{0}, written_bytes{0}, read_count{0}, write_count{0};
  std::atomic<uint64_t> copied_bytes{0}, copy_count{0}, cloned_bytes{0}, clone_count{0};
  // Of copied_bytes: through memory because they are parts of blocks or not aligned alike.
  std::atomic<uint64_t> copied_by_memory_bytes{0}, unaligned_copy_count{0};
  std::atomic<uint64_t> bad_source_count{0};  // of copies that met a bad block
  std::atomic<uint64_t> deduped_bytes{0}, unshared_bytes{0};
  std::atomic<uint64_t> checksum_errors{0}, io_errors{0};
  std::atomic<uint64_t> created_count{0}, removed_count{0};
};

struct Core {
  VolumeOptions options;
  BlockDevice* device = nullptr;
  SuperblockSlots* slots = nullptr;
  Store* store = nullptr;
  Space* space = nullptr;
  Committer* committer = nullptr;
  InodeTable* inodes = nullptr;
  SharedBlocks* shared_blocks = nullptr;
  CopyEngine* copies = nullptr;
  CoreCounters counters;
};

// Now, in the clock that file times are taken from (CLOCK_REALTIME_COARSE).
Timestamp Now();

}  // namespace cofs
