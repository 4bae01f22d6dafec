// Reads of whole blocks from the device that are checked against their checksums.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "fs/core/core.h"

namespace cofs {

// A run of blocks to read into `memory`; `file_offset` is for messages.
struct BlockRead {
  DeviceOffset device_offset;
  uint64_t length_bytes = 0;
  char* memory = nullptr;
  FileOffset file_offset;
};

// All at once, straight into the memory. A block that does not match is read once
// more; kChecksum, counted and logged with inode, file and device offset, when it
// still does not. kCorrupt when a checksum is missing. The caller keeps the blocks
// from being reused (file range locked, ReadSection or Pin).
Status ReadVerified(Core& core, InodeId inode, std::span<const BlockRead> reads);

}  // namespace cofs
