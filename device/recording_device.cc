#include "device/recording_device.h"

#include <utility>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "device/software_queue.h"

namespace cofs {

RecordingDevice::RecordingDevice(BlockDevice& base,
                                 std::optional<uint64_t> queue_shuffle_seed)
    : base_(base), queue_shuffle_seed_(queue_shuffle_seed) {}

void RecordingDevice::Mark(uint64_t id) {
  MutexLock lock(mutex_);
  log_.marks.push_back({id, ++log_.event_count});
}

IoLog RecordingDevice::TakeLog() {
  MutexLock lock(mutex_);
  CHECK(in_flight_ == 0, "the log is taken while I/O runs");
  logged_bytes_ = 0;
  return std::exchange(log_, IoLog());
}

uint64_t RecordingDevice::logged_bytes() const {
  MutexLock lock(mutex_);
  return logged_bytes_;
}

size_t RecordingDevice::Start(LoggedIo io) {
  MutexLock lock(mutex_);
  io.started = ++log_.event_count;
  logged_bytes_ += io.data.size();
  ++in_flight_;
  log_.ios.push_back(std::move(io));
  return log_.ios.size() - 1;
}

void RecordingDevice::Complete(size_t index, bool failed) {
  MutexLock lock(mutex_);
  log_.ios[index].completed = ++log_.event_count;
  log_.ios[index].failed = failed;
  --in_flight_;
}

Status RecordingDevice::Execute(std::span<IoOp> ops) {
  std::vector<std::pair<size_t, const IoOp*>> started;
  for (const IoOp& op : ops) {
    // What is refused before it starts changes nothing.
    if (op.kind == IoKind::kRead || !CheckOp(geometry(), op).ok()) continue;
    LoggedIo io;
    io.kind = op.kind;
    io.fua = op.fua;
    if (op.kind != IoKind::kFlush) io.range = {op.offset, op.length_bytes};
    if (op.kind == IoKind::kWrite) io.data.assign(op.data, op.data + op.length_bytes);
    started.emplace_back(Start(std::move(io)), &op);
  }
  Status status = base_.Execute(ops);
  for (const auto& [index, op] : started) Complete(index, op->error.has_value());
  return status;
}

std::unique_ptr<IoQueue> RecordingDevice::NewQueue(unsigned depth) {
  return std::make_unique<SoftwareQueue>(*this, depth, queue_shuffle_seed_);
}

Status RecordingDevice::Copy(std::span<const DeviceRange> sources,
                             DeviceOffset destination) {
  LoggedIo io;
  io.is_copy = true;
  io.range.offset = destination;
  for (const DeviceRange& source : sources) {
    AlignedBuffer data(source.length_bytes);
    TRY(base_.Read(source.offset, data.span()));
    io.data.insert(io.data.end(), data.data(), data.data() + data.size_bytes());
  }
  io.range.length_bytes = io.data.size();
  TRY(CheckRange(geometry(), destination, io.range.length_bytes));
  const size_t index = Start(std::move(io));
  Status status = base_.Copy(sources, destination);
  Complete(index, !status.ok());
  return status;
}

}  // namespace cofs
