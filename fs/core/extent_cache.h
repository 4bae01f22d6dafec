// ExtentCache: a bounded window of one file's extents, filled from the store.
//
// Thread-safety: Find and Fill may be called by threads that hold the inode's mutex
// shared; Apply and Clear by the thread that holds it exclusively.
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
  // `with_neighbours` also those that end at `begin` or start at `end`.
  // `complete_to`: all of [begin, complete_to) is described (== end unless cut).
  struct Found {
    std::vector<Extent> extents;
    FileOffset complete_to;
  };
  Result<Found> Find(const Store& store, InodeId inode, FileOffset begin, FileOffset end,
                     size_t count_max, bool with_neighbours);
  // The batch that holds `change` has been written.
  void Apply(const ExtentChange& change);
  void Clear();

 private:
  Mutex mutex_;
  // The window: every extent that overlaps [begin_, end_) is in extents_.
  FileOffset begin_ GUARDED_BY(mutex_);
  FileOffset end_ GUARDED_BY(mutex_);
  std::vector<Extent> extents_ GUARDED_BY(mutex_);
};

}  // namespace cofs
