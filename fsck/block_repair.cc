// Repairs of blocks: data that two files claim, data that is gone, checksums that are
// missing, reference counts.
//
// Data is written to free blocks, and is durable before the records that refer to it:
// Store::Commit flushes first.
#include <sys/stat.h>

#include <cstring>

#include "base/aligned_buffer.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "fsck/repairer.h"

namespace cofs {
namespace {

constexpr uint64_t kPieceBytes = 1 << 20;
constexpr char kLostText[] = "cofs: the data of this block was lost\n";

// A block that is known to be lost has a checksum that its contents don't have: it can't
// be read, and a check of the data lists the file.
uint32_t WrongChecksum(const char* block) { return ~Crc32c(block, kBlockBytes); }

void FillLost(char* block) {
  std::memset(block, 0, kBlockBytes);
  std::memcpy(block, kLostText, sizeof(kLostText) - 1);
}

}  // namespace

Result<std::vector<Extent>> Repairer::AllocateExtents(FileOffset begin,
                                                      uint64_t length_bytes) {
  AllocateOptions options;
  options.length_bytes = length_bytes;
  TRY_ASSIGN(const auto runs, parts_.free_space.Allocate(options));
  std::vector<Extent> extents;
  for (const DeviceRange& run : runs) {
    extents.push_back({begin, run.offset, run.length_bytes, 0});
    begin += run.length_bytes;
  }
  return extents;
}

Status Repairer::PoisonRange(InodeId inode, FileOffset key_offset, uint64_t length_bytes) {
  records_.Delete(ExtentKey(inode, key_offset));
  const auto record = records_.GetInode(inode);
  const bool has_none = record.Is(ErrorCode::kNotFound) || record.Is(ErrorCode::kCorrupt);
  if (!record.ok() && !has_none) return record.error();
  // What the range belonged to goes with the rest of it.
  if (has_none || !S_ISREG(record->mode)) return OkStatus();
  const uint64_t end = std::min(key_offset.value() + length_bytes,
                                RoundUp(record->size_bytes, kBlockBytes));
  if (end <= key_offset.value()) return OkStatus();  // past the end: no data
  const uint64_t length = end - key_offset.value();
  Lost(inode, StrCat("bytes ", key_offset, " to ",
                     std::min(end, record->size_bytes) - 1, " are lost"));
  auto extents = AllocateExtents(key_offset, length);
  if (extents.Is(ErrorCode::kNoSpace)) {
    Lost(inode, "there is no room to mark the lost range: it reads as zeros");
    return OkStatus();
  }
  if (!extents.ok()) return extents.error();
  AlignedBuffer piece(std::min(length, kPieceBytes));
  for (uint64_t at = 0; at < piece.size_bytes(); at += kBlockBytes)
    FillLost(piece.data() + at);
  const uint32_t crc32c = WrongChecksum(piece.data());
  for (const Extent& extent : *extents) {
    for (uint64_t done = 0; done < extent.length_bytes; done += kPieceBytes)
      TRY(parts_.device.Write(
          extent.device_offset + done,
          piece.span().first(std::min(kPieceBytes, extent.length_bytes - done))));
    for (uint64_t done = 0; done < extent.length_bytes; done += kBlockBytes)
      TRY(records_.PutChecksum(extent.device_offset + done, crc32c));
    records_.Put(ExtentKey(inode, extent.file_offset), EncodeExtent(extent));
  }
  return OkStatus();
}

Status Repairer::CopyBlocks(const Extent& from, const std::vector<Extent>& to) {
  AlignedBuffer piece(std::min(from.length_bytes, kPieceBytes));
  for (const Extent& extent : to) {
    for (uint64_t done = 0; done < extent.length_bytes;) {
      const uint64_t length = std::min(kPieceBytes, extent.length_bytes - done);
      const DeviceOffset source =
          from.device_offset + (extent.file_offset - from.file_offset) + done;
      const DeviceOffset target = extent.device_offset + done;
      const auto span = piece.span().first(length);
      const bool is_read = parts_.device.Read(source, span).ok();
      for (uint64_t at = 0; at < length; at += kBlockBytes) {
        char* block = piece.data() + at;
        const bool is_good =
            is_read || parts_.device.Read(source + at, {block, kBlockBytes}).ok();
        if (!is_good) FillLost(block);
        uint32_t crc32c = is_good ? Crc32c(block, kBlockBytes) : WrongChecksum(block);
        // A block that fails its checksum goes on failing it.
        TRY_ASSIGN(const auto value, records_.Get(ChecksumKey(source + at)));
        const auto sums = DecodeChecksums(value.value_or(""));
        const size_t index = (source + at).value() % kChecksumChunkBytes / kBlockBytes;
        if (is_good && sums.ok() && (sums->present >> index & 1) != 0)
          crc32c = sums->crc32c[index];
        TRY(records_.PutChecksum(target + at, crc32c));
      }
      TRY(parts_.device.Write(target, span));
      done += length;
    }
  }
  return OkStatus();
}

Status Repairer::CopyExtent(InodeId inode, FileOffset file_offset) {
  const std::string key = ExtentKey(inode, file_offset);
  TRY_ASSIGN(const auto value, records_.Get(key));
  if (!value) return OkStatus();
  TRY_ASSIGN(const Extent from, DecodeExtent(file_offset, *value));
  records_.Delete(key);
  if (from.unwritten()) return OkStatus();  // a hole reads as zeros, too
  TRY_ASSIGN(const auto to, AllocateExtents(file_offset, from.length_bytes));
  TRY(CopyBlocks(from, to));
  for (const Extent& extent : to)
    records_.Put(ExtentKey(inode, extent.file_offset), EncodeExtent(extent));
  return OkStatus();
}

Status Repairer::AdoptChecksums(DeviceRange blocks) {
  AlignedBuffer piece(std::min(blocks.length_bytes, kPieceBytes));
  uint64_t unreadable = 0;
  for (uint64_t done = 0; done < blocks.length_bytes; done += kPieceBytes) {
    const uint64_t length = std::min(kPieceBytes, blocks.length_bytes - done);
    const DeviceOffset place = blocks.offset + done;
    const bool is_read = parts_.device.Read(place, piece.span().first(length)).ok();
    for (uint64_t at = 0; at < length; at += kBlockBytes) {
      char* block = piece.data() + at;
      const bool is_good =
          is_read || parts_.device.Read(place + at, {block, kBlockBytes}).ok();
      if (is_good)
        TRY(records_.PutChecksum(place + at, Crc32c(block, kBlockBytes)));
      else
        ++unreadable;
    }
    TRY(records_.EndStep());
  }
  // Another day the device may read them.
  if (unreadable > 0)
    return Error(ErrorCode::kRetry, StrCat(unreadable, " blocks can't be read"));
  return OkStatus();
}

Status Repairer::RewriteShared(const std::vector<SharedRange>& ranges) {
  constexpr size_t kStep = 500;
  const KeyRange all = AllShared();
  std::string next = all.first;
  size_t index = 0;
  for (bool is_end = false; !is_end;) {
    // A cursor does not live across a write.
    const auto cursor = store().NewCursor(next, all.last);
    size_t changes = 0;
    cursor->Seek(next);
    while (changes < kStep && (cursor->valid() || index < ranges.size())) {
      const std::string wanted =
          index < ranges.size() ? SharedKey(ranges[index].offset) : all.last;
      const std::string found =
          cursor->valid() ? std::string(cursor->key()) : all.last;
      if (!cursor->valid()) TRY(cursor->status());
      if (found < wanted) {
        records_.Delete(found);
        ++changes;
      } else if (wanted < found || cursor->value() != EncodeShared(ranges[index].record)) {
        records_.Put(wanted, EncodeShared(ranges[index].record));
        ++changes;
      }
      if (wanted <= found) ++index;
      if (found <= wanted && cursor->valid()) cursor->Next();
    }
    if (!cursor->valid()) TRY(cursor->status());
    is_end = !cursor->valid() && index == ranges.size();
    next = cursor->valid() ? std::string(cursor->key()) : all.last;
    TRY(records_.EndStep());
  }
  return OkStatus();
}

}  // namespace cofs
