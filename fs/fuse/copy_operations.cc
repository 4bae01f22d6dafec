// copy_file_range(2), as armed or as the mount says.
#include <algorithm>
#include <cerrno>

#include "fs/fuse/cofs_ioctl.h"
#include "fs/fuse/operations.h"

namespace cofs {
namespace {

// The answer carries 32 bits.
constexpr uint64_t kCopyBytesMax = UINT32_MAX & ~(kBlockBytes - 1);
// A clone by the device of more than this takes several steps, between which the source
// could change.
constexpr uint64_t kDeviceStepBytes = 32 << 20;

// With these the kernel copies by itself, through the page cache, and the caller never
// hears that it was not done as asked.
bool MakesKernelCopy(int error_number) {
  return error_number == EOPNOTSUPP || error_number == EXDEV || error_number == ENOSYS;
}

CopyRangePolicy PolicyOf(uint32_t how) {
  switch (how) {
    case COFS_ARM_SHARE:
      return CopyRangePolicy::kShare;
    case COFS_ARM_DEVICE:
      return CopyRangePolicy::kDevice;
    case COFS_ARM_BUFFERED:
      return CopyRangePolicy::kBuffered;
    default:
      return CopyRangePolicy::kAuto;
  }
}

bool IsCopyRangeValid(off_t offset, uint64_t length) {
  return offset >= 0 && length <= static_cast<uint64_t>(INT64_MAX - offset);
}

}  // namespace

void Operations::CopyRange(Reply& reply, fuse_ino_t source, off_t source_offset,
                           fuse_file_info*, fuse_ino_t destination,
                           off_t destination_offset, fuse_file_info*, size_t length,
                           int flags) {
  if (flags != 0) return reply.Errno(EINVAL);
  length = std::min<uint64_t>(length, kCopyBytesMax);
  if (!IsCopyRangeValid(source_offset, length) || !IsCopyRangeValid(destination_offset, length))
    return reply.Errno(EINVAL);
  Request& request = *CurrentRequest();
  Interrupts::Registration registration(interrupts_, request);
  CopyRangeReport report;
  const Volume::CopyCall call{
      .source = InodeId(source),
      .source_offset = FileOffset(static_cast<uint64_t>(source_offset)),
      .destination = InodeId(destination),
      .destination_offset = FileOffset(static_cast<uint64_t>(destination_offset)),
      .length_bytes = length,
      .interrupted = [&request] { return request.interrupted.load(std::memory_order_relaxed); },
      .kill_privileges = reply.caller().uid != 0,
      .report = &report};
  const pid_t thread = reply.caller().pid;
  std::optional<CopyArm> arm = copy_arms_.Take(thread, call.destination);
  if (arm && arm->user != reply.caller().uid) {
    // Of a thread that had this number before.
    copy_arms_.DropSnapshot(*arm);
    arm.reset();
  }
  const bool loses_bits = call.kill_privileges && HasSetIdBits(call.destination);
  const Result<uint64_t> copied =
      arm ? CopyArmed(std::move(*arm), thread, call) : volume_.Copy(call);
  if (loses_bits) options_.invalidate_attributes(call.destination);
  copy_reports_.Add(call.destination, copied.ok() ? *copied : 0, report);
  if (!copied.ok() && MakesKernelCopy(copied.error().errno_value()))
    return reply.Errno(EREMOTEIO);
  if (!copied.ok()) return reply.Fail(copied.error());
  if (*copied == 0 && length > 0 && request.interrupted.load(std::memory_order_relaxed))
    return reply.Errno(EINTR);
  reply.Written(*copied);
}

Result<uint64_t> Operations::CopyArmed(CopyArm arm, pid_t thread,
                                       const Volume::CopyCall& call) {
  const Result<uint64_t> copied = CopyPiece(arm, call);
  const bool ends = copied.ok() ? *copied >= arm.length_bytes
                                : !copied.Is(ErrorCode::kInterrupted);
  if (ends) {
    copy_arms_.DropSnapshot(arm);
    return copied;
  }
  // Interrupted before the first byte, it is still to be done.
  const uint64_t copied_bytes = copied.ok() ? *copied : 0;
  arm.source = call.source;
  arm.source_offset += copied_bytes;
  arm.destination_offset += copied_bytes;
  arm.length_bytes -= copied_bytes;
  const std::optional<InodeId> snapshot = arm.snapshot;
  const Status put = copy_arms_.Put(thread, call.destination, std::move(arm));
  // The piece is done; the next one would not be as armed, and must not be done at all.
  if (!put.ok() && snapshot) volume_.Forget(*snapshot, 1);
  TRY(put);
  return copied;
}

Result<uint64_t> Operations::CopyPiece(CopyArm& arm, const Volume::CopyCall& call) {
  if (arm.is_late) return Error(ErrorCode::kTimedOut, "armed copy");
  if (arm.source_offset != call.source_offset ||
      arm.destination_offset != call.destination_offset ||
      call.length_bytes > arm.length_bytes || (arm.source && *arm.source != call.source))
    return Error(ErrorCode::kInvalidArgument, "not the copy that was armed");
  Volume::CopyCall piece = call;
  if (arm.how != COFS_ARM_CLONE) {
    piece.policy = PolicyOf(arm.how);
    return volume_.Copy(piece);
  }
  const bool by_device = volume_.options().clone == ClonePolicy::kDevice;
  const bool in_pieces =
      call.length_bytes < arm.length_bytes || (by_device && arm.length_bytes > kDeviceStepBytes);
  if (by_device && !arm.source) {
    piece.length_bytes = arm.length_bytes;
    TRY(volume_.CheckClone(piece));
    piece.length_bytes = call.length_bytes;
  }
  if (in_pieces && !arm.snapshot) {
    TRY_ASSIGN(arm.snapshot,
               volume_.Snapshot(call.source, call.source_offset, arm.length_bytes,
                                call.interrupted));
  }
  if (arm.snapshot) piece.source = *arm.snapshot;
  if (by_device) {
    piece.policy = CopyRangePolicy::kDevice;
    return volume_.Copy(piece);
  }
  TRY(volume_.Clone(piece));
  return call.length_bytes;
}

}  // namespace cofs
