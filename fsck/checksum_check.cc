// Pass 5: whether every written block has a checksum. Pass 6: whether it is the right
// one.
#include <deque>

#include "base/aligned_buffer.h"
#include "base/crc32c.h"
#include "extent_map/records.h"
#include "fsck/block_runs.h"
#include "fsck/check_context.h"

namespace cofs {
namespace {

constexpr uint64_t kStepChunks = 256;
constexpr uint64_t kReadBytes = 1 << 20;
constexpr unsigned kReadDepth = 8;
static_assert(kReadBytes % kChecksumChunkBytes == 0);

// Walks `written` chunk by chunk of checksums.
class ChunkNeeds {
 public:
  explicit ChunkNeeds(const std::vector<DeviceRange>& written) : written_(written) {
    if (!written_.empty()) at_ = written_[0].offset;
  }
  // The next chunk with written blocks, and which they are. False at the end.
  bool Next(DeviceOffset& chunk, uint64_t& blocks) {
    if (index_ == written_.size()) return false;
    chunk = DeviceOffset{RoundDown(at_.value(), kChecksumChunkBytes)};
    const DeviceOffset end = chunk + kChecksumChunkBytes;
    blocks = 0;
    while (index_ < written_.size() && at_ < end) {
      const DeviceOffset stop = std::min(end, written_[index_].end());
      for (; at_ < stop; at_ += kBlockBytes)
        blocks |= uint64_t{1} << ((at_ - chunk) / kBlockBytes);
      if (at_ < written_[index_].end()) break;
      if (++index_ < written_.size()) at_ = written_[index_].offset;
    }
    return true;
  }

 private:
  const std::vector<DeviceRange>& written_;
  size_t index_ = 0;
  DeviceOffset at_;
};

// Blocks that share a fault, joined into runs before they are reported.
class FaultyBlocks {
 public:
  FaultyBlocks(CheckContext& context, FindingId id, std::string_view what,
               std::function<Fix(DeviceRange)> fix = nullptr)
      : context_(context), id_(id), what_(what), fix_(std::move(fix)) {}
  void Add(DeviceOffset block) {
    if (run_.length_bytes != 0 && run_.end() == block) {
      run_.length_bytes += kBlockBytes;
      return;
    }
    Flush();
    run_ = {block, kBlockBytes};
  }
  void Flush() {
    if (run_.length_bytes != 0)
      AddBlockFinding(context_, id_, run_, what_, FixStage::kSpace, fix_);
    run_ = {};
  }

 private:
  CheckContext& context_;
  const FindingId id_;
  const std::string_view what_;
  const std::function<Fix(DeviceRange)> fix_;
  DeviceRange run_;
};

// The checksum records in order of place, against what is needed.
class PresenceCheck {
 public:
  PresenceCheck(CheckContext& context, const UsedSpace& space)
      : context_(context),
        needs_(space.written),
        missing_(context, FindingId::kChecksumMissing, "written blocks have no checksum",
                 [](DeviceRange blocks) -> Fix {
                   return [blocks](Repairer& repairer) {
                     return repairer.AdoptChecksums(blocks);
                   };
                 }) {}

  Status Run() {
    const KeyRange all = AllChecksums();
    const auto cursor = context_.store.NewCursor(all.first, all.last);
    Advance();
    uint64_t count = 0;
    for (cursor->Seek(all.first); cursor->valid() && cursor->key() < all.last;
         cursor->Next()) {
      const auto key = ParseKey(cursor->key());
      if (!key.ok()) {
        context_.Find(FindingId::kUnknownRecord, {}, key.error().context(),
                      FixStage::kRecords, DeletionOf(cursor->key()));
        continue;
      }
      Visit(DeviceOffset{key->position}, cursor->value());
      if (++count % kStepChunks == 0)
        TRY(Step(key->position));
    }
    if (!cursor->valid()) TRY(cursor->status());
    while (has_need_) Miss(need_blocks_);
    missing_.Flush();
    return Step(context_.superblock.volume_bytes);
  }

