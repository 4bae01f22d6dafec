#include "fs/core/extent_cache.h"

#include <algorithm>
#include <utility>

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

ExtentCache::Windows::iterator ExtentCache::Holding(FileOffset offset) {
  auto window = windows_.upper_bound(offset);
  if (window == windows_.begin()) return windows_.end();
  --window;
  return offset < window->second.end ? window : windows_.end();
}

size_t ExtentCache::ReadAheadCount(FileOffset begin) {
  const bool goes_on =
      last_begin_ < last_end_ && begin >= last_begin_ && begin <= last_end_;
  return goes_on ? kExtentCountMax : kRandomReadAheadCount;
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
    const auto window = Holding(from);
    if (window != windows_.end() && to <= window->second.end) {
      window->second.was_used = true;
      last_begin_ = window->first;
      last_end_ = window->second.end;
      return Select(window->second.extents, begin, end, end, count_max, with_neighbours);
    }
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
    loaded.end = loaded.extents.back().file_end();
  }
  loaded.extents.shrink_to_fit();
  MutexLock lock(mutex_);
  last_begin_ = loaded.begin;
  last_end_ = loaded.end;
  Insert(loaded.begin, {loaded.end, std::move(loaded.extents)});
  return found;
}

void ExtentCache::Insert(FileOffset begin, Window window) {
  if (begin >= window.end) return;
  CutOut(begin, window.end);
  Count(static_cast<int64_t>(window.extents.size()));
  auto inserted = windows_.emplace(begin, std::move(window)).first;
  JoinWithNext(inserted);
  if (inserted != windows_.begin()) JoinWithNext(std::prev(inserted));
  Evict(begin);
}

void ExtentCache::CutOut(FileOffset begin, FileOffset end) {
  for (auto window = windows_.lower_bound(begin);
       window != windows_.end() && window->first < end;) {
    const auto next = std::next(window);
    if (window->second.end > end) {
      Window rest = std::move(window->second);
      const size_t before = rest.extents.size();
      std::erase_if(rest.extents,
                    [&](const Extent& extent) { return extent.file_end() <= end; });
      Count(static_cast<int64_t>(rest.extents.size()) - static_cast<int64_t>(before));
      windows_.erase(window);
      windows_.emplace(end, std::move(rest));
      break;
    }
    Erase(window);
    window = next;
  }
  const auto window = Holding(begin);
  if (window == windows_.end()) return;
  // It begins before `begin`, and what was loaded began at an extent: it ends inside.
  if (window->second.end > end) return Erase(window);
  window->second.end = begin;
  const size_t before = window->second.extents.size();
  std::erase_if(window->second.extents,
                [&](const Extent& extent) { return extent.file_offset >= begin; });
  Count(static_cast<int64_t>(window->second.extents.size()) - static_cast<int64_t>(before));
}

void ExtentCache::JoinWithNext(Windows::iterator window) {
  const auto next = std::next(window);
  if (next == windows_.end() || window->second.end != next->first ||
      window->second.extents.size() + next->second.extents.size() > kExtentCountMax)
    return;
  std::vector<Extent>& extents = window->second.extents;
  size_t skip = 0;  // what overlaps both is in both
  if (!extents.empty() && !next->second.extents.empty() &&
      extents.back().file_offset == next->second.extents.front().file_offset)
    skip = 1;
  extents.insert(extents.end(), next->second.extents.begin() + static_cast<int64_t>(skip),
                 next->second.extents.end());
  window->second.end = next->second.end;
  window->second.was_used = true;
  windows_.erase(next);
  Count(-static_cast<int64_t>(skip));
}

