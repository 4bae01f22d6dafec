#include "extent_map/store/group_writer.h"

#include <algorithm>
#include <cstring>

namespace cofs::store {
namespace {

// Up to here one durable write is cheaper than a write and a flush.
constexpr uint64_t kDurableWriteBytesMax = 128 << 10;
constexpr size_t kBufferBytesKept = 1 << 20;

}  // namespace

void GroupWriter::Append(std::string_view bytes) {
  MutexLock lock(stage_mutex_);
  staged_.append(bytes);
  appended_bytes_ += bytes.size();
  boundary_.Feed(bytes);
  const uint64_t part_bytes = appended_bytes_ - boundary_.whole_bytes();
  if (!boundary_.is_lost() && part_bytes <= staged_.size())
    complete_bytes_ = staged_.size() - part_bytes;
}

void GroupWriter::MarkFlushed() {
  MutexLock lock(stage_mutex_);
  if (boundary_.is_lost()) complete_bytes_ = staged_.size();
}

void GroupWriter::MarkComplete() {
  MutexLock lock(stage_mutex_);
  complete_bytes_ = staged_.size();
}

uint64_t GroupWriter::appended_bytes() const {
  MutexLock lock(stage_mutex_);
  return appended_bytes_;
}

size_t GroupWriter::staged_bytes() const {
  MutexLock lock(stage_mutex_);
  return staged_.size();
}

bool GroupWriter::Seal() {
  CHECK(sealed_.empty(), "a group is sealed and not written");
  MutexLock lock(stage_mutex_);
  if (complete_bytes_ == 0) return false;
  if (complete_bytes_ == staged_.size()) {
    sealed_.swap(staged_);
  } else {
    sealed_.assign(staged_, 0, complete_bytes_);
    staged_.erase(0, complete_bytes_);
  }
  complete_bytes_ = 0;
  return true;
}

Status GroupWriter::WriteSealed() {
  if (sealed_.empty()) return OkStatus();
  if (table_.IsDeleted(*file_)) {
    sealed_.clear();
    return OkStatus();
  }
  const uint64_t block_count = (sealed_.size() + kPayloadBytes - 1) / kPayloadBytes;
  TRY_ASSIGN(const FileTable::Capacity capacity,
             table_.EnsureCapacity(*file_, next_block_ + block_count, spare_bytes_));
  if (capacity.has_grown) TRY(table_.Commit());
  TRY(WriteBlocks(capacity.extents, block_count));
  table_.AppendGroup(*file_, sealed_.size());
  next_block_ += block_count;
  ++last_group_;
  written_bytes_.store(next_block_ * kBlockBytes, std::memory_order_relaxed);
  sealed_.clear();
  if (sealed_.capacity() > kBufferBytesKept) sealed_.shrink_to_fit();
  if (buffer_.size_bytes() > kBufferBytesKept) buffer_ = AlignedBuffer();
  return OkStatus();
}

Status GroupWriter::WriteBlocks(const std::vector<DeviceRange>& extents,
                                uint64_t block_count) {
  if (buffer_.size_bytes() < block_count * kBlockBytes)
    buffer_ = AlignedBuffer(block_count * kBlockBytes);
  size_t done = 0;
  for (uint64_t i = 0; i < block_count; ++i) {
    char* block = buffer_.data() + i * kBlockBytes;
    BlockLabel label;
    label.file_id = file_->id;
    label.sync_group = last_group_ + 1;
    label.block_index = static_cast<uint32_t>(next_block_ + i);
    label.used_bytes =
        static_cast<uint16_t>(std::min(kPayloadBytes, sealed_.size() - done));
    label.last_of_group = i + 1 == block_count;
    std::memcpy(block, sealed_.data() + done, label.used_bytes);
    SealBlock(block, label);
    done += label.used_bytes;
  }
  std::vector<IoOp> ops;
  ForEachRun(extents, next_block_, block_count, [&](DeviceRange range, uint64_t first) {
    IoOp op;
    op.kind = IoKind::kWrite;
    op.offset = range.offset;
    op.data = buffer_.data() + (first - next_block_) * kBlockBytes;
    op.length_bytes = range.length_bytes;
    ops.push_back(std::move(op));
  });
  const bool is_small = ops.size() == 1 && ops[0].length_bytes <= kDurableWriteBytesMax;
  ops[0].fua = is_small;
  TRY(device_.Execute(ops));
  return is_small ? OkStatus() : device_.Flush();
}

}  // namespace cofs::store