 private:
  // The second half of the pass.
  Status Step(uint64_t position) const {
    const uint64_t total = context_.superblock.volume_bytes;
    return context_.Step({5, "checksums", total / 2 + std::min(position, total) / 2, total});
  }
  void Advance() { has_need_ = needs_.Next(need_chunk_, need_blocks_); }
  void Miss(uint64_t blocks) {
    for (uint64_t block = 0; block < kChecksumChunkBlocks; ++block)
      if ((blocks >> block & 1) != 0) missing_.Add(need_chunk_ + block * kBlockBytes);
    Advance();
  }
  void Visit(DeviceOffset chunk, std::string_view value) {
    if (chunk.value() >= context_.superblock.volume_bytes)
      context_.Find(FindingId::kChecksumOutside, {},
                    StrCat("checksums of ", chunk, ", past the end of the volume"),
                    FixStage::kRecords, DeletionOf(ChecksumKey(chunk)));
    while (has_need_ && need_chunk_ < chunk) Miss(need_blocks_);
    const auto sums = DecodeChecksums(value);
    if (!sums.ok())
      context_.Find(FindingId::kChecksumDamaged, {},
                    StrCat("checksums of the blocks at ", chunk, ": ",
                           sums.error().context()),
                    FixStage::kRecords, DeletionOf(ChecksumKey(chunk)));
    // What is damaged is reported once, and not again as missing.
    if (has_need_ && need_chunk_ == chunk)
      Miss(sums.ok() ? need_blocks_ & ~sums->present : 0);
  }

  CheckContext& context_;
  ChunkNeeds needs_;
  FaultyBlocks missing_;
  bool has_need_ = false;
  DeviceOffset need_chunk_;
  uint64_t need_blocks_ = 0;
};

// Checksum chunks by place, asked for in ascending order.
class ChunkStream {
 public:
  explicit ChunkStream(const Store& store)
      : cursor_(store.NewCursor(AllChecksums().first, AllChecksums().last)) {}
  // nullptr when there is no chunk that can be read.
  const ChecksumChunk* At(DeviceOffset chunk) {
    if (has_chunk_ && at_ == chunk) return is_good_ ? &chunk_ : nullptr;
    const std::string key = ChecksumKey(chunk);
    // Mostly it is the next one.
    if (has_chunk_ && cursor_->valid()) cursor_->Next();
    if (!has_chunk_ || !cursor_->valid() || cursor_->key() != key) cursor_->Seek(key);
    has_chunk_ = true;
    at_ = chunk;
    is_good_ = false;
    if (cursor_->valid() && cursor_->key() == key) {
      const auto sums = DecodeChecksums(cursor_->value());
      is_good_ = sums.ok();
      if (is_good_) chunk_ = *sums;
    }
    return is_good_ ? &chunk_ : nullptr;
  }

 private:
  std::unique_ptr<Cursor> cursor_;
  bool has_chunk_ = false, is_good_ = false;
  DeviceOffset at_;
  ChecksumChunk chunk_;
};

// Reads ahead at depth, compares in order of place.
class DataCheck {
 public:
  DataCheck(CheckContext& context, const UsedSpace& space)
      : context_(context),
        written_(space.written),
        chunks_(context.store),
        mismatched_(context, FindingId::kDataChecksum,
                    "blocks do not match their checksums"),
        unreadable_(context, FindingId::kDataUnreadable, "blocks can't be read"),
        queue_(context.device.NewQueue(kReadDepth)) {
    for (const DeviceRange& run : written_) total_bytes_ += run.length_bytes;
  }

  Status Run() {
    while (SubmitNext()) {
    }
    while (!reads_.empty()) {
      Read& first = reads_.front();
      while (!first.is_done) {
        IoOp* op = queue_->Reap();
        CHECK(op != nullptr, "a read got lost");
        ReadOf(op).is_done = true;
      }
      Verify(first);
      context_.report.totals.verified_bytes += first.op.length_bytes;
      free_buffers_.push_back(std::move(first.buffer));
      reads_.pop_front();
      SubmitNext();
      TRY(context_.Step({6, "data", context_.report.totals.verified_bytes, total_bytes_}));
    }
    mismatched_.Flush();
    unreadable_.Flush();
    return OkStatus();
  }

 private:
  struct Read {
    AlignedBuffer buffer;
    IoOp op;
    bool is_done = false;
  };

