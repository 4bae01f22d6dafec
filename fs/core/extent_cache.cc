#include "fs/core/extent_cache.h"

#include <algorithm>

#include "extent_map/records.h"

namespace cofs {
namespace {

constexpr FileOffset kEndOfFile{UINT64_MAX};
// Extents read behind a look-up that does not continue an earlier one.
constexpr size_t kRandomReadAheadCount = 16;

// A piece of the list as the store has it.
struct Loaded {
  std::vector<Extent> extents;
  // Every extent that overlaps [begin, end) is there.
  FileOffset begin, end;
};

FileOffset Before(FileOffset offset) {
  return offset.value() >= kBlockBytes ? offset - kBlockBytes : FileOffset{0};
}
FileOffset After(FileOffset offset) {
  return offset.value() <= UINT64_MAX - kBlockBytes ? offset + kBlockBytes : kEndOfFile;
}

Result<Extent> ParseExtent(InodeId inode, const Cursor& cursor) {
  TRY_ASSIGN(const ParsedKey key, ParseKey(cursor.key()));
  if (key.kind != RecordKind::kExtent || key.inode != inode)
    return Error(ErrorCode::kCorrupt, StrCat("inode ", inode, ": a key among its extents"));
  auto extent = DecodeExtent(FileOffset{key.position}, cursor.value());
  if (!extent.ok()) return extent.error().Within(StrCat("inode ", inode));
  return extent;
}

// The extents that overlap [begin, end), and more behind them until there are
// `count_wanted`; at most `count_max`.
Result<Loaded> Load(const Store& store, InodeId inode, FileOffset begin, FileOffset end,
                    size_t count_wanted, size_t count_max) {
  const KeyRange keys = ExtentKeys(inode);
  const auto cursor = store.NewCursor(keys.first, keys.last);
  Loaded loaded;
  // The one before `begin` may overlap it. When it does not, the window can start at it
  // all the same.
  cursor->SeekForPrev(ExtentKey(inode, begin));
  if (!cursor->valid()) {
    TRY(cursor->status());
    loaded.begin = FileOffset{0};
    cursor->Seek(keys.first);
  } else {
    TRY_ASSIGN(const Extent first, ParseExtent(inode, *cursor));
    loaded.begin = first.file_offset;
  }
  loaded.end = kEndOfFile;
  for (; cursor->valid(); cursor->Next()) {
    TRY_ASSIGN(const Extent extent, ParseExtent(inode, *cursor));
    if (!loaded.extents.empty() && extent.file_offset < loaded.extents.back().file_end())
      return Error(ErrorCode::kCorrupt,
                   StrCat("inode ", inode, ": extents overlap at ", extent.file_offset));
    const bool is_wanted = extent.file_offset < end;
    if (loaded.extents.size() >= (is_wanted ? count_max : count_wanted)) {
      loaded.end = extent.file_offset;
      return loaded;
    }
    loaded.extents.push_back(extent);
  }
  TRY(cursor->status());
  return loaded;
}

// From a list that holds all that overlaps [begin, known_end).
ExtentCache::Found Select(const std::vector<Extent>& extents, FileOffset begin,
                          FileOffset end, FileOffset known_end, size_t count_max,
                          bool with_neighbours) {
  ExtentCache::Found found;
  found.complete_to = std::min(end, known_end);
  auto it = std::ranges::upper_bound(extents, begin, {}, &Extent::file_end);
  if (with_neighbours && it != extents.begin() && std::prev(it)->file_end() == begin)
    found.extents.push_back(*std::prev(it));
  size_t count = 0;
  for (; it != extents.end() && it->file_offset < end; ++it) {
    if (count++ == count_max) {
      found.complete_to = found.extents.back().file_end();
      if (with_neighbours && it->file_offset == found.complete_to)
        found.extents.push_back(*it);
      return found;
    }
    found.extents.push_back(*it);
  }
  if (with_neighbours && it != extents.end() && it->file_offset == end)
    found.extents.push_back(*it);
  return found;
}

}  // namespace

bool ExtentCache::Covers(FileOffset begin, FileOffset end) const {
  return begin_ <= begin && end <= end_;
}

size_t ExtentCache::ReadAheadCount(FileOffset begin) const {
  return begin >= begin_ && begin <= end_ && begin_ < end_ ? kExtentCountMax
                                                           : kRandomReadAheadCount;
}

Result<ExtentCache::Found> ExtentCache::Find(const Store& store, InodeId inode,
                                             FileOffset begin, FileOffset end,
                                             size_t count_max, bool with_neighbours) {
  // Neighbours overlap the range that is a block wider.
  const FileOffset from = with_neighbours ? Before(begin) : begin;
  const FileOffset to = with_neighbours ? After(end) : end;
  size_t count_wanted = 0;
  {
    MutexLock lock(mutex_);
    if (Covers(from, to))
      return Select(extents_, begin, end, end, count_max, with_neighbours);
    count_wanted = ReadAheadCount(begin);
  }
  // Three more than asked for: the two neighbours, and the one that shows that there is
  // a rest.
  const size_t load_count_max =
      std::clamp(count_max, kExtentCountMax, size_t{SIZE_MAX} - 3) + 3;
  TRY_ASSIGN(Loaded loaded, Load(store, inode, from, to, count_wanted, load_count_max));
  Found found =
      Select(loaded.extents, begin, end, loaded.end, count_max, with_neighbours);
  if (loaded.extents.size() > kExtentCountMax) {
    loaded.extents.resize(kExtentCountMax);
    loaded.extents.shrink_to_fit();
    loaded.end = loaded.extents.back().file_end();
  }
  MutexLock lock(mutex_);
  begin_ = loaded.begin;
  end_ = loaded.end;
  extents_ = std::move(loaded.extents);
  return found;
}

void ExtentCache::Apply(const ExtentChange& change) {
  if (change.erased.empty() && change.written.empty()) return;
  MutexLock lock(mutex_);
  if (begin_ >= end_) return;
  // What no longer overlaps the window is forgotten, also under a key that was in it.
  ExtentChange inside;
  inside.erased = change.erased;
  for (const Extent& extent : change.written) {
    if (extent.file_offset < end_ && extent.file_end() > begin_)
      inside.written.push_back(extent);
    else
      inside.erased.push_back(extent.file_offset);
  }
  std::ranges::sort(inside.erased);
  ApplyChange(extents_, inside);
  if (extents_.size() > kExtentCountMax)
    Trim(change.written.empty() ? change.erased.back() : change.written.back().file_offset);
}

void ExtentCache::Trim(FileOffset hot) {
  constexpr size_t kKept = kExtentCountMax * 3 / 4;
  const size_t hot_index = static_cast<size_t>(
      std::ranges::lower_bound(extents_, hot, {}, &Extent::file_offset) - extents_.begin());
  if (hot_index * 2 >= extents_.size()) {
    extents_.erase(extents_.begin(),
                   extents_.end() - static_cast<std::ptrdiff_t>(kKept));
    begin_ = extents_.front().file_offset;
  } else {
    extents_.resize(kKept);
    end_ = extents_.back().file_end();
  }
}

void ExtentCache::Clear() {
  MutexLock lock(mutex_);
  begin_ = end_ = FileOffset{0};
  extents_.clear();
}

void ExtentCache::StartEmpty() {
  MutexLock lock(mutex_);
  begin_ = FileOffset{0};
  end_ = kEndOfFile;
  extents_.clear();
}

}  // namespace cofs
