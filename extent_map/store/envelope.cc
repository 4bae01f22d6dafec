#include "extent_map/store/envelope.h"

#include <cstring>

#include "base/crc32c.h"

namespace cofs::store {
namespace {

constexpr uint16_t kLastOfGroup = 1;
constexpr size_t kChecked = kBlockBytes - sizeof(uint32_t);

}  // namespace

void SealBlock(char* block, const BlockLabel& label) {
  CHECK(label.used_bytes > 0 && label.used_bytes <= kPayloadBytes &&
        label.sync_group > 0);
  std::memset(block + label.used_bytes, 0, kPayloadBytes - label.used_bytes);
  EnvelopeTrailer trailer{};
  trailer.file_id = label.file_id;
  trailer.sync_group = label.sync_group;
  trailer.block_index = label.block_index;
  trailer.used_bytes = label.used_bytes;
  trailer.flags = label.last_of_group ? kLastOfGroup : 0;
  std::memcpy(block + kPayloadBytes, &trailer, sizeof(trailer));
  const uint32_t crc32c = Crc32c(block, kChecked);
  std::memcpy(block + kChecked, &crc32c, sizeof(crc32c));
}

Result<BlockLabel> OpenBlock(const char* block) {
  EnvelopeTrailer trailer;
  std::memcpy(&trailer, block + kPayloadBytes, sizeof(trailer));
  if (trailer.crc32c != Crc32c(block, kChecked))
    return Error(ErrorCode::kCorrupt, "checksum of the block");
  if (trailer.used_bytes == 0 || trailer.used_bytes > kPayloadBytes ||
      (trailer.flags & ~kLastOfGroup) != 0 || trailer.reserved != 0 ||
      trailer.sync_group == 0)
    return Error(ErrorCode::kCorrupt, "impossible trailer of the block");
  BlockLabel label;
  label.file_id = trailer.file_id;
  label.sync_group = trailer.sync_group;
  label.block_index = trailer.block_index;
  label.used_bytes = trailer.used_bytes;
  label.last_of_group = (trailer.flags & kLastOfGroup) != 0;
  return label;
}

Result<BlockLabel> OpenBlockOf(const char* block, uint64_t file_id,
                               uint32_t block_index) {
  TRY_ASSIGN(const BlockLabel label, OpenBlock(block));
  if (label.file_id != file_id || label.block_index != block_index)
    return Error(
        ErrorCode::kCorrupt,
        StrCat("a block of file ", label.file_id, ", index ", label.block_index,
               " where block ", block_index, " of file ", file_id, " should be"));
  return label;
}

}  // namespace cofs::store
