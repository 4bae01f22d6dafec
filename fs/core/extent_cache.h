// ExtentCache: a bounded window of one file's extents, filled from the store.
//
// Invariant: every extent of the file that overlaps the window is in memory, whole, so
// that a look-up inside the window needs no store.
//
// Thread-safety: Find may be called by threads that hold the inode's mutex shared;
// Apply and Clear by the thread that holds it exclusively.
#pragma once

#include <cstdint>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "extent_map/extent.h"
#include "extent_map/store/store.h"

namespace cofs {

class ExtentCache {
 public:
  static constexpr size_t kExtentCountMax = 512;

  // Every extent that overlaps [begin, end), clipped to nothing (whole extents),
  // sorted, at most `count_max` of them; from the window or from the store. With
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

 private:
  bool Covers(FileOffset begin, FileOffset end) const REQUIRES(mutex_);
  // How many extents to read for a look-up at `begin` that is not in the window.
  size_t ReadAheadCount(FileOffset begin) const REQUIRES(mutex_);
  void Trim(FileOffset hot) REQUIRES(mutex_);

  Mutex mutex_;
  FileOffset begin_ GUARDED_BY(mutex_);
  FileOffset end_ GUARDED_BY(mutex_);
  std::vector<Extent> extents_ GUARDED_BY(mutex_);
};

}  // namespace cofs
