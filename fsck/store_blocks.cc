#include "fsck/store_blocks.h"

#include <algorithm>
#include <span>

#include "base/aligned_buffer.h"
#include "base/log.h"
#include "extent_map/store/envelope.h"
#include "extent_map/store/file_layout.h"
#include "extent_map/store/journal.h"
#include "extent_map/store/store.h"

namespace cofs::salvage {
namespace {

constexpr uint64_t kScanBytes = 1 << 20;
// Ids of a volume count up from a random number of 48 bits: what is far from those in its
// first pool belongs to another volume, such as one in an image file.
constexpr uint64_t kIdDistance = 1ull << 32;

// What can't be read now is given up for good: better ask again.
bool ReadBlock(BlockDevice& device, DeviceOffset place, std::span<char> block) {
  constexpr int kAttempts = 3;
  for (int i = 0; i < kAttempts; ++i)
    if (device.Read(place, block).ok()) return true;
  return false;
}

StoreFiles FromJournal(const store::JournalState& state, DeviceRange segment) {
  StoreFiles out;
  out.from_journal = true;
  out.used.push_back(segment);
  for (const auto& [id, record] : state.files) {
    StoreFile file;
    file.id = id;
    file.name = record.name;
    if (record.kind == store::FileKind::kGroups)
      file.proven_blocks = record.layout.block_count;
    // A WAL or MANIFEST may hold more than the journal knows of: all of its chunks.
    const uint64_t count = record.kind == store::FileKind::kGroups
                               ? record.layout.capacity_blocks()
                               : record.layout.block_count;
    store::ForEachRun(record.layout.extents, 0, count, [&](DeviceRange run, uint64_t first) {
      for (uint64_t i = 0; i < run.length_bytes / kBlockBytes; ++i)
        file.blocks.emplace(static_cast<uint32_t>(first + i),
                            run.offset + i * kBlockBytes);
    });
    for (const DeviceRange& extent : record.layout.extents) out.used.push_back(extent);
    out.files.push_back(std::move(file));
  }
  return out;
}

struct Scan {
  std::map<uint64_t, StoreFile> files;
  std::vector<DeviceRange> used;
};

// Adds every block in `range` that has a good label with an id in [low, high].
void ScanRange(BlockDevice& device, DeviceRange range, uint64_t low, uint64_t high,
               Scan& scan) {
  AlignedBuffer buffer(kScanBytes);
  for (DeviceOffset at = range.offset; at < range.end(); at += kScanBytes) {
    const uint64_t length = std::min(kScanBytes, range.end() - at);
    const bool is_read = device.Read(at, buffer.span().first(length)).ok();
    for (uint64_t i = 0; i < length; i += kBlockBytes) {
      char* block = buffer.data() + i;
      if (!is_read && !ReadBlock(device, at + i, {block, kBlockBytes})) continue;
      const auto label = store::OpenBlock(block);
      if (!label.ok() || label->file_id < low || label->file_id > high) continue;
      StoreFile& file = scan.files[label->file_id];
      file.id = label->file_id;
      file.blocks.emplace(label->block_index, at + i);
      scan.used.push_back({at + i, kBlockBytes});
    }
  }
}

Result<StoreFiles> FromLabels(BlockDevice& device, const Superblock& superblock) {
  const DeviceOffset end{superblock.volume_bytes};
  const uint64_t first_bytes =
      std::min(Store::InitialPoolBytes(superblock.volume_bytes), end - kReservedEnd);
  Scan first;
  ScanRange(device, {kReservedEnd, first_bytes}, 0, UINT64_MAX, first);
  if (first.files.empty())
    return Error(ErrorCode::kCorrupt, "no block of the store is readable");
  const uint64_t low = first.files.begin()->first;
  const uint64_t high = first.files.rbegin()->first;
  Scan scan;
  ScanRange(device, {kReservedEnd, end - kReservedEnd},
            low > kIdDistance ? low - kIdDistance : 0,
            high < UINT64_MAX - kIdDistance ? high + kIdDistance : UINT64_MAX, scan);
  StoreFiles out;
  out.used = std::move(scan.used);
  for (auto& [id, file] : scan.files) out.files.push_back(std::move(file));
  return out;
}

}  // namespace

Result<StoreFiles> FindStoreFiles(BlockDevice& device, const Superblock& superblock) {
  const auto load = [&] {
    store::Journal journal(device);
    return journal.Load(superblock.journal, superblock.journal_generation);
  };
  auto state = load();
  // Labels tell less than the journal: not for a read that fails once.
  if (state.Is(ErrorCode::kIo)) state = load();
  if (!state.ok()) return FromLabels(device, superblock);
  for (const auto& [id, record] : state->files)
    for (const DeviceRange& extent : record.layout.extents)
      if (!CheckRange(device.geometry(), extent.offset, extent.length_bytes).ok())
        return FromLabels(device, superblock);
  return FromJournal(*state, superblock.journal);
}

FileBytes ReadStoreFile(BlockDevice& device, const StoreFile& file) {
  FileBytes out;
  out.proven_blocks = file.proven_blocks;
  if (file.blocks.empty()) return out;
  const uint32_t count = file.blocks.rbegin()->first + 1;
  // Labels name the index: what can't be is another volume's, or made by hand.
  if (count > file.blocks.size() * 2 + 4096) return out;
  AlignedBuffer block(kBlockBytes);
  for (uint32_t index = 0; index < count; ++index) {
    FileBytes::Block piece;
    piece.begin = out.bytes.size();
    piece.length = store::kPayloadBytes;
    const auto place = file.blocks.find(index);
    if (place != file.blocks.end()) {
      const bool is_read = ReadBlock(device, place->second, block.span());
      if (!is_read) ++out.unreadable_blocks;
      const auto label = store::OpenBlockOf(block.data(), file.id, index);
      if (is_read && label.ok()) {
        piece.is_good = true;
        piece.length = label->used_bytes;
        piece.last_of_group = label->last_of_group;
        piece.sync_group = label->sync_group;
      }
    }
    if (piece.is_good)
      out.bytes.append(block.data(), piece.length);
    else
      out.bytes.append(piece.length, '\0');
    out.damaged_blocks += piece.is_good ? 0 : 1;
    out.blocks.push_back(piece);
  }
  return out;
}

}  // namespace cofs::salvage
