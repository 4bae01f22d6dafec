#include "extent_map/records.h"

#include <sys/stat.h>

#include <bit>
#include <cstddef>
#include <cstring>

#include "base/codec.h"

namespace cofs {
namespace {

constexpr uint32_t kNanosecondsPerSecond = 1'000'000'000;

Error Refused(std::string_view what) { return Error(ErrorCode::kCorrupt, std::string(what)); }

// What Encode is given is our own state.
void CheckValid(const Status& status) {
  CHECK(status.ok(), status.ok() ? "" : status.error().ToString());
}

// The fixed part of an inode's value, little-endian; a symlink's target follows.
//
//   offset  size  field
//        0     4  mode
//        4     4  uid
//        8     4  gid
//       12     4  link count
//       16     8  size bytes
//       24     8  allocated bytes
//       32     8  atime, seconds (signed)
//       40     8  mtime, seconds (signed)
//       48     8  ctime, seconds (signed)
//       56     8  btime, seconds (signed)
//       64     4  atime, nanoseconds
//       68     4  mtime, nanoseconds
//       72     4  ctime, nanoseconds
//       76     4  btime, nanoseconds
//       80     4  rdev
//       84     4  flags
//       88     8  parent
//       96     8  reserved, zero
struct InodeLayout {
  uint32_t mode;
  uint32_t uid;
  uint32_t gid;
  uint32_t link_count;
  uint64_t size_bytes;
  uint64_t allocated_bytes;
  int64_t seconds[4];
  uint32_t nanoseconds[4];
  uint32_t rdev;
  uint32_t flags;
  uint64_t parent;
  uint64_t reserved;
};
static_assert(sizeof(InodeLayout) == 104);
static_assert(offsetof(InodeLayout, size_bytes) == 16);
static_assert(offsetof(InodeLayout, seconds) == 32);
static_assert(offsetof(InodeLayout, nanoseconds) == 64);
static_assert(offsetof(InodeLayout, rdev) == 80);
static_assert(offsetof(InodeLayout, parent) == 88);

Status CheckInode(const InodeRecord& inode) {
  if ((inode.mode & ~(S_IFMT | 07777u)) != 0) return Refused("inode: mode");
  for (const Timestamp& time : {inode.atime, inode.mtime, inode.ctime, inode.btime})
    if (time.nanoseconds >= kNanosecondsPerSecond) return Refused("inode: nanoseconds");
  if ((inode.flags & ~kInodeFlagsKnown) != 0) return Refused("inode: unknown flags");
  if (inode.link_count > kLinkCountMax) return Refused("inode: link count");
  if (inode.allocated_bytes > INT64_MAX || !IsBlockAligned(inode.allocated_bytes))
    return Refused("inode: allocated bytes");

  const uint32_t type = inode.mode & S_IFMT;
  const bool is_device = type == S_IFCHR || type == S_IFBLK;
  if (!is_device && inode.rdev != 0) return Refused("inode: rdev of what is no device");
  if (type != S_IFREG && inode.allocated_bytes != 0)
    return Refused("inode: extents of what is no regular file");
  if (type == S_IFDIR ? inode.parent.value() == 0 && inode.link_count != 0
                      : inode.parent.value() != 0)
    return Refused("inode: parent");
  if (type != S_IFLNK && !inode.symlink_target.empty())
    return Refused("inode: bytes after its end");
  switch (type) {
    case S_IFREG:
      if (inode.size_bytes > kFileBytesMax) return Refused("inode: size");
      break;
    case S_IFDIR:
      if (inode.size_bytes > INT64_MAX) return Refused("inode: number of entries");
      break;
    case S_IFLNK:
      if (inode.symlink_target.empty() || inode.symlink_target.size() > kSymlinkBytesMax ||
          inode.symlink_target.find('\0') != std::string::npos ||
          inode.size_bytes != inode.symlink_target.size())
        return Refused("inode: symlink target");
      break;
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      if (inode.size_bytes != 0) return Refused("inode: size of what has none");
      break;
    default:
      return Refused("inode: type");
  }
  return OkStatus();
}

Status CheckDentry(const DentryRecord& dentry) {
  if (dentry.inode.value() == 0) return Refused("entry: inode 0");
  switch (uint32_t{dentry.type} << 12) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      break;
    default:
      return Refused("entry: type");
  }
  const std::string& name = dentry.name;
  if (name.empty() || name.size() > kNameBytesMax || name == "." || name == ".." ||
      name.find('/') != std::string::npos || name.find('\0') != std::string::npos)
    return Refused("entry: name");
  return OkStatus();
}

bool IsBlockRun(uint64_t offset, uint64_t length_bytes, uint64_t end_max) {
  return IsBlockAligned(offset) && IsBlockAligned(length_bytes) && length_bytes != 0 &&
         offset <= end_max && length_bytes <= end_max - offset;
}

Status CheckExtent(const Extent& extent) {
  if (!IsBlockRun(extent.file_offset.value(), extent.length_bytes, kFileBytesMax))
    return Refused("extent: place in the file");
  if (!IsBlockRun(extent.device_offset.value(), extent.length_bytes, INT64_MAX))
    return Refused("extent: place on the device");
  if ((extent.flags & ~(kExtentUnwritten | kExtentShared)) != 0)
    return Refused("extent: unknown flags");
  return OkStatus();
}

Status CheckShared(const SharedRecord& record) {
  if (!IsBlockRun(0, record.length_bytes, INT64_MAX)) return Refused("shared range: length");
  if (record.reference_count < 2) return Refused("shared range: reference count");
  return OkStatus();
}

// Block counts are stored, so that bytes can't come out unaligned; a count that bytes
// can't hold comes out as one that the checks refuse.
uint64_t BytesOfBlocks(uint64_t blocks) {
  return blocks > (UINT64_MAX >> kBlockShift) ? UINT64_MAX : blocks << kBlockShift;
}

}  // namespace

