// Checks all records of a volume against each other and against the device.
#include <chrono>
#include <map>
#include <thread>

#include "base/crc32c.h"
#include "extent_map/records.h"
#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

struct FileRecords {
  std::optional<InodeRecord> inode;
  std::vector<Extent> extents;
};

struct Block {
  uint32_t owners = 0;
  uint32_t shared_flags = 0;
  bool unwritten = false;
};

struct Everything {
  std::map<InodeId, FileRecords> files;
  std::map<uint64_t, SharedRecord> shared;
  std::map<uint64_t, ChecksumChunk> checksums;
};

Everything LoadAll(const Store& store) {
  Everything all;
  const auto cursor = store.NewCursor();
  for (cursor->Seek(""); cursor->valid(); cursor->Next()) {
    const auto key = ParseKey(cursor->key());
    if (!key.ok()) {
      ADD_FAILURE() << key.error().ToString();
      continue;
    }
    switch (key->kind) {
      case RecordKind::kInode:
        all.files[key->inode].inode = *DecodeInode(cursor->value());
        break;
      case RecordKind::kExtent:
        all.files[key->inode].extents.push_back(
            *DecodeExtent(FileOffset{key->position}, cursor->value()));
        break;
      case RecordKind::kShared:
        all.shared[key->position] = *DecodeShared(cursor->value());
        break;
      case RecordKind::kChecksums:
        all.checksums[key->position] = *DecodeChecksums(cursor->value());
        break;
      default:
        break;
    }
  }
  EXPECT_TRUE(cursor->status().ok());
  return all;
}

using Blocks = std::map<uint64_t, Block>;

void CountFile(InodeId id, const FileRecords& file, Blocks& blocks) {
  SCOPED_TRACE(StrCat("inode ", id));
  ASSERT_TRUE(file.inode.has_value()) << "extents without an inode";
  uint64_t bytes = 0;
  FileOffset last{0};
  for (const Extent& extent : file.extents) {
    EXPECT_GE(extent.file_offset, last) << "extents overlap";
    last = extent.file_end();
    bytes += extent.length_bytes;
    if (!extent.unwritten()) {
      EXPECT_LE(last.value(), RoundUp(file.inode->size_bytes, kBlockBytes))
          << "written behind the end";
    }
    for (uint64_t at = 0; at < extent.length_bytes; at += kBlockBytes) {
      Block& block = blocks[extent.device_offset.value() + at];
      ++block.owners;
      if (extent.shared()) ++block.shared_flags;
      block.unwritten |= extent.unwritten();
    }
  }
  EXPECT_EQ(bytes, file.inode->allocated_bytes);
}

void CheckShared(const Everything& all, const Blocks& blocks) {
  std::map<uint64_t, uint32_t> recorded;
  uint64_t last_end = 0;
  for (const auto& [offset, record] : all.shared) {
    EXPECT_GE(offset, last_end) << "shared records overlap";
    last_end = offset + record.length_bytes;
    for (uint64_t at = offset; at < last_end; at += kBlockBytes)
      recorded[at] = record.reference_count;
  }
  for (const auto& [offset, block] : blocks) {
    const auto record = recorded.find(offset);
    const uint32_t count = record == recorded.end() ? 1 : record->second;
    EXPECT_EQ(block.owners, count) << "owners of the block at " << offset;
    if (block.owners > 1) {
      EXPECT_EQ(block.owners, block.shared_flags) << "hints at " << offset;
      EXPECT_FALSE(block.unwritten) << "unwritten and shared at " << offset;
    }
    if (record != recorded.end()) recorded.erase(record);
  }
  EXPECT_TRUE(recorded.empty()) << "shared record of unmapped blocks";
}

void CheckContents(const Everything& all, const Blocks& blocks, const MemoryDevice& memory) {
  std::string data(kBlockBytes, '\0');
  for (const auto& [offset, block] : blocks) {
    if (block.unwritten) continue;
    const auto chunk = all.checksums.find(RoundDown(offset, kChecksumChunkBytes));
    ASSERT_TRUE(chunk != all.checksums.end()) << "no checksums at " << offset;
    const size_t index = offset % kChecksumChunkBytes / kBlockBytes;
    ASSERT_NE(0u, chunk->second.present >> index & 1) << "no checksum at " << offset;
    memory.Peek(offset, data);
    EXPECT_EQ(chunk->second.crc32c[index], Crc32c(data.data(), data.size()))
        << "contents at " << offset;
  }
}

void CheckTails(const Everything& all, const MemoryDevice& memory) {
  for (const auto& [id, file] : all.files) {
    const uint64_t size = file.inode ? file.inode->size_bytes : 0;
    const FileOffset tail{RoundDown(size, kBlockBytes)};
    if (size == tail.value()) continue;
    for (const Extent& extent : file.extents) {
      const Extent piece = Clip(extent, tail, tail + kBlockBytes);
      if (piece.length_bytes == 0 || piece.unwritten()) continue;
      std::string data(kBlockBytes, '\0');
      memory.Peek(piece.device_offset.value(), data);
      EXPECT_EQ(std::string::npos, data.find_first_not_of('\0', size % kBlockBytes))
          << "inode " << id << ": data behind the end";
    }
  }
}

}  // namespace

std::vector<DeviceRange> MappedRanges(const Store& store) {
  std::map<uint64_t, bool> blocks;
  for (const auto& [id, file] : LoadAll(store).files)
    for (const Extent& extent : file.extents)
      for (uint64_t at = 0; at < extent.length_bytes; at += kBlockBytes)
        blocks[extent.device_offset.value() + at] = true;
  std::vector<DeviceRange> ranges;
  for (const auto& [offset, unused] : blocks) {
    if (!ranges.empty() && ranges.back().end().value() == offset)
      ranges.back().length_bytes += kBlockBytes;
    else
      ranges.push_back({DeviceOffset{offset}, kBlockBytes});
  }
  return ranges;
}

void DataVolume::ExpectSound() {
  Settle();
  const Everything all = LoadAll(*store_);
  Blocks blocks;
  for (const auto& [id, file] : all.files) CountFile(id, file, blocks);
  CheckShared(all, blocks);
  CheckContents(all, blocks, *memory_);
  CheckTails(all, *memory_);
  // The pool can grow meanwhile: look until both sides are of one moment.
  uint64_t expected = 0, found = 1;
  for (int attempt = 0; attempt < 100 && expected != found; ++attempt) {
    uint64_t pool_bytes = 0;
    for (const DeviceRange& range : store_->PoolRanges()) {
      pool_bytes += range.length_bytes;
      const auto mapped = blocks.lower_bound(range.offset.value());
      EXPECT_TRUE(mapped == blocks.end() || mapped->first >= range.end().value())
          << "file data in the pool";
    }
    expected = options_.size_bytes - kReservedEnd.value() - pool_bytes -
               blocks.size() * kBlockBytes;
    found = free_bytes();
    if (expected != found) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(expected, found) << "free space is what nothing maps";
}

}  // namespace cofs
