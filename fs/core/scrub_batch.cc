#include "fs/core/scrub_batch.h"

#include <algorithm>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "extent_map/records.h"

namespace cofs {
namespace {

constexpr size_t kPiecesMax = 256;
constexpr uint64_t kRecordsMax = 16384;
// Some 50 bytes each.
constexpr size_t kGoodChunksMax = 1 << 20;

bool IsInside(const Extent& extent, uint64_t volume_bytes) {
  return extent.device_offset >= kReservedEnd &&
         extent.device_offset.value() <= volume_bytes &&
         extent.length_bytes <= volume_bytes - extent.device_offset.value();
}

class Collector {
 public:
  Collector(const ScrubLimits& limits, const GoodSharedBlocks& good)
      : limits_(limits), good_(good) {}

  Result<ScrubBatch> Run(const Store& store, ScrubPosition position);

 private:
  // Moves on behind the record; false: the batch is full, or the last one.
  bool Visit(Cursor& cursor, ScrubPosition position);
  bool VisitExtent(const ParsedKey& key, std::string_view value, ScrubPosition position);
  // False: only a front part of `piece` went in.
  bool Add(InodeId inode, Extent piece);
  bool AddShared(InodeId inode, const Extent& piece);

  const ScrubLimits& limits_;
  const GoodSharedBlocks& good_;
  ScrubBatch batch_;
};

// To the first extent of the file that ends behind the position, or to what follows.
void SeekTo(Cursor& cursor, ScrubPosition position) {
  const std::string key = ExtentKey(position.inode, position.file_offset);
  cursor.SeekForPrev(key);
  if (cursor.valid()) {
    const auto found = ParseKey(cursor.key());
    if (found.ok() && found->kind == RecordKind::kExtent &&
        found->inode == position.inode)
      return;
  }
  if (cursor.status().ok()) cursor.Seek(key);
}

Result<ScrubBatch> Collector::Run(const Store& store, ScrubPosition position) {
  const std::string end = AllFileRecords().last;
  // Without bounds: a walk over everything does not fill the store's cache.
  const auto cursor = store.NewCursor();
  SeekTo(*cursor, position);
  batch_.next = position;
  for (uint64_t count = 0; cursor->valid() && cursor->key() < end; ++count) {
    if (count == kRecordsMax) return std::move(batch_);
    if (!Visit(*cursor, position)) return std::move(batch_);
  }
  TRY(cursor->status());
  batch_.is_last = true;
  return std::move(batch_);
}

bool Collector::Visit(Cursor& cursor, ScrubPosition position) {
  const auto key = ParseKey(cursor.key());
  if (!key.ok()) {
    batch_.bad_records.push_back({batch_.next.inode, {}, key.error().context()});
    cursor.Next();
    return true;
  }
  if (key->inode >= limits_.inode_end) {
    batch_.is_last = true;
    return false;
  }
  if (key->inode != batch_.next.inode) batch_.next = {key->inode, FileOffset{}};
  switch (key->kind) {
    case RecordKind::kExtent:
      if (!VisitExtent(*key, cursor.value(), position)) return false;
      cursor.Next();
      return true;
    case RecordKind::kDentry:  // many: to what lies behind them
      cursor.Seek(ExtentKeys(key->inode).first);
      return true;
    case RecordKind::kXattr:
      cursor.Seek(AllOfInode(key->inode).last);
      return true;
    default:
      cursor.Next();
      return true;
  }
}

bool Collector::VisitExtent(const ParsedKey& key, std::string_view value,
                            ScrubPosition position) {
  const FileOffset offset{key.position};
  const auto extent = DecodeExtent(offset, value);
  if (!extent.ok() || !IsInside(*extent, limits_.volume_bytes)) {
    batch_.bad_records.push_back({key.inode, offset,
                                  extent.ok() ? "extent outside of the volume"
                                              : extent.error().context()});
    batch_.next.file_offset = offset + kBlockBytes;
    return true;
  }
  FileOffset begin = extent->file_offset;
  if (key.inode == position.inode) begin = std::max(begin, position.file_offset);
  const Extent piece = Clip(*extent, begin, extent->file_end());
  if (piece.length_bytes == 0) return true;  // before the position
  batch_.next.file_offset = piece.file_offset;
  if (piece.unwritten()) {
    batch_.unwritten_bytes += piece.length_bytes;
    batch_.next.file_offset = piece.file_end();
    return true;
  }
  return piece.shared() ? AddShared(key.inode, piece) : Add(key.inode, piece);
}

bool Collector::Add(InodeId inode, Extent piece) {
  const uint64_t room = limits_.read_bytes_max - batch_.read_bytes;
  const bool fits = piece.length_bytes <= room;
  if (!fits) piece = Clip(piece, piece.file_offset, piece.file_offset + room);
  if (piece.length_bytes > 0) batch_.pieces.push_back({inode, piece});
  batch_.read_bytes += piece.length_bytes;
  batch_.next.file_offset = piece.file_end();
  return fits && batch_.pieces.size() < kPiecesMax;
}

bool Collector::AddShared(InodeId inode, const Extent& piece) {
  uint64_t at = 0;
  while (at < piece.length_bytes) {
    const bool is_good = good_.Has(piece.device_offset + at);
    uint64_t end = at + kBlockBytes;
    while (end < piece.length_bytes && good_.Has(piece.device_offset + end) == is_good)
      end += kBlockBytes;
    const Extent run = Clip(piece, piece.file_offset + at, piece.file_offset + end);
    if (is_good)
      batch_.next.file_offset = run.file_end();
    else if (!Add(inode, run))
      return false;
    at = end;
  }
  return true;
}

// Checksums in the order of a cursor that leaves the store's cache alone.
class ChecksumWalk {
 public:
  explicit ChecksumWalk(const Store& store) : cursor_(store.NewCursor()) {}