std::string EncodeInode(const InodeRecord& record) {
  CheckValid(CheckInode(record));
  InodeLayout out{};
  out.mode = record.mode;
  out.uid = record.uid;
  out.gid = record.gid;
  out.link_count = record.link_count;
  out.size_bytes = record.size_bytes;
  out.allocated_bytes = record.allocated_bytes;
  const Timestamp* times[4] = {&record.atime, &record.mtime, &record.ctime, &record.btime};
  for (int i = 0; i < 4; ++i) {
    out.seconds[i] = times[i]->seconds;
    out.nanoseconds[i] = times[i]->nanoseconds;
  }
  out.rdev = record.rdev;
  out.flags = record.flags;
  out.parent = record.parent.value();
  std::string value(reinterpret_cast<const char*>(&out), sizeof(out));
  value += record.symlink_target;
  return value;
}

Result<InodeRecord> DecodeInode(std::string_view value) {
  InodeLayout in;
  if (value.size() < sizeof(in)) return Refused("inode: cut off");
  std::memcpy(&in, value.data(), sizeof(in));
  if (in.reserved != 0) return Refused("inode: reserved bytes are not zero");
  InodeRecord out;
  out.mode = in.mode;
  out.uid = in.uid;
  out.gid = in.gid;
  out.link_count = in.link_count;
  out.size_bytes = in.size_bytes;
  out.allocated_bytes = in.allocated_bytes;
  Timestamp* times[4] = {&out.atime, &out.mtime, &out.ctime, &out.btime};
  for (int i = 0; i < 4; ++i) *times[i] = {in.seconds[i], in.nanoseconds[i]};
  out.rdev = in.rdev;
  out.flags = in.flags;
  out.parent = InodeId{in.parent};
  out.symlink_target = value.substr(sizeof(in));
  TRY(CheckInode(out));
  return out;
}

// inode(8) type(1) name
std::string EncodeDentry(const DentryRecord& record) {
  CheckValid(CheckDentry(record));
  std::string value;
  value.reserve(9 + record.name.size());
  ByteWriter writer(value);
  writer.Little(record.inode.value());
  writer.U8(record.type);
  writer.Bytes(record.name);
  return value;
}

Result<DentryRecord> DecodeDentry(std::string_view value) {
  ByteReader reader(value);
  DentryRecord out;
  out.inode = InodeId{reader.Little<uint64_t>()};
  out.type = reader.U8();
  out.name = reader.Rest();
  if (!reader.Finished()) return Refused("entry: cut off");
  TRY(CheckDentry(out));
  return out;
}

// flags(1) varint(device offset / block) varint(length / block)
std::string EncodeExtent(const Extent& extent) {
  CheckValid(CheckExtent(extent));
  std::string value;
  ByteWriter writer(value);
  writer.U8(extent.flags);
  writer.Varint(extent.device_offset.value() >> kBlockShift);
  writer.Varint(extent.length_bytes >> kBlockShift);
  return value;
}

Result<Extent> DecodeExtent(FileOffset key_offset, std::string_view value) {
  ByteReader reader(value);
  Extent out;
  out.file_offset = key_offset;
  out.flags = reader.U8();
  out.device_offset = DeviceOffset{BytesOfBlocks(reader.Varint())};
  out.length_bytes = BytesOfBlocks(reader.Varint());
  if (!reader.Finished()) return Refused("extent: wrong length of its value");
  TRY(CheckExtent(out));
  return out;
}

