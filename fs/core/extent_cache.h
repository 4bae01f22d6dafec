// ExtentCache: parts of one file's list of extents, filled from the store.
//
// It is a set of windows that don't overlap. Invariant: every extent of the file that
// overlaps a window is in it, whole, so that a look-up inside one needs no store. A file
// that is read or written at random has many small windows, one that is walked has a few
// long ones.
//
// Thread-safety: Find may be called by threads that hold the inode's mutex shared;
// Apply and Clear by the thread that holds it exclusively.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "extent_map/extent.h"
#include "extent_map/store/store.h"

namespace cofs {

// How many extents all files of a volume may have in memory beyond what each may have
// anyway. Thread-safe.
class ExtentBudget {
 public:
  explicit ExtentBudget(uint64_t count_max) : count_max_(static_cast<int64_t>(count_max)) {}
  void Add(int64_t count) { count_.fetch_add(count, std::memory_order_relaxed); }
  bool is_spent() const { return count_.load(std::memory_order_relaxed) > count_max_; }

 private:
  const int64_t count_max_;
  std::atomic<int64_t> count_{0};
};

class ExtentCache {
 public:
  // Of a window, and of a whole cache whose budget is spent, or that has none.
  static constexpr size_t kExtentCountMax = 512;

  explicit ExtentCache(std::shared_ptr<ExtentBudget> budget = nullptr)
      : budget_(std::move(budget)) {}
  ~ExtentCache() { Clear(); }
  ExtentCache(const ExtentCache&) = delete;
  ExtentCache& operator=(const ExtentCache&) = delete;

  // Every extent that overlaps [begin, end), clipped to nothing (whole extents),
  // sorted, at most `count_max` of them; from a window or from the store. With
  // `with_neighbours` also those that end at `begin` or start at `end`; they don't
  // count.
  // `complete_to`: all of [begin, complete_to) is described (== end unless cut; then
  // it is the end of the last one that overlaps, and its successor's neighbour too).
  // kCorrupt when the records are no list of extents.
  struct Found {
    std::vector<Extent> extents;
    FileOffset complete_to;
  };
  Result<Found> Find(const Store& store, InodeId inode, FileOffset begin, FileOffset end,
                     size_t count_max, bool with_neighbours) EXCLUDES(mutex_);
  // The batch that holds `change` has been written.
  void Apply(const ExtentChange& change) EXCLUDES(mutex_);
  void Clear() EXCLUDES(mutex_);
  // The file is new: it has no extents, which saves the first look-up.
  void StartEmpty() EXCLUDES(mutex_);
  // In memory.
  size_t extent_count() EXCLUDES(mutex_);

 private:
  struct Window {
    FileOffset end;
    std::vector<Extent> extents;
    bool was_used = true;  // since the last look for a victim
  };
  using Windows = std::map<FileOffset, Window>;  // by begin

  // The window that holds `offset`, or end().
  Windows::iterator Holding(FileOffset offset) REQUIRES(mutex_);
  // How many extents to read for a look-up at `begin` that is in no window.
  size_t ReadAheadCount(FileOffset begin) REQUIRES(mutex_);
  void Insert(FileOffset begin, Window window) REQUIRES(mutex_);
  // Makes room for a window [begin, end).
  void CutOut(FileOffset begin, FileOffset end) REQUIRES(mutex_);
  // Joins `window` with the next one if they touch and are small.
  void JoinWithNext(Windows::iterator window) REQUIRES(mutex_);
  void ApplyTo(Windows::iterator window, const ExtentChange& change) REQUIRES(mutex_);
  // What is left when only the part around `hot` is kept; possibly under another begin.
  void Trim(Windows::iterator window, FileOffset hot) REQUIRES(mutex_);
  // Forgets windows but the one at `kept` until the limits hold.
  void Evict(FileOffset kept) REQUIRES(mutex_);
  void Erase(Windows::iterator window) REQUIRES(mutex_);
  void Count(int64_t more) REQUIRES(mutex_);

  const std::shared_ptr<ExtentBudget> budget_;
  Mutex mutex_;
  Windows windows_ GUARDED_BY(mutex_);
  size_t extent_count_ GUARDED_BY(mutex_) = 0;
  // Of the window of the last look-up: one that goes on there reads further ahead.
  FileOffset last_begin_ GUARDED_BY(mutex_), last_end_ GUARDED_BY(mutex_);
  FileOffset hand_ GUARDED_BY(mutex_);  // where the next victim is looked for
};

}  // namespace cofs
