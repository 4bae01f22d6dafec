#include "fsck/record_editor.h"

namespace cofs {
namespace {

constexpr size_t kBatchBytes = 64 << 10;
constexpr size_t kDeleteStep = 500;

}  // namespace

Result<std::optional<std::string>> RecordEditor::Get(const std::string& key) const {
  for (const Changes* changes : {&step_, &batch_})
    if (const auto found = changes->find(key); found != changes->end())
      return found->second;
  return store_.Get(key);
}

Result<InodeRecord> RecordEditor::GetInode(InodeId inode) const {
  TRY_ASSIGN(const auto value, Get(InodeKey(inode)));
  if (!value) return Error(ErrorCode::kNotFound, StrCat("inode ", inode));
  return DecodeInode(*value);
}

void RecordEditor::Put(std::string key, std::string value) {
  step_.insert_or_assign(std::move(key), std::move(value));
}

void RecordEditor::Delete(std::string key) {
  step_.insert_or_assign(std::move(key), std::nullopt);
}

void RecordEditor::PutInode(InodeId inode, const InodeRecord& record) {
  Put(InodeKey(inode), EncodeInode(record));
}

Status RecordEditor::EditInode(InodeId inode,
                               const std::function<void(InodeRecord&)>& change) {
  auto record = GetInode(inode);
  // An earlier fix has removed it, or it waits for another one.
  if (record.Is(ErrorCode::kNotFound) || record.Is(ErrorCode::kCorrupt))
    return OkStatus();
  if (!record.ok()) return record.error();
  change(*record);
  PutInode(inode, *record);
  return OkStatus();
}

Status RecordEditor::DeleteAll(const KeyRange& range) {
  std::string next = range.first;
  for (bool is_end = false; !is_end;) {
    // A cursor does not live across a write.
    const auto cursor = store_.NewCursor(next, range.last);
    size_t count = 0;
    for (cursor->Seek(next); cursor->valid() && count < kDeleteStep; cursor->Next()) {
      Delete(std::string(cursor->key()));
      ++count;
    }
    is_end = !cursor->valid();
    if (is_end)
      TRY(cursor->status());
    else
      next = cursor->key();
    if (!is_end) TRY(EndStep());
  }
  return OkStatus();
}

Status RecordEditor::PutChecksum(DeviceOffset place, uint32_t crc32c) {
  const std::string key = ChecksumKey(place);
  TRY_ASSIGN(const auto value, Get(key));
  ChecksumChunk chunk;
  if (value)
    if (const auto decoded = DecodeChecksums(*value); decoded.ok()) chunk = *decoded;
  const size_t index = place.value() % kChecksumChunkBytes / kBlockBytes;
  chunk.present |= uint64_t{1} << index;
  chunk.crc32c[index] = crc32c;
  Put(key, EncodeChecksums(chunk));
  return OkStatus();
}

Status RecordEditor::EndStep() {
  for (auto& [key, value] : step_) {
    batch_bytes_ += key.size() + (value ? value->size() : 0);
    batch_.insert_or_assign(key, std::move(value));
  }
  step_.clear();
  return batch_bytes_ < kBatchBytes ? OkStatus() : Commit();
}

Status RecordEditor::Commit() {
  CHECK(step_.empty(), "a step that has not ended");
  if (batch_.empty()) return OkStatus();
  Batch batch;
  bool grows = false;
  for (const auto& [key, value] : batch_) {
    if (!value) {
      batch.Delete(key);
      continue;
    }
    batch.Put(key, *value);
    if (grows) continue;
    TRY_ASSIGN(const auto before, store_.Get(key));
    grows = !before.has_value();
  }
  const Status admitted = store_.AdmitGrowth(batch.size_bytes());
  // What only changes or removes records may use the reserve, as unlink does.
  if (!admitted.ok() && (grows || !admitted.Is(ErrorCode::kNoSpace))) return admitted;
  TRY(store_.Write(std::move(batch)));
  batch_.clear();
  batch_bytes_ = 0;
  return store_.Commit();
}

}  // namespace cofs
