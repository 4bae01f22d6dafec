// SharedBlocks: reference counts of blocks that several extents map.
//
// The counts of a range change only while its lock is held, from reading the shared
// records through Committer::Apply() of the batch that changes them. One batch changes
// counts by one call: ranges are locked together, so that two batches can't wait for
// each other, and changes of the same record add up.
//
// Thread-safety: all functions.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "extent_map/extent.h"
#include "extent_map/shared_ranges.h"
#include "extent_map/store/store.h"
#include "fs/core/range_lock.h"
#include "fs/core/transaction.h"

namespace cofs {

class SharedBlocks {
 public:
  explicit SharedBlocks(const Store& store) : store_(store) {}

  // Held through Apply().
  using Locks = std::vector<RangeLock::Hold>;

  // Adds to `transaction` what it takes to drop `extents` (pieces no longer mapped):
  // frees blocks without another owner, lowers the counts of the others. Extents
  // without the shared flag are freed without a look-up. kCorrupt, kIo.
  Result<Locks> Drop(std::span<const Extent> extents, Transaction& transaction) {
    return ShareAndDrop({}, extents, transaction);
  }
  // One more owner for each of `ranges`.
  Result<Locks> Share(std::span<const DeviceRange> ranges, Transaction& transaction) {
    return ShareAndDrop(ranges, {}, transaction);
  }
  // Both at once; new owners come first, so that what is shared anew by the same batch
  // that drops it is not freed.
  Result<Locks> ShareAndDrop(std::span<const DeviceRange> shared,
                             std::span<const Extent> dropped, Transaction& transaction);
  // Those parts of `range` that have two or more owners at this moment, in order; parts
  // that touch are joined.
  Result<std::vector<DeviceRange>> SharedParts(DeviceRange range,
                                               size_t count_max = SIZE_MAX) const;
  // Appends the parts, the first `count_max`, of an extent that is marked as shared: marked
  // where it is at this moment. Answers how many bytes that are.
  Result<uint64_t> SplitBySharing(const Extent& extent, size_t count_max,
                                  std::vector<Extent>& out) const;

 private:
  const Store& store_;
  RangeLock locks_;  // by device offset
};

}  // namespace cofs
