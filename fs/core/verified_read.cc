#include "fs/core/verified_read.h"

#include "base/crc32c.h"
#include "base/log.h"
#include "fs/core/block_checksums.h"

namespace cofs {
namespace {

std::string PlaceOf(InodeId inode, FileOffset file_offset, DeviceOffset device_offset) {
  return StrCat("inode ", inode, ", file offset ", file_offset, ", device offset ",
                device_offset);
}

// Where the copy took the block from that a device copied there, as far as that can
// still be known: the place it came from has the same checksum.
std::string OriginOf(Core& core, DeviceOffset offset, uint32_t crc) {
  if (core.copies == nullptr) return "";
  const auto origin = core.copies->OriginOf(offset);
  if (!origin) return "";
  ChecksumReader checksums(*core.store);
  const auto source_crc = checksums.Get(origin->source);
  if (!source_crc.ok() || *source_crc != crc) return "";
  return StrCat(", copied there by ", NameOf(origin->way), " from device offset ",
                origin->source);
}

// An error of the bus passes; rot on the medium stays.
Status ReadAgain(Core& core, InodeId inode, FileOffset file_offset, DeviceOffset offset,
                 char* memory, uint32_t crc) {
  TRY(core.device->Read(offset, {memory, kBlockBytes}));
  const uint32_t found = Crc32c(memory, kBlockBytes);
  const std::string place = PlaceOf(inode, file_offset, offset);
  if (found == crc) {
    LogWarning(StrCat(place, ": the second read matches its checksum, the first did not"));
    return OkStatus();
  }
  core.counters.checksum_errors.fetch_add(1, std::memory_order_relaxed);
  const Error error(ErrorCode::kChecksum, place);
  LogError(StrCat(error.ToString(), OriginOf(core, offset, crc), " (expected ", crc,
                  ", found ", found, ")"));
  return error;
}

}  // namespace

Status ReadVerified(Core& core, InodeId inode, std::span<const BlockRead> reads) {
  if (reads.empty()) return OkStatus();
  std::vector<IoOp> ops(reads.size());
  for (size_t i = 0; i < reads.size(); ++i) {
    ops[i].kind = IoKind::kRead;
    ops[i].offset = reads[i].device_offset;
    ops[i].data = reads[i].memory;
    ops[i].length_bytes = reads[i].length_bytes;
  }
  if (const Status read = core.device->Execute(ops); !read.ok()) {
    core.counters.io_errors.fetch_add(1, std::memory_order_relaxed);
    return read.error().Within(StrCat("inode ", inode));
  }
  ChecksumReader checksums(*core.store);
  for (const BlockRead& read : reads) {
    for (uint64_t at = 0; at < read.length_bytes; at += kBlockBytes) {
      const DeviceOffset offset = read.device_offset + at;
      const auto crc = checksums.Get(offset);
      if (!crc.ok())
        return crc.error().Within(PlaceOf(inode, read.file_offset + at, offset));
      if (Crc32c(read.memory + at, kBlockBytes) != *crc)
        TRY(ReadAgain(core, inode, read.file_offset + at, offset, read.memory + at, *crc));
    }
  }
  return OkStatus();
}

}  // namespace cofs
