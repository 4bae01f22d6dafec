#include "extent_map/store/file_layout.h"

#include <algorithm>
#include <cstring>

#include "base/aligned_buffer.h"

namespace cofs::store {
namespace {

constexpr uint64_t kScanBlocks = 256;

Error AtBlock(const Error& error, const std::vector<DeviceRange>& extents,
              uint64_t block) {
  uint64_t place = 0;
  ForEachRun(extents, block, 1,
             [&](DeviceRange range, uint64_t) { place = range.offset.value(); });
  return error.Within(StrCat("block ", block, " at ", place));
}

}  // namespace

void FileLayout::Append(uint64_t bytes) {
  if (bytes == 0) return;
  if (size_bytes > 0) {
    const Section last = sections.empty() ? Section{} : sections.back();
    if (size_bytes - last.first_byte != (block_count - last.first_block) * kPayloadBytes)
      sections.push_back({block_count, size_bytes});
  }
  block_count += (bytes + kPayloadBytes - 1) / kPayloadBytes;
  size_bytes += bytes;
}

uint64_t FileLayout::capacity_blocks() const {
  uint64_t bytes = 0;
  for (const DeviceRange& extent : extents) bytes += extent.length_bytes;
  return bytes / kBlockBytes;
}

void AppendExtent(std::vector<DeviceRange>& extents, DeviceRange range) {
  if (!extents.empty() && extents.back().end() == range.offset)
    extents.back().length_bytes += range.length_bytes;
  else
    extents.push_back(range);
}

void ForEachRun(const std::vector<DeviceRange>& extents, uint64_t first, uint64_t count,
                const std::function<void(DeviceRange, uint64_t)>& piece) {
  uint64_t extent_first = 0;
  for (const DeviceRange& extent : extents) {
    if (count == 0) return;
    const uint64_t extent_blocks = extent.length_bytes / kBlockBytes;
    if (first < extent_first + extent_blocks) {
      const uint64_t skip = first - extent_first;
      const uint64_t part = std::min(count, extent_blocks - skip);
      piece({extent.offset + skip * kBlockBytes, part * kBlockBytes}, first);
      first += part;
      count -= part;
    }
    extent_first += extent_blocks;
  }
  CHECK(count == 0, "blocks outside the extents of a file");
}

Status ReadBlocks(BlockDevice& device, const std::vector<DeviceRange>& extents,
                  uint64_t first, uint64_t count, char* out) {
  std::vector<IoOp> ops;
  ForEachRun(extents, first, count, [&](DeviceRange range, uint64_t block) {
    IoOp op;
    op.kind = IoKind::kRead;
    op.offset = range.offset;
    op.data = out + (block - first) * kBlockBytes;
    op.length_bytes = range.length_bytes;
    ops.push_back(std::move(op));
  });
  return device.Execute(ops);
}

Result<size_t> ReadFile(BlockDevice& device, uint64_t file_id, const FileLayout& layout,
                        uint64_t offset, size_t length, char* out) {
  if (offset >= layout.size_bytes) return size_t{0};
  length = std::min<uint64_t>(length, layout.size_bytes - offset);
  AlignedBuffer buffer;
  size_t done = 0;
  // Sections are short only in files that are read from front to back.
  auto next = std::upper_bound(
      layout.sections.begin(), layout.sections.end(), offset,
      [](uint64_t byte, const Section& section) { return byte < section.first_byte; });
  while (done < length) {
    const Section section =
        next == layout.sections.begin() ? Section{} : *std::prev(next);
    const uint64_t section_end =
        next == layout.sections.end() ? layout.size_bytes : next->first_byte;
    const uint64_t in_section = offset + done - section.first_byte;
    const size_t part = std::min<uint64_t>(
        {length - done, section_end - offset - done, kScanBlocks * kPayloadBytes});
    const uint64_t first = section.first_block + in_section / kPayloadBytes;
    const size_t skip = in_section % kPayloadBytes;
    const uint64_t count = (skip + part + kPayloadBytes - 1) / kPayloadBytes;
    if (buffer.size_bytes() < count * kBlockBytes)
      buffer = AlignedBuffer(count * kBlockBytes);
    TRY(ReadBlocks(device, layout.extents, first, count, buffer.data()));
    for (uint64_t i = 0; i < count; ++i) {
      const char* block = buffer.data() + i * kBlockBytes;
      const auto label = OpenBlockOf(block, file_id, static_cast<uint32_t>(first + i));
      if (!label.ok()) return AtBlock(label.error(), layout.extents, first + i);
      const size_t begin = i == 0 ? skip : 0;
      const uint64_t block_byte =
          section.first_byte + (first + i - section.first_block) * kPayloadBytes;
      const size_t used = std::min<uint64_t>(kPayloadBytes, section_end - block_byte);
      if (label->used_bytes != used)
        return AtBlock(Error(ErrorCode::kCorrupt,
                             StrCat(label->used_bytes, " bytes used, not ", used)),
                       layout.extents, first + i);
      const size_t end = std::min<uint64_t>(used, offset + length - block_byte);
      std::memcpy(out + (block_byte + begin - offset), block + begin, end - begin);
    }
    done += part;
    if (offset + done == section_end && next != layout.sections.end()) ++next;
  }
  return done;
}

Status ScanGroups(BlockDevice& device, uint64_t file_id, uint64_t proven_blocks,
                  FileLayout& layout, uint64_t& last_group) {
  layout.sections.clear();
  layout.block_count = layout.size_bytes = 0;
  last_group = 0;
  const uint64_t capacity = layout.capacity_blocks();
  if (proven_blocks > capacity)
    return Error(ErrorCode::kCorrupt,
                 StrCat(proven_blocks, " blocks in chunks of ", capacity));
  AlignedBuffer buffer(std::min(capacity, kScanBlocks) * kBlockBytes);
  uint64_t group_bytes = 0;     // of the group that has begun and not ended
  std::optional<Error> broken;  // the file has ended; only rot is looked for
  for (uint64_t first = 0; first < capacity; first += kScanBlocks) {
    const uint64_t count = std::min(kScanBlocks, capacity - first);
    TRY(ReadBlocks(device, layout.extents, first, count, buffer.data()));
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t index = first + i;
      const auto label = OpenBlockOf(buffer.data() + i * kBlockBytes, file_id,
                                     static_cast<uint32_t>(index));
      if (broken) {
        if (label.ok() && label->sync_group > last_group + 1)
          return broken->Within(
              StrCat("damaged before the valid sync group ", label->sync_group));
        continue;
      }
      const bool fits = label.ok() && label->sync_group == last_group + 1 &&
                        (label->last_of_group || label->used_bytes == kPayloadBytes);
      if (!fits) {
        broken = AtBlock(label.ok() ? Error(ErrorCode::kCorrupt,
                                            StrCat("sync group ", label->sync_group,
                                                   " after ", last_group))
                                    : label.error(),
                         layout.extents, index);
        if (index < proven_blocks) return *std::move(broken);
        if (label.ok() && label->sync_group > last_group + 1) return *std::move(broken);
        continue;
      }
      group_bytes += label->used_bytes;
      if (!label->last_of_group) continue;
      layout.Append(group_bytes);
      group_bytes = 0;
      last_group = label->sync_group;
    }
  }
  if (layout.block_count < proven_blocks)
    return Error(ErrorCode::kCorrupt, StrCat("ends at block ", layout.block_count,
                                             ", but ", proven_blocks, " were durable"));
  return OkStatus();
}

}  // namespace cofs::store