  bool SubmitNext() {
    if (run_index_ == written_.size() || reads_.size() == kReadDepth) return false;
    const DeviceRange& run = written_[run_index_];
    Read& read = reads_.emplace_back();
    if (free_buffers_.empty()) {
      read.buffer = AlignedBuffer(kReadBytes);
    } else {
      read.buffer = std::move(free_buffers_.back());
      free_buffers_.pop_back();
    }
    read.op.kind = IoKind::kRead;
    read.op.offset = run.offset + run_done_;
    read.op.data = read.buffer.data();
    read.op.length_bytes = std::min(kReadBytes, run.length_bytes - run_done_);
    read.op.tag = next_tag_++;
    run_done_ += read.op.length_bytes;
    if (run_done_ == run.length_bytes) {
      ++run_index_;
      run_done_ = 0;
    }
    queue_->Submit(&read.op);
    return true;
  }

  // Tags count up and reads leave at the front: the place in the line is a difference.
  Read& ReadOf(const IoOp* op) { return reads_[op->tag - reads_.front().op.tag]; }

  void Verify(Read& read) {
    for (uint64_t done = 0; done < read.op.length_bytes; done += kBlockBytes) {
      const DeviceOffset place = read.op.offset + done;
      char* data = read.buffer.data() + done;
      // A request fails as a whole: which blocks are bad shows one by one.
      if (read.op.error && !context_.device.Read(place, {data, kBlockBytes}).ok()) {
        unreadable_.Add(place);
        continue;
      }
      const DeviceOffset chunk{RoundDown(place.value(), kChecksumChunkBytes)};
      const ChecksumChunk* sums = chunks_.At(chunk);
      const uint64_t index = (place - chunk) / kBlockBytes;
      if (sums == nullptr || (sums->present >> index & 1) == 0) continue;  // pass 5
      if (Crc32c(data, kBlockBytes) != sums->crc32c[index]) mismatched_.Add(place);
    }
  }

  CheckContext& context_;
  const std::vector<DeviceRange>& written_;
  ChunkStream chunks_;
  FaultyBlocks mismatched_, unreadable_;
  std::deque<Read> reads_;
  std::vector<AlignedBuffer> free_buffers_;
  std::unique_ptr<IoQueue> queue_;  // before the buffers: its end waits for the reads
  size_t run_index_ = 0;
  uint64_t run_done_ = 0;
  uint64_t next_tag_ = 0;
  uint64_t total_bytes_ = 0;
};

// An extent over `place`, nullptr when there is none.
const PlacedExtent* OwnerOf(const CheckContext& context, DeviceOffset place) {
  const auto& extents = context.tables.extents;
  auto it = std::ranges::upper_bound(extents, place, {}, &PlacedExtent::device_offset);
  while (it != extents.begin()) {
    --it;
    if (it->end() > place) return &*it;
    if (it->device_offset + context.tables.longest_extent_bytes <= place) break;
  }
  return nullptr;
}

}  // namespace

Status CheckChecksums(CheckContext& context, const UsedSpace& space) {
  return PresenceCheck(context, space).Run();
}

Status CheckData(CheckContext& context, const UsedSpace& space) {
  return DataCheck(context, space).Run();
}

void AddBlockFinding(CheckContext& context, FindingId id, DeviceRange blocks,
                     std::string_view what, FixStage stage,
                     const std::function<Fix(DeviceRange)>& fix) {
  while (blocks.length_bytes > 0) {
    const PlacedExtent* owner = OwnerOf(context, blocks.offset);
    uint64_t length = blocks.length_bytes;
    if (owner != nullptr) length = std::min(length, owner->end() - blocks.offset);
    std::string text =
        StrCat(what, " (", length, " bytes at device offset ", blocks.offset);
    InodeId inode;
    if (owner != nullptr) {
      inode = context.tables.inodes[owner->inode_index].inode;
      text += StrCat(", file offset ",
                     owner->file_offset + (blocks.offset - owner->device_offset));
    }
    const size_t finding = context.report.Add(id, inode, text + ")");
    if (fix) context.plan.Add(stage, id, finding, fix({blocks.offset, length}));
    blocks = {blocks.offset + length, blocks.length_bytes - length};
  }
}

}  // namespace cofs
