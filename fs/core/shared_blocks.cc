#include "fs/core/shared_blocks.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>

#include "extent_map/records.h"

namespace cofs {
namespace {

// Calls visit(offset, record) for each record that overlaps or touches `range`, until it
// answers false.
template <typename Visit>
Status ForEachRecord(Cursor& cursor, const std::string& first_key, DeviceRange range,
                     Visit&& visit) {
  cursor.SeekForPrev(SharedKey(range.offset));
  if (!cursor.valid()) {
    TRY(cursor.status());
    cursor.Seek(first_key);
  }
  for (; cursor.valid(); cursor.Next()) {
    TRY_ASSIGN(const ParsedKey key, ParseKey(cursor.key()));
    if (key.kind != RecordKind::kShared)
      return Error(ErrorCode::kCorrupt, "a key among the shared ranges");
    if (key.position > range.end().value()) break;
    auto record = DecodeShared(cursor.value());
    if (!record.ok())
      return record.error().Within(StrCat("shared range at ", key.position));
    if (key.position + record->length_bytes < range.offset.value()) continue;
    if (!visit(key.position, *record)) return OkStatus();
  }
  return cursor.status();
}

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
    return ForEachRecord(*cursor_, first_key_, range,
                         [&](uint64_t offset, const SharedRecord& record) {
                           before_.emplace(offset, record);
                           records_.emplace(offset, record);
                           return true;
                         });
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
  std::vector<LockedRange> wanted, looked_up;
  for (const DeviceRange& range : ranges) {
    const uint64_t begin = range.offset.value();
    looked_up.push_back({begin, range.end().value()});
    wanted.push_back({begin - std::min(begin, kBlockBytes), range.end().value() + kBlockBytes});
  }
  // A thousand pieces may be one block.
  looked_up = Joined(std::move(looked_up));
  for (;;) {
    wanted = Joined(std::move(wanted));
    locks.clear();
    locks.push_back(locks_.AcquireAll(wanted));
    ChangedRecords records(store_);
    for (const LockedRange& place : looked_up)
      TRY(records.Load({DeviceOffset{place.begin}, place.end - place.begin}));
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

Result<std::vector<DeviceRange>> SharedBlocks::SharedParts(DeviceRange range,
                                                           size_t count_max) const {
  std::vector<DeviceRange> parts;
  const KeyRange keys = AllShared();
  const auto cursor = store_.NewCursor(keys.first, keys.last);
  TRY(ForEachRecord(*cursor, keys.first, range,
                    [&](uint64_t offset, const SharedRecord& record) {
                      const DeviceOffset begin = std::max(DeviceOffset{offset}, range.offset);
                      const DeviceOffset end =
                          std::min(DeviceOffset{offset + record.length_bytes}, range.end());
                      if (begin >= end) return true;
                      if (!parts.empty() && parts.back().end() == begin)
                        parts.back().length_bytes += end - begin;
                      else if (parts.size() == count_max)
                        return false;
                      else
                        parts.push_back({begin, end - begin});
                      return true;
                    }));
  return parts;
}

Result<uint64_t> SharedBlocks::SplitBySharing(const Extent& extent, size_t count_max,
                                              std::vector<Extent>& out) const {
  // One more than there may be parts: what is behind the last one looked at is not known.
  const size_t look_count = count_max == SIZE_MAX ? SIZE_MAX : count_max + 1;
  TRY_ASSIGN(const std::vector<DeviceRange> shared,
             SharedParts({extent.device_offset, extent.length_bytes}, look_count));
  size_t part_count = 0;
  const uint8_t unmarked = extent.flags & static_cast<uint8_t>(~kExtentShared);
  DeviceOffset done = extent.device_offset;
  const auto add = [&](DeviceOffset to, uint8_t flags) {
    if (done >= to || part_count == count_max) return;
    out.push_back(
        {extent.file_offset + (done - extent.device_offset), done, to - done, flags});
    done = to;
    ++part_count;
  };
  uint64_t shared_bytes = 0;
  for (const DeviceRange& part : shared) {
    add(part.offset, unmarked);
    add(part.end(), extent.flags);
    shared_bytes += part.length_bytes;
  }
  add(extent.device_end(), unmarked);
  return shared_bytes;
}

}  // namespace cofs
