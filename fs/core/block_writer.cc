#include "fs/core/block_writer.h"

#include <algorithm>
#include <cstring>

#include "base/aligned_buffer.h"
#include "fs/core/block_checksums.h"
#include "fs/core/mapping_change.h"
#include "fs/core/verified_read.h"

namespace cofs {
namespace {

// Space kept behind a stream that extends a file: as much as the file has, within
// these. One small write is no stream.
constexpr uint64_t kStreamWindowBytesMin = 256 << 10;
constexpr uint64_t kStreamWindowBytesMax = 8 << 20;
constexpr uint64_t kStreamBytesMin = 128 << 10;

FileOffset BlockOf(FileOffset offset) {
  return FileOffset{RoundDown(offset.value(), kBlockBytes)};
}

// A stretch of the file's blocks in memory.
struct Stretch {
  FileOffset begin, end;
  char* memory;
};

// The blocks to write, in memory: the caller's where it is aligned, else a copy.
class Contents {
 public:
  Contents(FileOffset offset, std::span<const char> data)
      : offset_(offset), data_(data), begin_(BlockOf(offset)),
        end_(RoundUp(offset.value() + data.size(), kBlockBytes)) {}

  FileOffset begin() const { return begin_; }
  FileOffset end() const { return end_; }
  FileOffset data_end() const { return offset_ + data_.size(); }
  const std::vector<Stretch>& stretches() const { return stretches_; }

  // `existing` are the extents of the range, `size_bytes` the file's size.
  Status Assemble(Core& core, InodeId inode, std::span<const Extent> existing,
                  uint64_t size_bytes);

 private:
  bool IsWhole(FileOffset block) const {
    return block >= offset_ && block + kBlockBytes <= data_end();
  }
  // Whether the part of `block` that is not written over may hold data.
  bool NeedsOld(FileOffset block, uint64_t size_bytes) const {
    return block.value() < size_bytes &&
           (block < offset_ ||
            (block + kBlockBytes > data_end() && data_end().value() < size_bytes));
  }
  char* MemoryOf(FileOffset block) const {
    for (const Stretch& stretch : stretches_)
      if (block >= stretch.begin && block < stretch.end)
        return stretch.memory + (block - stretch.begin);
    CHECK(false, "block at ", block);
  }

