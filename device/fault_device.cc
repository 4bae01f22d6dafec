#include "device/fault_device.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "device/software_queue.h"

namespace cofs {
namespace {

FaultKind KindOf(IoKind kind) {
  switch (kind) {
    case IoKind::kRead:
      return FaultKind::kRead;
    case IoKind::kWrite:
      return FaultKind::kWrite;
    case IoKind::kWriteZeroes:
      return FaultKind::kWriteZeroes;
    case IoKind::kDiscard:
      return FaultKind::kDiscard;
    case IoKind::kFlush:
      return FaultKind::kFlush;
  }
  return FaultKind::kRead;
}

}  // namespace

FaultDevice::FaultDevice(BlockDevice& base, std::optional<uint64_t> queue_shuffle_seed)
    : base_(base), queue_shuffle_seed_(queue_shuffle_seed) {}

void FaultDevice::Add(Fault fault) {
  MutexLock lock(mutex_);
  faults_.push_back(std::move(fault));
}

void FaultDevice::FailNth(uint64_t n, uint64_t torn_sector_count) {
  const uint64_t number = io_count() + n;
  Add({.matches = [number](const FaultPoint& point) { return point.number == number; },
       .torn_sector_count = torn_sector_count});
}

void FaultDevice::FailFrom(uint64_t n) {
  const uint64_t number = io_count() + n;
  Add({.matches = [number](const FaultPoint& point) { return point.number >= number; }});
}

void FaultDevice::FailKind(FaultKind kind) {
  Add({.matches = [kind](const FaultPoint& point) { return point.kind == kind; }});
}

void FaultDevice::ClearFaults() {
  MutexLock lock(mutex_);
  faults_.clear();
}

uint64_t FaultDevice::io_count() const {
  MutexLock lock(mutex_);
  return count_;
}

uint64_t FaultDevice::io_count(FaultKind kind) const {
  MutexLock lock(mutex_);
  return counts_[static_cast<size_t>(kind)];
}

uint64_t FaultDevice::failed_count() const {
  MutexLock lock(mutex_);
  return failed_count_;
}

std::optional<FaultDevice::Verdict> FaultDevice::Judge(FaultKind kind,
                                                       DeviceRange range) {
  std::vector<std::function<void()>> stalls;
  std::optional<Verdict> verdict;
  {
    MutexLock lock(mutex_);
    ++count_;
    ++counts_[static_cast<size_t>(kind)];
    const FaultPoint point{count_, kind, range};
    for (const Fault& fault : faults_) {
      if (!fault.matches(point)) continue;
      if (fault.stall) stalls.push_back(fault.stall);
      if (!fault.fails) continue;
      ++failed_count_;
      verdict =
          Verdict{Error(fault.code, StrCat("injected fault at I/O ", count_, ", ",
                                           range.length_bytes, " bytes at ", range.offset)),
                  fault.torn_sector_count};
      break;
    }
  }
  for (const auto& stall : stalls) stall();
  return verdict;
}

void FaultDevice::WriteTorn(DeviceOffset offset, std::span<const char> data,
                            uint64_t sector_count) {
  const uint64_t torn_bytes =
      std::min<uint64_t>(sector_count * kSectorBytes, data.size());
  const uint64_t whole_bytes = RoundDown(torn_bytes, kBlockBytes);
  base_.Write(offset, data.first(whole_bytes)).IgnoreError("the I/O fails anyway");
  if (whole_bytes == torn_bytes) return;
  AlignedBuffer block(kBlockBytes);
  if (!base_.Read(offset + whole_bytes, block.span()).ok()) return;
  std::memcpy(block.data(), data.data() + whole_bytes, torn_bytes - whole_bytes);
  base_.Write(offset + whole_bytes, block.span()).IgnoreError("the I/O fails anyway");
}

Status FaultDevice::Execute(std::span<IoOp> ops) {
  std::vector<IoOp> passing;
  std::vector<size_t> passing_index;
  for (size_t i = 0; i < ops.size(); ++i) {
    IoOp& op = ops[i];
    op.error.reset();
    const std::optional<Verdict> verdict =
        Judge(KindOf(op.kind), {op.offset, op.length_bytes});
    if (!verdict) {
      passing.push_back(op);
      passing_index.push_back(i);
      continue;
    }
    op.error = verdict->error;
    if (verdict->torn_sector_count == 0 || !CheckOp(geometry(), op).ok()) continue;
    if (op.kind == IoKind::kWrite) {
      WriteTorn(op.offset, {op.data, op.length_bytes}, verdict->torn_sector_count);
    } else if (op.kind == IoKind::kWriteZeroes) {
      const AlignedBuffer zeros = AlignedBuffer::Zeroed(
          std::min(op.length_bytes, verdict->torn_sector_count * kSectorBytes));
      WriteTorn(op.offset, zeros.span(), verdict->torn_sector_count);
    }
  }
  if (!passing.empty()) base_.Execute(passing).IgnoreError("each op has its own");
  for (size_t i = 0; i < passing.size(); ++i)
    ops[passing_index[i]].error = std::move(passing[i].error);
  for (const IoOp& op : ops)
    if (op.error) return *op.error;
  return OkStatus();
}

std::unique_ptr<IoQueue> FaultDevice::NewQueue(unsigned depth) {
  return std::make_unique<SoftwareQueue>(*this, depth, queue_shuffle_seed_);
}

Status FaultDevice::Copy(std::span<const DeviceRange> sources, DeviceOffset destination) {
  uint64_t total_bytes = 0;
  for (const DeviceRange& source : sources) total_bytes += source.length_bytes;
  const std::optional<Verdict> verdict =
      Judge(FaultKind::kCopy, {destination, total_bytes});
  if (!verdict) return base_.Copy(sources, destination);

  uint64_t left_bytes = std::min(total_bytes, verdict->torn_sector_count * kSectorBytes);
  DeviceOffset position = destination;
  for (const DeviceRange& source : sources) {
    if (left_bytes == 0) break;
    const uint64_t piece = std::min(left_bytes, source.length_bytes);
    AlignedBuffer data(RoundUp(piece, kBlockBytes));
    if (!base_.Read(source.offset, data.span()).ok()) break;
    WriteTorn(position, data.span().first(piece),
              RoundUp(piece, kSectorBytes) / kSectorBytes);
    position += piece;
    left_bytes -= piece;
  }
  return verdict->error;
}

}  // namespace cofs
