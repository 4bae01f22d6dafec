// What the passes of one check share.
#pragma once

#include "extent_map/store/store.h"
#include "extent_map/superblock.h"
#include "fsck/report.h"
#include "fsck/tables.h"
#include "fsck/volume_check.h"

namespace cofs {

struct CheckContext {
  BlockDevice& device;
  const Superblock& superblock;
  const Store& store;
  const CheckOptions& options;
  Report& report;
  Tables tables;

  // Tells how far the pass is; kInterrupted when the check was cancelled.
  Status Step(const CheckProgress& progress) const {
    if (options.progress) options.progress(progress);
    if (options.is_cancelled && options.is_cancelled())
      return Error(ErrorCode::kInterrupted, "check");
    return OkStatus();
  }
};

// The passes. An Error ends the check; damage of the store found on the way (kCorrupt)
// is made a finding by the caller.

// Pass 3: fills in the tables.
Status WalkRecords(CheckContext& context);
// Pass 4.
Status CheckTree(CheckContext& context);

// Disjoint runs in order of place, and where each comes from.
struct UsedSpace {
  std::vector<DeviceRange> used;     // by extents, whatever they are
  std::vector<DeviceRange> written;  // of those, what has checksums
};
// Pass 5.
Result<UsedSpace> CheckSpace(CheckContext& context);
Status CheckChecksums(CheckContext& context, const UsedSpace& space);
Status CheckAllocatorImage(CheckContext& context, const UsedSpace& space);
// Pass 6.
Status CheckData(CheckContext& context, const UsedSpace& space);

// Adds a finding about blocks, under the name of the file that they are of.
void AddBlockFinding(CheckContext& context, FindingId id, DeviceRange blocks,
                     std::string_view what);

// Fills in the paths of the findings.
void NameFindings(CheckContext& context);

}  // namespace cofs