  const FileOffset offset_;
  const std::span<const char> data_;
  const FileOffset begin_, end_;
  AlignedBuffer bounce_;
  std::vector<Stretch> stretches_;
};

Status Contents::Assemble(Core& core, InodeId inode, std::span<const Extent> existing,
                          uint64_t size_bytes) {
  std::vector<FileOffset> partial;
  if (!IsWhole(begin_)) partial.push_back(begin_);
  if (const FileOffset last = end_ - kBlockBytes; last != begin_ && !IsWhole(last))
    partial.push_back(last);
  const FileOffset middle_begin = IsWhole(begin_) ? begin_ : begin_ + kBlockBytes;
  const FileOffset middle_end{
      std::max(RoundDown(data_end().value(), kBlockBytes), middle_begin.value())};
  // The device does not change what it writes.
  char* const middle = middle_begin < middle_end
                           ? const_cast<char*>(data_.data()) + (middle_begin - offset_)
                           : nullptr;
  const bool is_direct = reinterpret_cast<uintptr_t>(middle) % kBlockBytes == 0;

  if (is_direct) {
    bounce_ = AlignedBuffer(partial.size() * kBlockBytes);
    for (size_t i = 0; i < partial.size(); ++i)
      stretches_.push_back({partial[i], partial[i] + kBlockBytes,
                            bounce_.data() + i * kBlockBytes});
    if (middle_begin < middle_end) stretches_.push_back({middle_begin, middle_end, middle});
    std::ranges::sort(stretches_, {}, &Stretch::begin);
  } else {
    bounce_ = AlignedBuffer(end_ - begin_);
    stretches_.push_back({begin_, end_, bounce_.data()});
  }

  std::vector<BlockRead> reads;
  for (const FileOffset block : partial) {
    char* const memory = MemoryOf(block);
    std::memset(memory, 0, kBlockBytes);
    if (!NeedsOld(block, size_bytes)) continue;
    for (const Extent& extent : existing) {
      const Extent old = Clip(extent, block, block + kBlockBytes);
      if (old.length_bytes > 0 && !old.unwritten())
        reads.push_back({old.device_offset, kBlockBytes, memory, block});
    }
  }
  TRY(ReadVerified(core, inode, reads));

  if (!is_direct) {
    std::memcpy(bounce_.data() + (offset_ - begin_), data_.data(), data_.size());
    return OkStatus();
  }
  for (const FileOffset block : partial) {
    const FileOffset from = std::max(block, offset_);
    const FileOffset to = std::min(block + kBlockBytes, data_end());
    std::memcpy(MemoryOf(block) + (from - block), data_.data() + (from - offset_), to - from);
  }
  return OkStatus();
}

// One operation for each run of blocks that is contiguous on the device and in memory.
std::vector<IoOp> OpsFor(std::span<const Extent> targets, std::span<const Stretch> stretches) {
  std::vector<IoOp> ops;
  for (const Extent& target : targets) {
    for (const Stretch& stretch : stretches) {
      const Extent piece = Clip(target, stretch.begin, stretch.end);
      if (piece.length_bytes == 0) continue;
      IoOp& op = ops.emplace_back();
      op.kind = IoKind::kWrite;
      op.offset = piece.device_offset;
      op.data = stretch.memory + (piece.file_offset - stretch.begin);
      op.length_bytes = piece.length_bytes;
    }
  }
  return ops;
}

// The parts of [begin, end) that are written where they are, and the gaps between them,
// which get new blocks.
struct Plan {
  std::vector<Extent> in_place;
  std::vector<LockedRange> gaps;
  uint64_t gap_bytes = 0;
};

Plan PlanFor(std::span<const Extent> existing, FileOffset begin, FileOffset end) {
  Plan plan;
  FileOffset done = begin;
  const auto add_gap = [&](FileOffset to) {
    if (done >= to) return;
    plan.gaps.push_back({done.value(), to.value()});
    plan.gap_bytes += to - done;
  };
  for (const Extent& extent : existing) {
    if (!extent.unwritten() || extent.shared()) continue;
    Extent piece = Clip(extent, begin, end);
    if (piece.length_bytes == 0) continue;
    add_gap(piece.file_offset);
    done = piece.file_end();
    piece.flags = 0;
    plan.in_place.push_back(piece);
  }
  add_gap(end);
  return plan;
}

uint64_t WindowBytesFor(uint64_t size_bytes, FileOffset begin, FileOffset data_end) {
  if (data_end.value() <= size_bytes) return 0;
  if (size_bytes == 0 && data_end - begin < kStreamBytesMin) return 0;
  return std::clamp(RoundUp(data_end.value(), kBlockBytes), kStreamWindowBytesMin,
                    kStreamWindowBytesMax);
}

}  // namespace

std::optional<DeviceOffset> GoalFor(const Inode& inode, std::span<const Extent> around,
                                    FileOffset begin) {
  if (const auto goal = inode.placement.GoalFor(begin, /*gap_bytes_max=*/0)) return goal;
  const auto after = std::ranges::lower_bound(around, begin, {}, &Extent::file_offset);
  if (after == around.begin()) return inode.placement.GoalFor(begin);
  const Extent& before = *std::prev(after);
  return before.device_offset + (begin - before.file_offset);
}

bool IsOverwrite(std::span<const Extent> existing, FileOffset begin, FileOffset end) {
  FileOffset done = begin;
  for (const Extent& extent : existing) {
    const Extent piece = Clip(extent, begin, end);
    if (piece.length_bytes == 0) continue;
    if (piece.file_offset != done || extent.shared()) return false;
    done = piece.file_end();
  }
  return done == end;
}

Result<WrittenBlocks> WriteBlocks(Core& core, Inode& inode, FileOffset offset,
                                  std::span<const char> data) {
  Contents contents(offset, data);
  WrittenBlocks written;
  written.begin = contents.begin();
  written.end = contents.end();
  uint64_t size_bytes = 0;
  std::vector<Extent> existing;
  {
    SharedLock lock(inode.mutex);
    size_bytes = inode.record.size_bytes;
    TRY_ASSIGN(ExtentCache::Found found,
               FindExtents(core, inode, written.begin, written.end, SIZE_MAX,
                           /*neighbours=*/true));
    existing = std::move(found.extents);
  }
  TRY(contents.Assemble(core, inode.id, existing, size_bytes));
  for (const Stretch& stretch : contents.stretches())
    AppendBlockCrcs({stretch.memory, stretch.end - stretch.begin}, written.crcs);

  Plan plan = PlanFor(existing, written.begin, written.end);
  const SpacePurpose purpose = IsOverwrite(existing, written.begin, written.end)
                                   ? SpacePurpose::kOverwrite
                                   : SpacePurpose::kGrowth;
  TRY_ASSIGN(written.allocation,
             Allocation::Take(*core.space, plan.gap_bytes,
                              GoalFor(inode, existing, written.begin), purpose,
                              WindowBytesFor(size_bytes, written.begin,
                                             contents.data_end())));
  written.extents = std::move(plan.in_place);
  for (const LockedRange& gap : plan.gaps) {
    for (uint64_t at = gap.begin; at < gap.end;) {
      const DeviceRange run = written.allocation.Next(gap.end - at);
      written.extents.push_back({FileOffset{at}, run.offset, run.length_bytes, 0});
      at += run.length_bytes;
    }
    inode.placement.Note(FileOffset{gap.end}, written.extents.back().device_end());
  }
  std::ranges::sort(written.extents, {}, &Extent::file_offset);

  std::vector<IoOp> ops = OpsFor(written.extents, contents.stretches());
  if (const Status done = core.device->Execute(ops); !done.ok()) {
    core.counters.io_errors.fetch_add(1, std::memory_order_relaxed);
    return done.error().Within(StrCat("inode ", inode.id));
  }
  return written;
}

}  // namespace cofs
