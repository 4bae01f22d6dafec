#include "fs/fuse/attributes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace cofs {
namespace {

constexpr uint64_t kStatBlockBytes = 512;
// statfs(2) wants a number of free inodes, and cofs has no table of them: as many as
// fit when each takes this much of the free space.
constexpr uint64_t kGuessedInodeBytes = 1024;

timespec TimeOf(const Timestamp& time) {
  timespec out{};
  out.tv_sec = time.seconds;
  out.tv_nsec = time.nanoseconds;
  return out;
}

Timestamp TimestampOf(const timespec& time) {
  return {time.tv_sec, static_cast<uint32_t>(time.tv_nsec)};
}

FuseSxTime SxTimeOf(const Timestamp& time) { return {time.seconds, time.nanoseconds, 0}; }

// rdev is stored as the kernel encodes it (new_encode_dev).
uint32_t MajorOf(uint32_t rdev) { return (rdev & 0xfff00) >> 8; }
uint32_t MinorOf(uint32_t rdev) { return (rdev & 0xff) | ((rdev >> 12) & 0xfff00); }

void SplitTimeout(double timeout_s, uint64_t* seconds, uint32_t* nanoseconds) {
  *seconds = static_cast<uint64_t>(timeout_s);
  *nanoseconds = static_cast<uint32_t>((timeout_s - std::floor(timeout_s)) * 1e9);
}

}  // namespace

struct stat StatOf(const InodeStat& inode) {
  const InodeRecord& record = inode.record;
  struct stat out;
  std::memset(&out, 0, sizeof(out));
  out.st_ino = inode.id.value();
  out.st_mode = record.mode;
  out.st_nlink = record.link_count;
  out.st_uid = record.uid;
  out.st_gid = record.gid;
  out.st_rdev = record.rdev;
  out.st_size = static_cast<off_t>(record.size_bytes);
  out.st_blksize = kBlockBytes;
  out.st_blocks = static_cast<blkcnt_t>(record.allocated_bytes / kStatBlockBytes);
  out.st_atim = TimeOf(record.atime);
  out.st_mtim = TimeOf(record.mtime);
  out.st_ctim = TimeOf(record.ctime);
  return out;
}

fuse_entry_param EntryOf(const InodeStat& inode, double attribute_timeout_s) {
  fuse_entry_param entry;
  std::memset(&entry, 0, sizeof(entry));
  entry.ino = inode.id.value();
  entry.generation = 1;  // inode numbers are never used again
  entry.attr = StatOf(inode);
  entry.attr_timeout = attribute_timeout_s;
  entry.entry_timeout = kTimeoutForever_s;
  return entry;
}

fuse_entry_param NegativeEntry() {
  fuse_entry_param entry;
  std::memset(&entry, 0, sizeof(entry));
  entry.entry_timeout = kTimeoutForever_s;
  return entry;
}

fuse_attr RawAttributesOf(const InodeStat& inode) {
  const InodeRecord& record = inode.record;
  fuse_attr out;
  std::memset(&out, 0, sizeof(out));
  out.ino = inode.id.value();
  out.size = record.size_bytes;
  out.blocks = record.allocated_bytes / kStatBlockBytes;
  out.atime = static_cast<uint64_t>(record.atime.seconds);
  out.mtime = static_cast<uint64_t>(record.mtime.seconds);
  out.ctime = static_cast<uint64_t>(record.ctime.seconds);
  out.atimensec = record.atime.nanoseconds;
  out.mtimensec = record.mtime.nanoseconds;
  out.ctimensec = record.ctime.nanoseconds;
  out.mode = record.mode;
  out.nlink = record.link_count;
  out.uid = record.uid;
  out.gid = record.gid;
  out.rdev = record.rdev;
  out.blksize = kBlockBytes;
  return out;
}

fuse_entry_out RawEntryOf(const InodeStat& inode, double attribute_timeout_s) {
  fuse_entry_out out;
  std::memset(&out, 0, sizeof(out));
  out.nodeid = inode.id.value();
  out.generation = 1;
  SplitTimeout(kTimeoutForever_s, &out.entry_valid, &out.entry_valid_nsec);
  SplitTimeout(attribute_timeout_s, &out.attr_valid, &out.attr_valid_nsec);
  out.attr = RawAttributesOf(inode);
  return out;
}

