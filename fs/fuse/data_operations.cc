#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "fs/fuse/attributes.h"
#include "fs/fuse/caller_rights.h"
#include "fs/fuse/operations.h"

namespace cofs {
namespace {

bool IsRangeValid(off_t offset, off_t length) {
  return offset >= 0 && length >= 0 && length <= INT64_MAX - offset;
}

}  // namespace

uint32_t Operations::OpenFlagsFor(int flags) const {
  uint32_t out = FOPEN_PARALLEL_DIRECT_WRITES;
  // Kernels from 6.10 on let direct writes of one file run at once only for files that
  // are open in this mode, and keep them coherent with its page cache.
  if ((flags & O_DIRECT) != 0 && direct_io_allowed_) out |= FOPEN_DIRECT_IO;
  return out;
}

void Operations::Open(Reply& reply, fuse_ino_t inode, fuse_file_info* file) {
  Request& request = *CurrentRequest();
  const InodeId id(inode);
  if ((file->flags & O_ACCMODE) != O_RDONLY) {
    // After mount -o remount,rw the kernel would let it pass.
    if (volume_.options().read_only) return reply.Errno(EROFS);
    // The kernel does not know of these flags.
    const Result<InodeStat> stat = volume_.GetAttributes(id);
    if (!stat.ok()) return reply.Fail(stat.error());
    const bool may_append =
        (file->flags & O_APPEND) != 0 || (stat->record.flags & kInodeAppendOnly) == 0;
    if ((stat->record.flags & kInodeImmutable) != 0 || !may_append)
      return reply.Errno(EPERM);
  }
  if ((file->flags & O_TRUNC) != 0) {
    AttributeChange change;
    change.size_bytes = 0;
    change.mtime = Now();
    change.kill_privileges = (request.open_flags & FUSE_OPEN_KILL_SUIDGID) != 0;
    const bool loses_bits = change.kill_privileges && HasSetIdBits(id);
    const Result<InodeStat> truncated = volume_.SetAttributes(id, change);
    if (!truncated.ok()) return reply.Fail(truncated.error());
    if (loses_bits) options_.invalidate_attributes(id);
  }
  // What the kernel has in its page cache is read without a word to us.
  if ((file->flags & (O_ACCMODE | O_NOATIME)) == O_RDONLY && volume_.NoteAccess(id))
    options_.invalidate_attributes(id);
  file->fh = Opened(id, file->flags);
  file->keep_cache = 1;
  request.answer_open_flags = OpenFlagsFor(file->flags);
  if (!reply.Open(*file)) Released(id, file->fh);
}

void Operations::Release(Reply& reply, fuse_ino_t inode, fuse_file_info* file) {
  Released(InodeId(inode), file->fh);
  reply.Errno(0);
}

uint64_t Operations::Opened(InodeId inode, int flags) {
  const int access = flags & O_ACCMODE;
  uint64_t handle = 0;
  // The fourth mode (3) is for ioctl(2) alone.
  if (access == O_RDONLY || access == O_RDWR) handle |= kHandleReads;
  if (access == O_WRONLY || access == O_RDWR) handle |= kHandleWrites;
  if ((handle & kHandleWrites) != 0) writers_.Opened(inode);
  return handle;
}

void Operations::Released(InodeId inode, uint64_t handle) {
  if ((handle & kHandleWrites) == 0) return;
  std::vector<InodeId> snapshots;
  writers_.Released(inode, [&] {
    snapshots = copy_arms_.Closed(inode);
    copy_reports_.Closed(inode);
  });
  for (const InodeId snapshot : snapshots) volume_.Forget(snapshot, 1);
}

void Operations::Read(Reply& reply, fuse_ino_t inode, size_t size, off_t offset,
                      fuse_file_info*) {
  // Handles are not looked at: with the writeback cache the kernel also reads
  // through handles that were opened for writing only.
  if (!IsRangeValid(offset, static_cast<off_t>(size))) return reply.Errno(EINVAL);
  const Request& request = *CurrentRequest();
  const InodeId id(inode);
  const FileOffset from(static_cast<uint64_t>(offset));
  const Result<std::span<const char>> data = volume_.Read(id, from, size, *request.buffer);
  if (!data.ok()) return reply.Fail(data.error());
  // A direct read (only these carry a lock owner) that ends early: the kernel's end of
  // the file may be further on, with dirty pages behind a hole.
  const bool direct = (request.read_flags & FUSE_READ_LOCKOWNER) != 0;
  if (data->size() < size && direct && MayHaveDirtyPages(id)) {
    return options_.after_write_back(
        id, from + data->size(), reply.HandOver(),
        [this, id, from, size](Reply& later) { ReadNow(later, id, from, size); });
  }
  reply.Data(*data);
}

void Operations::ReadNow(Reply& reply, InodeId inode, FileOffset offset, size_t size) {
  const Result<std::span<const char>> data =
      volume_.Read(inode, offset, size, *CurrentRequest()->buffer);
  if (!data.ok()) return reply.Fail(data.error());
  reply.Data(*data);
}

void Operations::Write(Reply& reply, fuse_ino_t inode, const char* data, size_t size,
                       off_t offset, fuse_file_info* file) {
  if (!IsRangeValid(offset, static_cast<off_t>(size))) return reply.Errno(EFBIG);
  WriteOptions options;
  // O_SYNC contains O_DSYNC's bit.
  options.sync = (file->flags & O_DSYNC) != 0;
  options.kill_privileges =
      (CurrentRequest()->write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
  // What the kernel does for pages that it keeps, for root too: a capability is of the
  // contents that it was given for.
  options.kill_capability = (CurrentRequest()->write_flags & FUSE_WRITE_CACHE) == 0;
  // The kernel took the time when the page was written, and sends it when it differs
  // from what it last heard: the time of the write-back would be wrong for good.
  options.keep_times = options_.writeback_cache &&
                       (CurrentRequest()->write_flags & FUSE_WRITE_CACHE) != 0;
  const bool loses_bits = options.kill_privileges && HasSetIdBits(InodeId(inode));
  const Status status =
      volume_.Write(InodeId(inode), FileOffset(static_cast<uint64_t>(offset)), {data, size},
                    options);
  if (!status.ok()) {
    // Of pages that write(2) has already accepted: without this a stream would go on for
    // ever, since the kernel keeps the error for fsync(2) and close(2). Before the next
    // write(2) it asks for the attributes again, which then fails: see GetAttributes().
    const bool cached = (CurrentRequest()->write_flags & FUSE_WRITE_CACHE) != 0;
    if (cached && status.error().code() == ErrorCode::kNoSpace &&
        writers_.NoteNoSpace(InodeId(inode)))
      options_.invalidate_attributes(InodeId(inode));
    return reply.Fail(status.error());
  }
  if (loses_bits) options_.invalidate_attributes(InodeId(inode));
  reply.Written(size);
}

void Operations::Sync(Reply& reply, fuse_ino_t inode, int, fuse_file_info*) {
  const InodeId id(inode);
  const Status status = volume_.Sync(id);
  // The kernel does not see that writing back has taken blocks.
  if (status.ok() && MayHaveDirtyPages(id)) options_.invalidate_attributes(id);
  reply.Done(status);
}

void Operations::Allocate(Reply& reply, fuse_ino_t inode, int mode, off_t offset,
                          off_t length, fuse_file_info*) {
  if (!IsRangeValid(offset, length)) return reply.Errno(EFBIG);
  const Status status =
      volume_.Allocate(InodeId(inode), mode, FileOffset(static_cast<uint64_t>(offset)),
                       static_cast<uint64_t>(length));
  if (!status.ok()) return reply.Fail(status.error());
  // With FUSE_HANDLE_KILLPRIV_V2 the kernel leaves it to us, and sends no flag here.
  if (reply.caller().uid != 0) {
    const Status killed = KillPrivileges(reply.caller(), InodeId(inode));
    if (!killed.ok()) return reply.Fail(killed.error());
  }
  reply.Errno(0);
}

Status Operations::KillPrivileges(const fuse_ctx& caller, InodeId inode) {
  TRY_ASSIGN(const InodeStat stat, volume_.GetAttributes(inode));
  AttributeChange change;
  change.kill_privileges = true;
  // Without execute permission for the group the bit stays, but for others than its members
  // (kernel: setattr_should_drop_sgid).
  const uint32_t mode = stat.record.mode;
  if (S_ISREG(mode) && (mode & (S_ISGID | S_IXGRP)) == S_ISGID &&
      !IsInGroup(caller, stat.record.gid))
    change.kill_set_group_id = true;
  TRY(volume_.SetAttributes(inode, change));
  if ((mode & (S_ISUID | S_ISGID)) != 0) options_.invalidate_attributes(inode);
  return OkStatus();
}

void Operations::Seek(Reply& reply, fuse_ino_t inode, off_t offset, int whence,
                      fuse_file_info*) {
  if (offset < 0) return reply.Errno(ENXIO);
  const InodeId id(inode);
  const FileOffset from(static_cast<uint64_t>(offset));
  if (MayHaveDirtyPages(id)) {
    return options_.after_write_back(
        id, from, reply.HandOver(),
        [this, id, from, whence](Reply& later) { SeekNow(later, id, from, whence); });
  }
  SeekNow(reply, id, from, whence);
}

void Operations::SeekNow(Reply& reply, InodeId inode, FileOffset offset, int whence) {
  const Result<FileOffset> found = volume_.Seek(inode, offset, whence);
  if (!found.ok()) return reply.Fail(found.error());
  reply.Offset(found->value());
}

void Operations::BlockMap(Reply& reply, fuse_ino_t, size_t, uint64_t) {
  // A swap file would be written past checksums and copy-on-write.
  reply.Errno(EOPNOTSUPP);
}

}  // namespace cofs
