// SharedBlocks: reference counts of blocks that several extents map.
//
// The counts of a range change only while its lock is held, from reading the shared
// records through Committer::Apply() of the batch that changes them.
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
  // without the shared flag are freed without a look-up.
  Result<Locks> Drop(std::span<const Extent> extents, Transaction& transaction);
  // One more owner for each of `ranges`.
  Result<Locks> Share(std::span<const DeviceRange> ranges, Transaction& transaction);

 private:
  const Store& store_;
  RangeLock locks_;  // by device offset
};

}  // namespace cofs