void ExtentCache::Apply(const ExtentChange& change) {
  if (change.erased.empty() && change.written.empty()) return;
  MutexLock lock(mutex_);
  // What lies in here may have changed: what was there ends with a piece that is written,
  // dropped, or both.
  FileOffset begin = kEndOfFile, end{0};
  for (const FileOffset offset : change.erased) {
    begin = std::min(begin, offset);
    end = std::max(end, After(offset));
  }
  for (const auto* list : {&change.written, &change.dropped}) {
    for (const Extent& extent : *list) {
      begin = std::min(begin, extent.file_offset);
      end = std::max(end, extent.file_end());
    }
  }
  auto window = Holding(begin);
  if (window == windows_.end()) window = windows_.lower_bound(begin);
  while (window != windows_.end() && window->first < end) {
    const auto next = std::next(window);
    ApplyTo(window, change);
    window = next;
  }
  Evict(begin);
}

void ExtentCache::ApplyTo(Windows::iterator window, const ExtentChange& change) {
  // What no longer overlaps the window is forgotten, also under a key that was in it.
  ExtentChange inside;
  inside.erased = change.erased;
  for (const Extent& extent : change.written) {
    if (extent.file_offset < window->second.end && extent.file_end() > window->first)
      inside.written.push_back(extent);
    else
      inside.erased.push_back(extent.file_offset);
  }
  std::ranges::sort(inside.erased);
  std::vector<Extent>& extents = window->second.extents;
  const size_t before = extents.size();
  ApplyChange(extents, inside);
  Count(static_cast<int64_t>(extents.size()) - static_cast<int64_t>(before));
  if (extents.size() > kExtentCountMax)
    Trim(window,
         change.written.empty() ? change.erased.back() : change.written.back().file_offset);
}

void ExtentCache::Trim(Windows::iterator window, FileOffset hot) {
  constexpr size_t kKept = kExtentCountMax * 3 / 4;
  std::vector<Extent>& extents = window->second.extents;
  const size_t hot_index = static_cast<size_t>(
      std::ranges::lower_bound(extents, hot, {}, &Extent::file_offset) - extents.begin());
  Count(static_cast<int64_t>(kKept) - static_cast<int64_t>(extents.size()));
  if (hot_index * 2 < extents.size()) {
    extents.resize(kKept);
    window->second.end = extents.back().file_end();
    return;
  }
  Window rest = std::move(window->second);
  rest.extents.erase(rest.extents.begin(),
                     rest.extents.end() - static_cast<std::ptrdiff_t>(kKept));
  // The first may have begun before the window did.
  const FileOffset begin = std::max(window->first, rest.extents.front().file_offset);
  windows_.erase(window);
  windows_.emplace(begin, std::move(rest));
}

void ExtentCache::Evict(FileOffset kept) {
  const auto is_over = [this]() REQUIRES(mutex_) {
    return extent_count_ + windows_.size() > kExtentCountMax &&
           (budget_ == nullptr || budget_->is_spent());
  };
  // Two rounds: the first may find all of them used.
  for (size_t looks = 2 * windows_.size(); looks > 0 && windows_.size() > 1 && is_over();
       --looks) {
    auto victim = windows_.upper_bound(hand_);
    if (victim == windows_.end()) victim = windows_.begin();
    hand_ = victim->first;
    if (std::exchange(victim->second.was_used, false)) continue;
    if (victim->first <= kept && kept < victim->second.end) continue;
    Erase(victim);
  }
}

void ExtentCache::Erase(Windows::iterator window) {
  Count(-static_cast<int64_t>(window->second.extents.size()));
  windows_.erase(window);
}

void ExtentCache::Count(int64_t more) {
  extent_count_ = static_cast<size_t>(static_cast<int64_t>(extent_count_) + more);
  if (budget_ != nullptr) budget_->Add(more);
}

void ExtentCache::Clear() {
  MutexLock lock(mutex_);
  Count(-static_cast<int64_t>(extent_count_));
  windows_.clear();
}

void ExtentCache::StartEmpty() {
  Clear();
  MutexLock lock(mutex_);
  windows_.emplace(FileOffset{0}, Window{kEndOfFile, {}});
}

size_t ExtentCache::extent_count() {
  MutexLock lock(mutex_);
  return extent_count_;
}

}  // namespace cofs
