#include "fs/core/block_checksums.h"

#include "base/check.h"
#include "base/crc32c.h"

namespace cofs {
namespace {

// Chunks of a run that are looked up one by one.
constexpr size_t kRunBeforeWalk = 4;

DeviceOffset ChunkOf(DeviceOffset offset) {
  return DeviceOffset{RoundDown(offset.value(), kChecksumChunkBytes)};
}

}  // namespace

void AppendBlockCrcs(std::span<const char> data, std::vector<uint32_t>& crcs) {
  CHECK(IsBlockAligned(data.size()));
  for (size_t at = 0; at < data.size(); at += kBlockBytes)
    crcs.push_back(Crc32c(data.data() + at, kBlockBytes));
}

Result<std::optional<std::string>> ChecksumReader::Find(DeviceOffset chunk) {
  const bool goes_on = chunk_begin_ && chunk == *chunk_begin_ + kChecksumChunkBytes;
  run_count_ = goes_on ? run_count_ + 1 : 0;
  if (run_count_ < kRunBeforeWalk) {
    cursor_.reset();
    return store_.Get(ChecksumKey(chunk));
  }
  const std::string key = ChecksumKey(chunk);
  if (cursor_ == nullptr) {
    cursor_ = store_.NewCursor(key, AllChecksums().last);
    cursor_->Seek(key);
  } else if (cursor_->valid() && cursor_->key() < key) {
    cursor_->Next();
  }
  if (cursor_->valid() && cursor_->key() == key)
    return std::optional<std::string>(cursor_->value());
  TRY(cursor_->status());
  return std::optional<std::string>{};
}

Status ChecksumReader::LoadChunkOf(DeviceOffset offset) {
  const DeviceOffset begin = ChunkOf(offset);
  if (chunk_begin_ == begin) return OkStatus();
  Result<std::optional<std::string>> found = Find(begin);
  chunk_begin_.reset();
  TRY_ASSIGN(const auto value, std::move(found));
  if (!value)
    return Error(ErrorCode::kCorrupt, StrCat("no checksums of the chunk at ", begin));
  auto chunk = DecodeChecksums(*value);
  if (!chunk.ok())
    return chunk.error().Within(StrCat("checksums of the chunk at ", begin));
  chunk_ = *chunk;
  chunk_begin_ = begin;
  return OkStatus();
}

Result<uint32_t> ChecksumReader::Get(DeviceOffset offset) {
  TRY(LoadChunkOf(offset));
  const size_t index = (offset - *chunk_begin_) / kBlockBytes;
  if ((chunk_.present >> index & 1) == 0)
    return Error(ErrorCode::kCorrupt, StrCat("no checksum of the block at ", offset));
  return chunk_.crc32c[index];
}

Status ChecksumReader::Append(DeviceRange range, std::vector<uint32_t>& crcs) {
  for (DeviceOffset at = range.offset; at < range.end(); at += kBlockBytes) {
    TRY_ASSIGN(const uint32_t crc, Get(at));
    crcs.push_back(crc);
  }
  return OkStatus();
}

void ChecksumWriter::Add(DeviceOffset offset, std::span<const uint32_t> crcs) {
  for (const uint32_t crc : crcs) {
    if (ChunkOf(offset) != chunk_begin_) {
      Finish();
      chunk_begin_ = ChunkOf(offset);
    }
    const size_t index = (offset - chunk_begin_) / kBlockBytes;
    chunk_.present |= uint64_t{1} << index;
    chunk_.crc32c[index] = crc;
    offset += kBlockBytes;
  }
}

void ChecksumWriter::Finish() {
  if (chunk_.present == 0) return;
  // Of a whole chunk nothing of what was there before stays.
  if (~chunk_.present == 0)
    batch_.Put(ChecksumKey(chunk_begin_), EncodeChecksums(chunk_));
  else
    batch_.Merge(ChecksumKey(chunk_begin_), EncodeChecksums(chunk_));
  chunk_ = ChecksumChunk{};
}

}  // namespace cofs