  // nullopt: there is none. Errors: of the store.
  Result<std::optional<uint32_t>> Get(DeviceOffset block) {
    const DeviceOffset begin{RoundDown(block.value(), kChecksumChunkBytes)};
    if (begin != chunk_begin_) TRY(Load(begin));
    const size_t index = (block - begin) / kBlockBytes;
    if ((chunk_.present >> index & 1) == 0) return std::optional<uint32_t>();
    return std::optional(chunk_.crc32c[index]);
  }

 private:
  Status Load(DeviceOffset begin) {
    chunk_ = ChecksumChunk{};
    chunk_begin_ = begin;
    const std::string key = ChecksumKey(begin);
    cursor_->Seek(key);
    if (!cursor_->valid()) return cursor_->status();
    if (cursor_->key() != key) return OkStatus();
    const auto chunk = DecodeChecksums(cursor_->value());
    if (chunk.ok()) chunk_ = *chunk;  // else its blocks have none
    return OkStatus();
  }

  const std::unique_ptr<Cursor> cursor_;
  std::optional<DeviceOffset> chunk_begin_;
  ChecksumChunk chunk_;
};

// Why the block at `memory` is bad, empty when it is good. It is read again when it could
// not be read, or does not match: an error of the bus passes, rot on the medium stays.
std::string VerifyBlock(Core& core, DeviceOffset offset, std::optional<uint32_t> crc,
                        bool was_read, char* memory) {
  if (!crc) return "no checksum";
  if (was_read && Crc32c(memory, kBlockBytes) == *crc) return "";
  if (const Status read = core.device->Read(offset, {memory, kBlockBytes}); !read.ok()) {
    core.counters.io_errors.fetch_add(1, std::memory_order_relaxed);
    return "can't be read: " + read.error().ToString();
  }
  if (Crc32c(memory, kBlockBytes) == *crc) {
    LogWarning(StrCat("scrub, device offset ", offset,
                      ": the second read is good, the first was not"));
    return "";
  }
  core.counters.checksum_errors.fetch_add(1, std::memory_order_relaxed);
  return "does not match its checksum";
}

}  // namespace

bool GoodSharedBlocks::Has(DeviceOffset block) const {
  const uint64_t number = block.value() / kBlockBytes;
  const auto chunk = chunks_.find(number / 64);
  return chunk != chunks_.end() && (chunk->second >> (number % 64) & 1) != 0;
}

void GoodSharedBlocks::Add(DeviceOffset block) {
  if (chunks_.size() >= kGoodChunksMax) chunks_.clear();
  const uint64_t number = block.value() / kBlockBytes;
  chunks_[number / 64] |= uint64_t{1} << (number % 64);
}

Result<ScrubBatch> CollectScrubBatch(const Store& store, ScrubPosition position,
                                     const ScrubLimits& limits,
                                     const GoodSharedBlocks& good) {
  return Collector(limits, good).Run(store, position);
}

Status VerifyScrubBatch(Core& core, const ScrubBatch& batch, std::span<char> memory,
                        GoodSharedBlocks& good,
                        const std::function<void(BadBlock)>& found) {
  CHECK(batch.read_bytes <= memory.size());
  std::vector<IoOp> ops(batch.pieces.size());
  uint64_t at = 0;
  for (size_t i = 0; i < ops.size(); ++i) {
    const Extent& extent = batch.pieces[i].extent;
    ops[i].offset = extent.device_offset;
    ops[i].data = memory.data() + at;
    ops[i].length_bytes = extent.length_bytes;
    ops[i].tag = i;
    at += extent.length_bytes;
  }
  // Drives that turn like it in this order.
  std::ranges::sort(ops, {}, &IoOp::offset);
  if (!ops.empty()) core.device->Execute(ops).IgnoreError("each has its own");
  ChecksumWalk checksums(*core.store);
  for (const IoOp& op : ops) {
    const ScrubPiece& piece = batch.pieces[op.tag];
    for (uint64_t done = 0; done < op.length_bytes; done += kBlockBytes) {
      const DeviceOffset block = op.offset + done;
      TRY_ASSIGN(const auto crc, checksums.Get(block));
      std::string reason = VerifyBlock(core, block, crc, !op.error, op.data + done);
      if (!reason.empty())
        found({piece.inode, piece.extent.file_offset + done, block, std::move(reason)});
      else if (piece.extent.shared())
        good.Add(block);
    }
  }
  return OkStatus();
}

}  // namespace cofs
