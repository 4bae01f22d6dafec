#include "device/file_queue.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <new>
#include <utility>

#include "base/check.h"

namespace cofs {
namespace {

constexpr uint64_t kBounceBytes = 1 << 20;
// One entry's length has 32 bits and the kernel cuts at 2 GiB - 4 KiB.
constexpr uint64_t kTransferBytesMax = 1 << 30;
constexpr unsigned kRetryCountMax = 100;

constexpr int kOpcodes[] = {IORING_OP_READ,       IORING_OP_WRITE,
                                    IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED,
                                    IORING_OP_FSYNC,      IORING_OP_FALLOCATE};

const AlignedBuffer& Zeros() {
  static const AlignedBuffer* zeros =
      new AlignedBuffer(AlignedBuffer::Zeroed(kBounceBytes));
  return *zeros;
}

bool IsUnsupported(int error_number) {
  return error_number == EOPNOTSUPP || error_number == ENOSYS || error_number == ENOTTY;
}

// Everything a device refuses is kIo, whatever errno the kernel chose; see
// block_device.h.
Error IoError(const IoOp& op, const std::string& path, int error_number) {
  const std::string what = op.kind == IoKind::kFlush
                               ? StrCat("flush of ", path)
                               : StrCat(NameOf(op.kind), " of ", op.length_bytes,
                                        " bytes at ", op.offset, " of ", path);
  return Error(ErrorCode::kIo, ErrorOfErrno(error_number, what).context());
}

}  // namespace

Status DiscardBlocks(int fd, DeviceRange range, const std::string& path) {
  uint64_t arguments[2] = {range.offset.value(), range.length_bytes};
  int result;
  do {
    result = ::ioctl(fd, BLKDISCARD, arguments);
  } while (result != 0 && errno == EINTR);
  if (result == 0 || IsUnsupported(errno)) return OkStatus();
  const int error_number = errno;
  const IoOp op{.kind = IoKind::kDiscard,
                .offset = range.offset,
                .length_bytes = range.length_bytes};
  return IoError(op, path, error_number);
}

Status FlushFile(int fd, const std::string& path) {
  int result;
  do {
    result = ::fdatasync(fd);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return OkStatus();
  return IoError({.kind = IoKind::kFlush}, path, errno);
}

Result<std::unique_ptr<FileQueue>> FileQueue::Create(FileTarget& target, unsigned depth) {
  depth = std::clamp(depth, 1u, 4096u);
  TRY_ASSIGN(Ring ring, Ring::Create({.entry_count = depth, .opcodes = kOpcodes}));
  TRY(ring.RegisterFile(target.fd));
  return std::unique_ptr<FileQueue>(new FileQueue(target, depth, std::move(ring)));
}

FileQueue::FileQueue(FileTarget& target, unsigned depth, Ring ring)
    : target_(target), ring_(std::move(ring)), slots_(depth) {
  for (uint32_t i = 0; i < depth; ++i) free_slots_.push_back(depth - 1 - i);
  target_.queue_count.fetch_add(1);
}

FileQueue::~FileQueue() {
  while (free_slots_.size() < slots_.size()) TakeCompletion();
  target_.queue_count.fetch_sub(1);
}

void FileQueue::Submit(IoOp* op) {
  Prepare(op);
  ring_.Submit();
}

void FileQueue::Prepare(IoOp* op) {
  if (const Status status = CheckOp(target_.geometry, *op); !status.ok())
    return Complete(op, status.error());
  const bool is_flush = op->kind == IoKind::kFlush;
  const bool is_nothing =
      is_flush ? target_.geometry.is_read_only : op->length_bytes == 0;
  if (is_nothing || (op->kind == IoKind::kDiscard && !target_.geometry.can_discard))
    return Complete(op, std::nullopt);
  if (op->kind == IoKind::kDiscard && target_.geometry.is_block_device) {
    ring_.Submit();  // what was prepared need not wait for the discard
    const Status status =
        DiscardBlocks(target_.fd, {op->offset, op->length_bytes}, target_.geometry.path);
    return Complete(op, status.ok() ? std::nullopt : std::optional(status.error()));
  }

  const bool is_bounced =
      (op->kind == IoKind::kRead || op->kind == IoKind::kWrite) &&
      reinterpret_cast<uintptr_t>(op->data) % target_.memory_alignment != 0;
  AlignedBuffer bounce;
  try {
    if (is_bounced) bounce = AlignedBuffer(std::min(op->length_bytes, kBounceBytes));
  } catch (const std::bad_alloc&) {
    return Complete(op,
                    Error(ErrorCode::kNoMemory, "bounce for " + target_.geometry.path));
  }
  while (free_slots_.empty()) TakeCompletion();
  const uint32_t slot_index = free_slots_.back();
  free_slots_.pop_back();
  Slot& slot = slots_[slot_index];
  slot.op = op;
  slot.done_bytes = 0;
  slot.retry_count = 0;
  slot.must_block = false;
  slot.is_bounced = is_bounced;
  slot.bounce = std::move(bounce);
  slot.step = FirstStepOf(op->kind);
  Send(slot_index);
}

FileQueue::Step FileQueue::FirstStepOf(IoKind kind) const {
  switch (kind) {
    case IoKind::kRead:
    case IoKind::kWrite:
      return Step::kTransfer;
    case IoKind::kFlush:
      return Step::kSync;
    case IoKind::kDiscard:
      return Step::kPunchHole;
    case IoKind::kWriteZeroes:
      break;
  }
  switch (target_.zero_way.load(std::memory_order_relaxed)) {
    case ZeroWay::kZeroRange:
      return Step::kZeroRange;
    case ZeroWay::kPunchHole:
      return Step::kPunchHole;
    case ZeroWay::kWriteZeros:
      break;
  }
  return Step::kWriteZeros;
}

void FileQueue::Send(uint32_t slot_index) {
  Slot& slot = slots_[slot_index];
  io_uring_sqe* entry = ring_.NextEntry();
  constexpr int kFile = 0;  // the registered one
  const uint64_t offset = slot.op->offset.value() + slot.done_bytes;
  const uint64_t rest = slot.op->length_bytes - slot.done_bytes;
  switch (slot.step) {
    case Step::kTransfer:
      PrepareTransfer(slot, entry);
      break;
    case Step::kSync:
      io_uring_prep_fsync(entry, kFile, IORING_FSYNC_DATASYNC);
      break;
    case Step::kPunchHole:
      io_uring_prep_fallocate(entry, kFile, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(offset), static_cast<off_t>(rest));
      break;
    case Step::kZeroRange:
      io_uring_prep_fallocate(entry, kFile, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(offset), static_cast<off_t>(rest));
      break;
    case Step::kWriteZeros:
      slot.piece_bytes = std::min(rest, kBounceBytes);
      io_uring_prep_write(entry, kFile, Zeros().data(),
                          static_cast<unsigned>(slot.piece_bytes), offset);
      break;
  }
  entry->flags |= IOSQE_FIXED_FILE;
  if (slot.must_block) entry->flags |= IOSQE_ASYNC;
  entry->user_data = slot_index;
}

void FileQueue::PrepareTransfer(Slot& slot, io_uring_sqe* entry) {
  constexpr int kFile = 0;
  const IoOp& op = *slot.op;
  const uint64_t offset = op.offset.value() + slot.done_bytes;
  char* data = op.data + slot.done_bytes;
  slot.piece_bytes = std::min(op.length_bytes - slot.done_bytes,
                              slot.is_bounced ? kBounceBytes : kTransferBytesMax);
  if (slot.is_bounced) {
    if (op.kind == IoKind::kWrite)
      std::memcpy(slot.bounce.data(), data, slot.piece_bytes);
    data = slot.bounce.data();
  }
  const auto piece = static_cast<unsigned>(slot.piece_bytes);
  const char* registered = registered_memory_.data();
  const bool is_registered =
      registered != nullptr && std::less_equal<>()(registered, data) &&
      std::less_equal<>()(data + piece, registered + registered_memory_.size());
  if (op.kind == IoKind::kRead) {
    if (is_registered)
      io_uring_prep_read_fixed(entry, kFile, data, piece, offset, 0);
    else
      io_uring_prep_read(entry, kFile, data, piece, offset);
    return;
  }
  if (is_registered)
    io_uring_prep_write_fixed(entry, kFile, data, piece, offset, 0);
  else
    io_uring_prep_write(entry, kFile, data, piece, offset);
  // The kernel turns it into FUA or into a flush of the device, whatever it needs.
  if (op.fua && target_.is_fua_trusted) entry->rw_flags = RWF_DSYNC;
}

void FileQueue::TakeCompletion() {
  std::optional<Ring::Completion> completion = ring_.Pop();
  if (!completion) {
    ring_.SubmitAndWait();
    completion = ring_.Pop();
  }
  CHECK(completion && completion->user_data < slots_.size(), "a completion of nothing");
  OnCompletion(static_cast<uint32_t>(completion->user_data), completion->result);
}

void FileQueue::OnCompletion(uint32_t slot_index, int result) {
  Slot& slot = slots_[slot_index];
  if (result == -EINTR) return Send(slot_index);
  if (result == -EAGAIN && ++slot.retry_count <= kRetryCountMax) {
    slot.must_block = true;
    return Send(slot_index);
  }
  if (result < 0) {
    if (TryNextWay(slot_index, -result)) return;
    return Finish(slot_index, IoError(*slot.op, target_.geometry.path, -result));
  }
  const bool is_transfer = slot.step == Step::kTransfer || slot.step == Step::kWriteZeros;
  if (!is_transfer) return Finish(slot_index, std::nullopt);
  OnTransferred(slot_index, static_cast<uint64_t>(result));
}

void FileQueue::OnTransferred(uint32_t slot_index, uint64_t bytes) {
  Slot& slot = slots_[slot_index];
  CHECK(bytes <= slot.piece_bytes, "the kernel transferred more than asked for");
  // Direct I/O can go on only at its alignment; what was moved beyond is moved again.
  const uint64_t progress =
      bytes == slot.piece_bytes ? bytes : RoundDown(bytes, target_.offset_alignment);
  if (progress == 0 && (bytes == 0 || ++slot.retry_count > kRetryCountMax)) {
    // The end of a file: the image was cut off under the volume.
    return Finish(
        slot_index,
        Error(ErrorCode::kIo,
              StrCat(NameOf(slot.op->kind), " at ", slot.op->offset + slot.done_bytes,
                     " of ", target_.geometry.path, " ends short: is it smaller now?")));
  }
  if (slot.is_bounced && slot.op->kind == IoKind::kRead)
    std::memcpy(slot.op->data + slot.done_bytes, slot.bounce.data(), progress);
  slot.done_bytes += progress;
  if (slot.done_bytes < slot.op->length_bytes) return Send(slot_index);
  if (slot.op->fua && !target_.is_fua_trusted) {
    slot.step = Step::kSync;
    return Send(slot_index);
  }
  Finish(slot_index, std::nullopt);
}

bool FileQueue::TryNextWay(uint32_t slot_index, int error_number) {
  Slot& slot = slots_[slot_index];
  if (!IsUnsupported(error_number)) return false;
  if (slot.op->kind == IoKind::kDiscard) {
    Finish(slot_index, std::nullopt);
    return true;
  }
  if (slot.step == Step::kZeroRange) {
    // Reads as zeros as well, and does without space on the host.
    slot.step = target_.geometry.is_block_device ? Step::kWriteZeros : Step::kPunchHole;
  } else if (slot.step == Step::kPunchHole) {
    slot.step = Step::kWriteZeros;
  } else {
    return false;
  }
  target_.zero_way.store(
      slot.step == Step::kPunchHole ? ZeroWay::kPunchHole : ZeroWay::kWriteZeros,
      std::memory_order_relaxed);
  Send(slot_index);
  return true;
}

void FileQueue::Finish(uint32_t slot_index, std::optional<Error> error) {
  Slot& slot = slots_[slot_index];
  slot.bounce = AlignedBuffer();
  IoOp* op = std::exchange(slot.op, nullptr);
  free_slots_.push_back(slot_index);
  Complete(op, std::move(error));
}

void FileQueue::Complete(IoOp* op, std::optional<Error> error) {
  op->error = std::move(error);
  completed_.push_back(op);
}

IoOp* FileQueue::Reap() {
  while (completed_head_ == completed_.size()) {
    completed_.clear();
    completed_head_ = 0;
    if (free_slots_.size() == slots_.size()) return nullptr;
    TakeCompletion();
  }
  return completed_[completed_head_++];
}

unsigned FileQueue::in_flight() const {
  return static_cast<unsigned>(slots_.size() - free_slots_.size() + completed_.size() -
                               completed_head_);
}

void FileQueue::UseMemory(std::span<char> memory) {
  if (!registered_memory_.empty() || memory.empty()) return;
  // Without it (a limit on locked memory) I/O only costs more.
  if (ring_.RegisterMemory(memory).ok()) registered_memory_ = memory;
}

}  // namespace cofs
