#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "fs/fuse/attributes.h"
#include "fs/fuse/operations.h"

namespace cofs {
namespace {

// WRITE's answer and copy_file_range's carry 32 bits.
constexpr uint64_t kCopyBytesMax = UINT32_MAX & ~(kBlockBytes - 1);

bool IsRangeValid(off_t offset, off_t length) {
  return offset >= 0 && length >= 0 && length <= INT64_MAX - offset;
}

// With these the kernel copies by itself, through the page cache, and the caller never
// hears that the policy could not be kept.
bool MakesKernelCopy(int error_number) {
  return error_number == EOPNOTSUPP || error_number == EXDEV || error_number == ENOSYS;
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
  if ((file->flags & O_TRUNC) != 0) {
    AttributeChange change;
    change.size_bytes = 0;
    change.mtime = Now();
    change.kill_privileges = (request.open_flags & FUSE_OPEN_KILL_SUIDGID) != 0;
    const Result<InodeStat> truncated = volume_.SetAttributes(id, change);
    if (!truncated.ok()) return reply.Fail(truncated.error());
  }
  const bool writes = (file->flags & O_ACCMODE) != O_RDONLY;
  file->fh = writes ? 1 : 0;
  file->keep_cache = 1;
  request.answer_open_flags = OpenFlagsFor(file->flags);
  if (writes) writers_.Opened(id);
  if (!reply.Open(*file) && writes) writers_.Released(id);
}

void Operations::Release(Reply& reply, fuse_ino_t inode, fuse_file_info* file) {
  if (file->fh == 1) writers_.Released(InodeId(inode));
  reply.Errno(0);
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
  // The kernel took the time when the page was written, and sends it when it differs
  // from what it last heard: the time of the write-back would be wrong for good.
  options.keep_times = options_.writeback_cache &&
                       (CurrentRequest()->write_flags & FUSE_WRITE_CACHE) != 0;
  const Status status =
      volume_.Write(InodeId(inode), FileOffset(static_cast<uint64_t>(offset)), {data, size},
                    options);
  if (!status.ok()) return reply.Fail(status.error());
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
    AttributeChange change;
    change.kill_privileges = true;
    const Result<InodeStat> changed = volume_.SetAttributes(InodeId(inode), change);
    if (!changed.ok()) return reply.Fail(changed.error());
  }
  reply.Errno(0);
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

void Operations::CopyRange(Reply& reply, fuse_ino_t source, off_t source_offset,
                           fuse_file_info*, fuse_ino_t destination,
                           off_t destination_offset, fuse_file_info*, size_t length,
                           int flags) {
  if (flags != 0) return reply.Errno(EINVAL);
  length = std::min<uint64_t>(length, kCopyBytesMax);
  if (!IsRangeValid(source_offset, static_cast<off_t>(length)) ||
      !IsRangeValid(destination_offset, static_cast<off_t>(length)))
    return reply.Errno(EINVAL);
  Request& request = *CurrentRequest();
  Interrupts::Registration registration(interrupts_, request);
  const Result<uint64_t> copied = volume_.Copy(
      InodeId(source), FileOffset(static_cast<uint64_t>(source_offset)),
      InodeId(destination), FileOffset(static_cast<uint64_t>(destination_offset)), length,
      [&request] { return request.interrupted.load(std::memory_order_relaxed); });
  if (!copied.ok() && MakesKernelCopy(copied.error().errno_value()))
    return reply.Errno(EREMOTEIO);
  if (!copied.ok()) return reply.Fail(copied.error());
  if (*copied == 0 && length > 0 && request.interrupted.load(std::memory_order_relaxed))
    return reply.Errno(EINTR);
  reply.Written(*copied);
}

void Operations::BlockMap(Reply& reply, fuse_ino_t, size_t, uint64_t) {
  // A swap file would be written past checksums and copy-on-write.
  reply.Errno(EOPNOTSUPP);
}

}  // namespace cofs