// varint(length / block) varint(reference count)
std::string EncodeShared(const SharedRecord& record) {
  CheckValid(CheckShared(record));
  std::string value;
  ByteWriter writer(value);
  writer.Varint(record.length_bytes >> kBlockShift);
  writer.Varint(record.reference_count);
  return value;
}

Result<SharedRecord> DecodeShared(std::string_view value) {
  ByteReader reader(value);
  SharedRecord out;
  out.length_bytes = BytesOfBlocks(reader.Varint());
  const uint64_t count = reader.Varint();
  if (!reader.Finished()) return Refused("shared range: wrong length of its value");
  if (count > kReferenceCountMax) return Refused("shared range: reference count");
  out.reference_count = static_cast<uint32_t>(count);
  TRY(CheckShared(out));
  return out;
}

// present(8), then the checksums of the blocks present, in order, 4 bytes each
std::string EncodeChecksums(const ChecksumChunk& chunk) {
  CHECK(chunk.present != 0, "checksums of no block");
  std::string value;
  value.reserve(8 + 4 * static_cast<size_t>(std::popcount(chunk.present)));
  ByteWriter writer(value);
  writer.Little(chunk.present);
  for (size_t block = 0; block < kChecksumChunkBlocks; ++block)
    if ((chunk.present >> block & 1) != 0) writer.Little(chunk.crc32c[block]);
  return value;
}

Result<ChecksumChunk> DecodeChecksums(std::string_view value) {
  ByteReader reader(value);
  ChecksumChunk out;
  out.present = reader.Little<uint64_t>();
  for (size_t block = 0; block < kChecksumChunkBlocks; ++block)
    if ((out.present >> block & 1) != 0) out.crc32c[block] = reader.Little<uint32_t>();
  if (!reader.Finished()) return Refused("checksums: wrong length of their value");
  if (out.present == 0) return Refused("checksums: of no block");
  return out;
}

std::string EncodeInodeCounter(InodeId next) {
  CHECK(next >= kFirstFreeInode, next);
  std::string value;
  ByteWriter(value).Little(next.value());
  return value;
}

Result<InodeId> DecodeInodeCounter(std::string_view value) {
  ByteReader reader(value);
  const InodeId next{reader.Little<uint64_t>()};
  if (!reader.Finished() || next < kFirstFreeInode) return Refused("inode counter");
  return next;
}

// finished(8, 0 or 1) inode(8) file offset(8) verified(8) damaged(8) started(8) saved(8)
std::string EncodeScrub(const ScrubRecord& record) {
  CHECK(IsBlockAligned(record.file_offset.value()), record.file_offset);
  CHECK(record.file_offset.value() <= kFileBytesMax, record.file_offset);
  std::string value;
  ByteWriter writer(value);
  writer.Little<uint64_t>(record.is_finished ? 1 : 0);
  writer.Little(record.inode.value());
  writer.Little(record.file_offset.value());
  writer.Little(record.verified_bytes);
  writer.Little(record.damage_count);
  writer.Little(static_cast<uint64_t>(record.started_s));
  writer.Little(static_cast<uint64_t>(record.saved_s));
  return value;
}

Result<ScrubRecord> DecodeScrub(std::string_view value) {
  ByteReader reader(value);
  ScrubRecord out;
  const uint64_t state = reader.Little<uint64_t>();
  out.is_finished = state == 1;
  out.inode = InodeId{reader.Little<uint64_t>()};
  out.file_offset = FileOffset{reader.Little<uint64_t>()};
  out.verified_bytes = reader.Little<uint64_t>();
  out.damage_count = reader.Little<uint64_t>();
  out.started_s = static_cast<int64_t>(reader.Little<uint64_t>());
  out.saved_s = static_cast<int64_t>(reader.Little<uint64_t>());
  if (!reader.Finished()) return Refused("scrub: wrong length of its value");
  if (state > 1) return Refused("scrub: unknown state");
  if (!IsBlockAligned(out.file_offset.value()) || out.file_offset.value() > kFileBytesMax)
    return Refused("scrub: file offset");
  return out;
}

ChecksumChunk MergeChecksums(const ChecksumChunk& earlier, const ChecksumChunk& later) {
  ChecksumChunk out = earlier;
  out.present |= later.present;
  for (size_t block = 0; block < kChecksumChunkBlocks; ++block)
    if ((later.present >> block & 1) != 0) out.crc32c[block] = later.crc32c[block];
  return out;
}

}  // namespace cofs
