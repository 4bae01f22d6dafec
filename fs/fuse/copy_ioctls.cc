// The ioctl(2) calls that copies, clones and dedupe are made of: see cofs_ioctl.h.
#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fs/fuse/ioctl_argument.h"
#include "fs/fuse/operations.h"

namespace cofs {
namespace {

static_assert(sizeof(cofs_ioc_copy_arm) == 32 && sizeof(cofs_ioc_copy_report) == 1024);
static_assert(sizeof(cofs_ioc_ticket) == 16 && sizeof(cofs_ioc_dedupe) == 56);
static_assert(sizeof(cofs_ioc_unshare) == 16 && sizeof(cofs_ioc_write_back) == 16);
static_assert(sizeof(cofs_ioc_shift) == 32);
static_assert(sizeof(cofs_ioc_version) == 16);

// Offsets are off_t outside.
bool IsIoctlRangeValid(uint64_t offset, uint64_t length) {
  return offset <= INT64_MAX && length <= INT64_MAX - offset;
}

size_t WayIndexOf(CopyWayId way) {
  switch (way) {
    case CopyWayId::kNvmeCopy:
      return COFS_WAY_NVME_COPY;
    case CopyWayId::kScsiXcopy:
      return COFS_WAY_SCSI_XCOPY;
    case CopyWayId::kHostFile:
      return COFS_WAY_HOST_FILE;
    case CopyWayId::kDevice:
      return COFS_WAY_DEVICE;
    case CopyWayId::kBuffered:
      return COFS_WAY_BUFFERED;
  }
  return COFS_WAY_DEVICE;
}

static_assert(static_cast<size_t>(FallbackReason::kBadSource) == COFS_REASON_BAD_SOURCE);
static_assert(kFallbackReasonCount <= COFS_REASONS_MAX);
static_assert(LatencyHistogram::kBucketCount <= COFS_LATENCY_BUCKETS);

void Fill(const CopyReports::Sum& sum, cofs_ioc_copy_report& out) {
  const CopyReport& engine = sum.report.engine;
  out.copies = sum.copy_count;
  out.bytes = sum.copied_bytes;
  out.fallbacks = engine.fallback_count;
  for (size_t i = 0; i < kCopyWayCount; ++i) {
    cofs_copy_way_report& way = out.ways[WayIndexOf(static_cast<CopyWayId>(i))];
    way.bytes = engine.bytes_by_way[i];
    way.commands = engine.commands_by_way[i];
    for (size_t k = 0; k < LatencyHistogram::kBucketCount; ++k)
      out.latency[k] += engine.latency_by_way[i].counts[k];
  }
  out.verified_bytes = engine.verified_bytes;
  for (size_t i = 0; i < kFallbackReasonCount; ++i)
    out.reasons[i] = {engine.fallbacks[i].count, engine.fallbacks[i].bytes};
  out.ways[COFS_WAY_MEMORY].bytes = sum.report.memory_bytes;
  out.ways[COFS_WAY_SHARED].bytes = sum.report.shared_bytes;
  out.ways[COFS_WAY_HOLES].bytes = sum.report.hole_bytes;
  const size_t length =
      std::min(engine.fallback_reason.size(), sizeof(out.fallback_reason) - 1);
  std::memcpy(out.fallback_reason, engine.fallback_reason.data(), length);
}

}  // namespace

bool Operations::IoctlForCopies(Reply& reply, InodeId inode, unsigned command,
                                uint64_t handle, std::span<const char> in) {
  switch (command) {
    case COFS_IOC_VERSION: {
      const cofs_ioc_version version{COFS_VERSION_MAGIC, 1, {}};
      reply.Ioctl(BytesOf(version));
      return true;
    }
    case COFS_IOC_WRITE_BACK:
      IoctlWriteBack(reply, inode, in);
      return true;
    case COFS_IOC_COPY_ARM:
      IoctlCopyArm(reply, inode, handle, in);
      return true;
    case COFS_IOC_COPY_REPORT:
      IoctlCopyReport(reply, inode, handle, in);
      return true;
    case COFS_IOC_TICKET:
      IoctlTicket(reply, inode, handle);
      return true;
    case COFS_IOC_DEDUPE:
      IoctlDedupe(reply, inode, handle, in);
      return true;
    case COFS_IOC_UNSHARE:
      IoctlUnshare(reply, inode, handle, in);
      return true;
    case COFS_IOC_SHIFT:
      IoctlShift(reply, inode, handle, in);
      return true;
    default:
      return false;
  }
}

void Operations::IoctlWriteBack(Reply& reply, InodeId inode, std::span<const char> in) {
  cofs_ioc_write_back range;
  if (!ReadArgument(in, &range) || range.offset > INT64_MAX) return reply.Errno(EINVAL);
  if (!MayHaveDirtyPages(inode)) return reply.Ioctl({});
  options_.after_write_back(inode, FileOffset(range.offset), reply.HandOver(),
                            [](Reply& later) { later.Ioctl({}); });
}

void Operations::IoctlCopyArm(Reply& reply, InodeId inode, uint64_t handle,
                              std::span<const char> in) {
  cofs_ioc_copy_arm arm;
  if (!ReadArgument(in, &arm)) return reply.Errno(EINVAL);
  if ((handle & kHandleWrites) == 0) return reply.Errno(EBADF);
  const fuse_ctx& caller = reply.caller();
  if (arm.length == 0) {
    copy_arms_.Disarm(caller.pid, inode);
    return reply.Ioctl({});
  }
  if (arm.how < COFS_ARM_CLONE || arm.how > COFS_ARM_BUFFERED || arm.reserved != 0 ||
      !IsIoctlRangeValid(arm.source_offset, arm.length) ||
      !IsIoctlRangeValid(arm.destination_offset, arm.length))
    return reply.Errno(EINVAL);
  // All threads of other pid namespaces look like this one.
  if (caller.pid == 0) return reply.Errno(EPERM);
  const Status put =
      copy_arms_.Put(caller.pid, inode,
                     CopyArm{.source_offset = FileOffset(arm.source_offset),
                             .destination_offset = FileOffset(arm.destination_offset),
                             .length_bytes = arm.length,
                             .how = arm.how,
                             .user = caller.uid});
  if (!put.ok()) return reply.Fail(put.error());
  // A clone may end within a block at the end of the destination, and nowhere else. That
  // end may lie in pages which copy_file_range(2) does not write back.
  if (arm.length % kBlockBytes != 0 && MayHaveDirtyPages(inode))
    return options_.after_write_back(inode, FileOffset(arm.destination_offset + arm.length),
                                     reply.HandOver(), [](Reply& later) { later.Ioctl({}); });
  reply.Ioctl({});
}

void Operations::IoctlCopyReport(Reply& reply, InodeId inode, uint64_t handle,
                                 std::span<const char> in) {
  cofs_ioc_copy_report report;
  if (!ReadArgument(in, &report)) return reply.Errno(EINVAL);
  if ((handle & kHandleWrites) == 0) return reply.Errno(EBADF);
  if ((report.flags & ~COFS_REPORT_RESET) != 0) return reply.Errno(EINVAL);
  const bool resets = (report.flags & COFS_REPORT_RESET) != 0;
  std::memset(&report, 0, sizeof(report));
  Fill(copy_reports_.Get(inode, resets), report);
  reply.Ioctl(BytesOf(report));
}

void Operations::IoctlTicket(Reply& reply, InodeId inode, uint64_t handle) {
  if ((handle & kHandleReads) == 0) return reply.Errno(EBADF);
  const fuse_ctx& caller = reply.caller();
  if (caller.pid == 0) return reply.Errno(EPERM);
  const ReadTicket ticket = read_tickets_.Issue({caller.pid, caller.uid}, inode);
  const cofs_ioc_ticket out{{ticket[0], ticket[1]}};
  reply.Ioctl(BytesOf(out));
}

void Operations::IoctlDedupe(Reply& reply, InodeId inode, uint64_t handle,
                             std::span<const char> in) {
  cofs_ioc_dedupe dedupe;
  if (!ReadArgument(in, &dedupe) || dedupe.reserved != 0) return reply.Errno(EINVAL);
  if (!IsIoctlRangeValid(dedupe.source_offset, dedupe.length) ||
      !IsIoctlRangeValid(dedupe.destination_offset, dedupe.length))
    return reply.Errno(EINVAL);
  const fuse_ctx& caller = reply.caller();
  const Result<InodeId> source = read_tickets_.Check({dedupe.ticket[0], dedupe.ticket[1]},
                                                     {caller.pid, caller.uid});
  if (!source.ok()) return reply.Fail(source.error());
  if ((handle & kHandleWrites) == 0 && caller.uid != 0) {
    const Result<InodeStat> stat = volume_.GetAttributes(inode);
    if (!stat.ok()) return reply.Fail(stat.error());
    if (stat->record.uid != caller.uid) return reply.Errno(EPERM);
  }
  Request& request = *CurrentRequest();
  Interrupts::Registration registration(interrupts_, request);
  const Result<DedupeResult> result = volume_.Dedupe(
      {.source = *source,
       .source_offset = FileOffset(dedupe.source_offset),
       .destination = inode,
       .destination_offset = FileOffset(dedupe.destination_offset),
       .length_bytes = dedupe.length,
       .interrupted = [&request] {
         return request.interrupted.load(std::memory_order_relaxed);
       }});
  if (!result.ok()) return reply.Fail(result.error());
  dedupe.deduped_bytes = result->deduped_bytes;
  dedupe.differs = result->differs ? 1 : 0;
  dedupe.ticket[0] = dedupe.ticket[1] = 0;
  // Holes may have come and gone.
  options_.invalidate_attributes(inode);
  reply.Ioctl(BytesOf(dedupe));
}

void Operations::IoctlUnshare(Reply& reply, InodeId inode, uint64_t handle,
                              std::span<const char> in) {
  cofs_ioc_unshare unshare;
  if (!ReadArgument(in, &unshare) || !IsIoctlRangeValid(unshare.offset, unshare.length))
    return reply.Errno(EINVAL);
  if ((handle & kHandleWrites) == 0) return reply.Errno(EBADF);
  Request& request = *CurrentRequest();
  Interrupts::Registration registration(interrupts_, request);
  const Status unshared = volume_.Unshare(
      inode, FileOffset(unshare.offset), unshare.length,
      [&request] { return request.interrupted.load(std::memory_order_relaxed); });
  options_.invalidate_attributes(inode);
  if (!unshared.ok()) return reply.Fail(unshared.error());
  reply.Ioctl({});
}

void Operations::IoctlShift(Reply& reply, InodeId inode, uint64_t handle,
                            std::span<const char> in) {
  cofs_ioc_shift shift;
  if (!ReadArgument(in, &shift) || !IsIoctlRangeValid(shift.offset, shift.length) ||
      shift.reserved != 0 ||
      (shift.what != COFS_SHIFT_COLLAPSE && shift.what != COFS_SHIFT_INSERT))
    return reply.Errno(EINVAL);
  if ((handle & kHandleWrites) == 0) return reply.Errno(EBADF);
  // Before, as fallocate(2) does: an error behind it means that nothing was moved, for which
  // the caller of an insert takes back what the file has grown by.
  if (reply.caller().uid != 0) {
    const Status killed = KillPrivileges(reply.caller(), inode);
    if (!killed.ok()) return reply.Fail(killed.error());
  }
  Status shifted =
      shift.what == COFS_SHIFT_COLLAPSE
          ? volume_.Allocate(inode, FALLOC_FL_COLLAPSE_RANGE, FileOffset(shift.offset),
                             shift.length)
          : volume_.InsertIntoGrown(inode, FileOffset(shift.offset), shift.length);
  const Result<InodeStat> stat = volume_.GetAttributes(inode);
  if (shifted.ok() && !stat.ok()) shifted = stat.error();
  if (stat.ok()) shift.size = stat->record.size_bytes;
  // The kernel's pages show what was there before, after an error in the middle too.
  options_.after_write_back(inode, FileOffset(shift.offset), reply.HandOver(),
                            [shift, shifted](Reply& later) {
                              if (!shifted.ok()) return later.Fail(shifted.error());
                              later.Ioctl(BytesOf(shift));
                            });
}

}  // namespace cofs
