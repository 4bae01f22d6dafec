// Envelope: what is around every 4 KiB block of every file of the store.
//
//   offset  size  field
//        0  4064  payload; zeros after `used_bytes`
//     4064     8  file id: never reused in a volume
//     4072     8  sync group, from 1: the blocks that one Sync made durable together
//     4080     4  index of the block in its file
//     4084     2  used bytes of the payload, 1 to 4064
//     4086     2  flags: bit 0 last block of its group; others zero
//     4088     4  reserved, zero
//     4092     4  crc32c of bytes [0, 4092)
//
// Little-endian. A block that is whole, but of another file, another index or an old
// life of its place, shows by its id and index; a torn or rotten one by its checksum.
// Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace cofs::store {

struct EnvelopeTrailer {
  uint64_t file_id;
  uint64_t sync_group;
  uint32_t block_index;
  uint16_t used_bytes;
  uint16_t flags;
  uint32_t reserved;
  uint32_t crc32c;
};
inline constexpr size_t kTrailerBytes = 32;
inline constexpr size_t kPayloadBytes = kBlockBytes - kTrailerBytes;
static_assert(sizeof(EnvelopeTrailer) == kTrailerBytes);
static_assert(offsetof(EnvelopeTrailer, sync_group) == 8);
static_assert(offsetof(EnvelopeTrailer, block_index) == 16);
static_assert(offsetof(EnvelopeTrailer, used_bytes) == 20);
static_assert(offsetof(EnvelopeTrailer, flags) == 22);
static_assert(offsetof(EnvelopeTrailer, crc32c) == 28);

// What a block says of itself.
struct BlockLabel {
  uint64_t file_id = 0;
  uint64_t sync_group = 0;
  uint32_t block_index = 0;
  uint16_t used_bytes = 0;
  bool last_of_group = false;
  friend bool operator==(const BlockLabel&, const BlockLabel&) = default;
};

// `block` holds the payload in its first used_bytes; fills in the rest of it.
void SealBlock(char* block, const BlockLabel& label);
// kCorrupt with the reason when SealBlock would not have written `block`.
Result<BlockLabel> OpenBlock(const char* block);
// OpenBlock, and it is block `block_index` of `file_id`.
Result<BlockLabel> OpenBlockOf(const char* block, uint64_t file_id, uint32_t block_index);

}  // namespace cofs::store
