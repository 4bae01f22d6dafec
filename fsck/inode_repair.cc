// Repairs of inode records.
#include <sys/stat.h>

#include <cstring>

#include "base/log.h"
#include "fsck/repairer.h"

namespace cofs {
namespace {

constexpr size_t kFixedBytes = 104;  // docs/FORMAT.md, "Inode"

template <typename T>
T FieldAt(std::string_view value, size_t offset) {
  T field;
  std::memcpy(&field, value.data() + offset, sizeof(field));
  return field;
}

bool IsKnownType(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      return true;
    default:
      return false;
  }
}

// What of a damaged inode record can be believed, field by field. Mode 0: nothing.
InodeRecord ReadFields(std::string_view value) {
  InodeRecord out;
  if (value.size() < kFixedBytes) return out;
  const auto mode = FieldAt<uint32_t>(value, 0);
  if (!IsKnownType(mode)) return out;
  out.mode = mode & (S_IFMT | 07777);
  out.uid = FieldAt<uint32_t>(value, 4);
  out.gid = FieldAt<uint32_t>(value, 8);
  out.link_count = std::min(FieldAt<uint32_t>(value, 12), kLinkCountMax);
  out.size_bytes = FieldAt<uint64_t>(value, 16);
  Timestamp* times[4] = {&out.atime, &out.mtime, &out.ctime, &out.btime};
  for (size_t i = 0; i < 4; ++i) {
    const auto nanoseconds = FieldAt<uint32_t>(value, 64 + 4 * i);
    *times[i] = {FieldAt<int64_t>(value, 32 + 8 * i),
                 nanoseconds < 1000000000 ? nanoseconds : 0};
  }
  out.rdev = FieldAt<uint32_t>(value, 80);
  out.flags = FieldAt<uint32_t>(value, 84) & kInodeFlagsKnown;
  out.parent = InodeId{FieldAt<uint64_t>(value, 88)};
  out.symlink_target = value.substr(kFixedBytes);
  return out;
}

// The type that the records of an inode, its old record and its name say, in this order;
// 0 when nothing does.
uint32_t TypeOf(const Repairer::InodeTraces& traces, const InodeRecord& fields,
                const LinkEntry* link) {
  if (traces.entry_count > 0) return S_IFDIR;
  if (traces.extent_count > 0) return S_IFREG;
  if (fields.mode != 0) return fields.mode & S_IFMT;
  return link == nullptr ? 0 : uint32_t{link->type} << 12;
}

}  // namespace

Status Repairer::RebuildInode(InodeId inode, const InodeTraces& traces) {
  const LinkEntry* link = tables().LinkTo(inode);
  InodeRecord record = ReadFields(traces.value);
  const uint32_t type =
      inode == kRootInode ? uint32_t{S_IFDIR} : TypeOf(traces, record, link);
  const bool has_fields = record.mode != 0;
  const bool is_lost =
      type == 0 ||
      (type == S_IFLNK && (record.symlink_target.empty() ||
                           record.symlink_target.size() > kSymlinkBytesMax ||
                           record.symlink_target.find('\0') != std::string::npos)) ||
      ((type == S_IFCHR || type == S_IFBLK) && !has_fields);
  if (is_lost) {
    Lost(inode, "nothing is left of it: it is removed");
    TRY(records_.DeleteAll(AllOfInode(inode)));
    return OkStatus();
  }
  if (!has_fields) {
    record.mode = type == S_IFDIR ? 0700 : 0600;
    record.atime = record.mtime = record.ctime = record.btime = {superblock().created_s,
                                                                 0};
    record.size_bytes = traces.written_end.value();
    record.link_count = 1;
    Lost(inode, "its owner, permissions, times and exact size are lost");
  }
  record.mode = type | (record.mode & 07777);
  if (traces.xattr_count > 0) record.flags |= kInodeHasXattr;
  record.allocated_bytes = 0;
  if (type != S_IFLNK) record.symlink_target.clear();
  if (type != S_IFCHR && type != S_IFBLK) record.rdev = 0;
  switch (type) {
    case S_IFREG:
      if (record.size_bytes > kFileBytesMax) record.size_bytes = traces.written_end.value();
      record.size_bytes = std::min(record.size_bytes, kFileBytesMax);
      record.allocated_bytes = std::min<uint64_t>(
          traces.extent_bytes, RoundDown(INT64_MAX, kBlockBytes));
      break;
    case S_IFDIR:
      record.size_bytes = traces.entry_count;
      if (record.link_count != 0) record.link_count = 2 + traces.subdirectory_count;
      break;
    case S_IFLNK:
      record.size_bytes = record.symlink_target.size();
      break;
    default:
      record.size_bytes = 0;
  }
  if (type != S_IFDIR) {
    record.parent = InodeId{};
  } else if (inode == kRootInode) {
    record.parent = kRootInode;
  } else if (link != nullptr) {
    record.parent = link->parent;
  } else if (record.parent.value() == 0) {
    record.parent = kRootInode;
  }
  records_.PutInode(inode, record);
  return OkStatus();
}

}  // namespace cofs