FuseStatxOut RawStatxOf(const InodeStat& inode, double attribute_timeout_s) {
  const InodeRecord& record = inode.record;
  FuseStatxOut out;
  std::memset(&out, 0, sizeof(out));
  SplitTimeout(attribute_timeout_s, &out.attr_valid, &out.attr_valid_nsec);
  out.mask = STATX_BASIC_STATS | STATX_BTIME;
  out.blksize = kBlockBytes;
  out.attributes_mask = STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND | STATX_ATTR_NODUMP;
  if ((record.flags & kInodeImmutable) != 0) out.attributes |= STATX_ATTR_IMMUTABLE;
  if ((record.flags & kInodeAppendOnly) != 0) out.attributes |= STATX_ATTR_APPEND;
  if ((record.flags & kInodeNoDump) != 0) out.attributes |= STATX_ATTR_NODUMP;
  out.nlink = record.link_count;
  out.uid = record.uid;
  out.gid = record.gid;
  out.mode = static_cast<uint16_t>(record.mode);
  out.ino = inode.id.value();
  out.size = record.size_bytes;
  out.blocks = record.allocated_bytes / kStatBlockBytes;
  out.atime = SxTimeOf(record.atime);
  out.btime = SxTimeOf(record.btime);
  out.ctime = SxTimeOf(record.ctime);
  out.mtime = SxTimeOf(record.mtime);
  out.rdev_major = MajorOf(record.rdev);
  out.rdev_minor = MinorOf(record.rdev);
  return out;
}

AttributeChange ChangeOf(const struct stat& attributes, int to_set, uint32_t raw_valid,
                         Timestamp now) {
  AttributeChange change;
  if ((to_set & FUSE_SET_ATTR_MODE) != 0) change.mode = attributes.st_mode & 07777;
  if ((to_set & FUSE_SET_ATTR_UID) != 0) change.uid = attributes.st_uid;
  if ((to_set & FUSE_SET_ATTR_GID) != 0) change.gid = attributes.st_gid;
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0)
    change.size_bytes = static_cast<uint64_t>(attributes.st_size);
  if ((to_set & FUSE_SET_ATTR_ATIME_NOW) != 0)
    change.atime = now;
  else if ((to_set & FUSE_SET_ATTR_ATIME) != 0)
    change.atime = TimestampOf(attributes.st_atim);
  if ((to_set & FUSE_SET_ATTR_MTIME_NOW) != 0)
    change.mtime = now;
  else if ((to_set & FUSE_SET_ATTR_MTIME) != 0)
    change.mtime = TimestampOf(attributes.st_mtim);
  if ((to_set & FUSE_SET_ATTR_CTIME) != 0) change.ctime = TimestampOf(attributes.st_ctim);
  // touch(1), or the kernel's own clock of a file that it writes back: it sends the
  // modification time alone, and as utimensat(2) of both would be sent otherwise.
  change.touches = (raw_valid & FATTR_ATIME_NOW) != 0 || (raw_valid & FATTR_ATIME) == 0;
  // FUSE_HANDLE_KILLPRIV_V2: a change of owner always takes the set-ID bits away, which
  // the kernel leaves to us; a change of size does when the kernel says so.
  change.kill_privileges = change.uid.has_value() || change.gid.has_value() ||
                           (raw_valid & FATTR_KILL_SUIDGID) != 0;
  return change;
}

struct statvfs StatvfsOf(const VolumeUsage& usage) {
  const uint64_t free_bytes = usage.space.free_bytes + usage.space.pending_bytes;
  const uint64_t available_bytes = free_bytes - std::min(free_bytes, usage.space.reserve_bytes);
  struct statvfs out;
  std::memset(&out, 0, sizeof(out));
  out.f_bsize = kBlockBytes;
  out.f_frsize = kBlockBytes;
  out.f_blocks = usage.space.volume_bytes / kBlockBytes;
  out.f_bfree = free_bytes / kBlockBytes;
  out.f_bavail = available_bytes / kBlockBytes;
  out.f_ffree = available_bytes / kGuessedInodeBytes;
  out.f_favail = out.f_ffree;
  out.f_files = out.f_ffree + usage.inodes_used;
  out.f_namemax = kNameBytesMax;
  return out;
}

}  // namespace cofs
