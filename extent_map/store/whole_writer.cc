#include "extent_map/store/whole_writer.h"

#include <algorithm>
#include <cstring>

namespace cofs::store {
namespace {

constexpr uint64_t kBufferBlocksFirst = 16;
constexpr uint64_t kBufferBlocksMax = 128;

}  // namespace

Status WholeWriter::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    uint64_t capacity = buffer_.size_bytes() / kBlockBytes * kPayloadBytes;
    if (buffered_bytes_ == capacity) {
      if (capacity == kBufferBlocksMax * kPayloadBytes) {
        TRY(WriteOut(/*is_sync=*/false));
      } else {
        // Small files don't pay for a large buffer.
        AlignedBuffer larger((capacity == 0 ? kBufferBlocksFirst : kBufferBlocksMax) *
                             kBlockBytes);
        if (capacity > 0)
          std::memcpy(larger.data(), buffer_.data(), buffer_.size_bytes());
        buffer_ = std::move(larger);
      }
      continue;
    }
    const uint64_t block = buffered_bytes_ / kPayloadBytes;
    const uint64_t skip = buffered_bytes_ % kPayloadBytes;
    const size_t part = std::min<size_t>(bytes.size(), kPayloadBytes - skip);
    std::memcpy(buffer_.data() + block * kBlockBytes + skip, bytes.data(), part);
    bytes.remove_prefix(part);
    buffered_bytes_ += part;
  }
  return OkStatus();
}

Status WholeWriter::WriteOut(bool is_sync) {
  if (buffered_bytes_ == 0) return OkStatus();
  const uint64_t block_count = (buffered_bytes_ + kPayloadBytes - 1) / kPayloadBytes;
  for (uint64_t i = 0; i < block_count; ++i) {
    BlockLabel label;
    label.file_id = file_->id;
    label.sync_group = group_;
    label.block_index = static_cast<uint32_t>(layout_.block_count + i);
    label.used_bytes = static_cast<uint16_t>(
        std::min<uint64_t>(kPayloadBytes, buffered_bytes_ - i * kPayloadBytes));
    label.last_of_group = is_sync && i + 1 == block_count;
    SealBlock(buffer_.data() + i * kBlockBytes, label);
  }
  TRY_ASSIGN(const FileTable::Capacity capacity,
             table_.EnsureCapacity(*file_, layout_.block_count + block_count, 0));
  std::vector<IoOp> ops;
  ForEachRun(capacity.extents, layout_.block_count, block_count,
             [&](DeviceRange range, uint64_t first) {
               IoOp op;
               op.kind = IoKind::kWrite;
               op.offset = range.offset;
               op.data = buffer_.data() + (first - layout_.block_count) * kBlockBytes;
               op.length_bytes = range.length_bytes;
               ops.push_back(std::move(op));
             });
  TRY(device_.Execute(ops));
  layout_.Append(buffered_bytes_);
  buffered_bytes_ = 0;
  return OkStatus();
}

Status WholeWriter::Sync() {
  TRY(WriteOut(/*is_sync=*/true));
  TRY(device_.Flush());
  ++group_;
  table_.SetLength(*file_, layout_, /*is_durable=*/true);
  return table_.Commit();
}

Status WholeWriter::Close() {
  TRY(WriteOut(/*is_sync=*/false));
  table_.SetLength(*file_, layout_, /*is_durable=*/false);
  buffer_ = AlignedBuffer();
  table_.TrimSpare(*file_);
  return OkStatus();
}

}  // namespace cofs::store
