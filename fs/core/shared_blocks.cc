#include "fs/core/shared_blocks.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>

#include "extent_map/records.h"

namespace cofs {
namespace {

// Records as they are after the changes so far of one batch. Everything that a change
// can touch is loaded before the first change.
class ChangedRecords {
 public:
  explicit ChangedRecords(const Store& store) {
    const KeyRange keys = AllShared();
    first_key_ = keys.first;
    cursor_ = store.NewCursor(keys.first, keys.last);
  }

  // Reads the records that overlap or touch `range`.
  Status Load(DeviceRange range) {
    cursor_->SeekForPrev(SharedKey(range.offset));
    if (!cursor_->valid()) {
      TRY(cursor_->status());
      cursor_->Seek(first_key_);
    }
    for (; cursor_->valid(); cursor_->Next()) {
      TRY_ASSIGN(const ParsedKey key, ParseKey(cursor_->key()));
      if (key.kind != RecordKind::kShared)
        return Error(ErrorCode::kCorrupt, "a key among the shared ranges");
      if (key.position > range.end().value()) break;
      auto record = DecodeShared(cursor_->value());
      if (!record.ok())
        return record.error().Within(StrCat("shared range at ", key.position));
      if (key.position + record->length_bytes < range.offset.value()) continue;
      before_.emplace(key.position, *record);
      records_.emplace(key.position, *record);
    }
    return cursor_->status();
  }
  // Where the loaded records lie.
  std::vector<LockedRange> Places() const {
    std::vector<LockedRange> places;
    for (const auto& [offset, record] : records_)
      places.push_back({offset, offset + record.length_bytes});
    return places;
  }

  void Add(DeviceRange range) { Change(AddReference(Touching(range), range)); }
  // Answers what is without an owner then.
  std::vector<DeviceRange> Remove(DeviceRange range) {
    SharedChange change = RemoveReference(Touching(range), range);
    Change(change);
    return std::move(change.freed);
  }
  void PutInto(Batch& batch) const {
    for (const auto& [offset, record] : before_)
      if (!records_.contains(offset)) batch.Delete(SharedKey(DeviceOffset{offset}));
    for (const auto& [offset, record] : records_) {
      const auto before = before_.find(offset);
      if (before == before_.end() || before->second != record)
        batch.Put(SharedKey(DeviceOffset{offset}), EncodeShared(record));
    }
  }

 private:
  std::vector<SharedRange> Touching(DeviceRange range) const {
    std::vector<SharedRange> touching;
    auto it = records_.upper_bound(range.offset.value());
    if (it != records_.begin()) --it;
    for (; it != records_.end() && it->first <= range.end().value(); ++it)
      if (it->first + it->second.length_bytes >= range.offset.value())
        touching.push_back({DeviceOffset{it->first}, it->second});
    return touching;
  }
  void Change(const SharedChange& change) {
    for (const DeviceOffset offset : change.erased) records_.erase(offset.value());
    for (const SharedRange& range : change.written)
      records_[range.offset.value()] = range.record;
  }

  std::string first_key_;
  std::unique_ptr<Cursor> cursor_;
  std::map<uint64_t, SharedRecord> before_;  // in the store
  std::map<uint64_t, SharedRecord> records_;
};

// `locked` is sorted and disjoint.
bool Covers(std::span<const LockedRange> locked, const LockedRange& place) {
  const auto it = std::ranges::upper_bound(locked, place.begin, {}, &LockedRange::begin);
  return it != locked.begin() && place.end <= std::prev(it)->end;
}

}  // namespace

Result<SharedBlocks::Locks> SharedBlocks::ShareAndDrop(std::span<const DeviceRange> shared,
                                                       std::span<const Extent> dropped,
                                                       Transaction& transaction) {
  std::vector<DeviceRange> unshared, ranges(shared.begin(), shared.end());
  for (const Extent& extent : dropped) {
    const DeviceRange range{extent.device_offset, extent.length_bytes};
    if (!extent.shared()) transaction.Free(range);
    if (extent.shared()) unshared.push_back(range);
  }
  Locks locks;
  ranges.insert(ranges.end(), unshared.begin(), unshared.end());
  if (ranges.empty()) return locks;

  // A change rewrites whole records, and joins those that touch: everything that it may
  // rewrite is locked. What that is shows only under the lock.
  std::vector<LockedRange> wanted;
  for (const DeviceRange& range : ranges) {
    const uint64_t begin = range.offset.value();
    wanted.push_back({begin - std::min(begin, kBlockBytes), range.end().value() + kBlockBytes});
  }
  for (;;) {
    wanted = Joined(std::move(wanted));
    locks.clear();
    locks.push_back(locks_.AcquireAll(wanted));
    ChangedRecords records(store_);
    for (const DeviceRange& range : ranges) TRY(records.Load(range));
    const size_t locked_count = wanted.size();
    for (const LockedRange& place : records.Places())
      if (!Covers({wanted.begin(), locked_count}, place)) wanted.push_back(place);
    if (wanted.size() > locked_count) continue;

    for (const DeviceRange& range : shared) records.Add(range);
    for (const DeviceRange& range : unshared)
      for (const DeviceRange& freed : records.Remove(range)) transaction.Free(freed);
    records.PutInto(transaction.batch());
    return locks;
  }
}

}  // namespace cofs
