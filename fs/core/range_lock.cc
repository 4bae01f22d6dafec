#include "fs/core/range_lock.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace cofs {

std::vector<LockedRange> Joined(std::vector<LockedRange> ranges) {
  std::ranges::sort(ranges, {}, &LockedRange::begin);
  std::vector<LockedRange> joined;
  for (const LockedRange& range : ranges) {
    if (!joined.empty() && range.begin <= joined.back().end)
      joined.back().end = std::max(joined.back().end, range.end);
    else
      joined.push_back(range);
  }
  return joined;
}

bool RangeLockEntry::Overlaps(const RangeLockEntry& other) const {
  if (first.Overlaps(other.first)) return true;
  if (more.empty() && other.more.empty()) return false;
  const auto hits = [](const LockedRange& range, const std::vector<LockedRange>& sorted) {
    // The last one that begins before the end of `range` has the highest end, as the
    // ranges of a list are disjoint.
    auto it = std::partition_point(sorted.begin(), sorted.end(), [&](const LockedRange& r) {
      return r.begin < range.end;
    });
    return it != sorted.begin() && std::prev(it)->end > range.begin;
  };
  if (hits(first, other.more) || hits(other.first, more)) return true;
  return std::any_of(more.begin(), more.end(),
                     [&](const LockedRange& r) { return hits(r, other.more); });
}

RangeLock::~RangeLock() { CHECK(entries_.empty(), "a range is still locked"); }

RangeLock::Hold RangeLock::Acquire(uint64_t begin, uint64_t end) {
  RangeLockEntry entry;
  entry.first = {begin, end};
  return Enter(std::move(entry));
}

RangeLock::Hold RangeLock::AcquireAll(std::span<const LockedRange> ranges) {
  CHECK(!ranges.empty());
  std::vector<LockedRange> joined = Joined({ranges.begin(), ranges.end()});
  RangeLockEntry entry;
  entry.first = joined.front();
  entry.more.assign(joined.begin() + 1, joined.end());
  return Enter(std::move(entry));
}

RangeLock::Hold RangeLock::Enter(RangeLockEntry&& wanted) {
  MutexLock lock(mutex_);
  RangeLockEntry& entry = entries_.emplace_back();
  entry.first = wanted.first;
  entry.more = std::move(wanted.more);
  Hold hold;
  hold.owner_ = this;
  hold.entry_ = std::prev(entries_.end());
  for (auto it = entries_.begin(); it != hold.entry_; ++it)
    if (it->Overlaps(entry)) ++entry.blocker_count;
  while (entry.blocker_count > 0) entry.unblocked.Wait(mutex_);
  return hold;
}

RangeLock::Hold::Hold(Hold&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)), entry_(other.entry_) {}

RangeLock::Hold& RangeLock::Hold::operator=(Hold&& other) noexcept {
  if (this != &other) {
    Release();
    owner_ = std::exchange(other.owner_, nullptr);
    entry_ = other.entry_;
  }
  return *this;
}

void RangeLock::Hold::Release() {
  if (owner_ == nullptr) return;
  RangeLock& owner = *std::exchange(owner_, nullptr);
  MutexLock lock(owner.mutex_);
  for (auto it = std::next(entry_); it != owner.entries_.end(); ++it)
    if (it->Overlaps(*entry_) && --it->blocker_count == 0) it->unblocked.NotifyOne();
  owner.entries_.erase(entry_);
}

}  // namespace cofs
