// What the passes of one check share.
#pragma once

#include "extent_map/store/store.h"
#include "extent_map/superblock.h"
#include "fsck/read_progress.h"
#include "fsck/repair_plan.h"
#include "fsck/repairer.h"
#include "fsck/report.h"
#include "fsck/tables.h"
#include "fsck/volume_check.h"

namespace cofs {

// Whether what ended a check is damage of the store, and so a finding.
inline bool IsStoreDamage(const Error& error) {
  return error.code() == ErrorCode::kCorrupt || error.code() == ErrorCode::kChecksum;
}

struct CheckContext {
  BlockDevice& device;
  const Superblock& superblock;
  const Store& store;
  const CheckOptions& options;
  Report& report;
  RepairPlan& plan;
  Tables tables;

  // A finding, and what repairs it.
  void Find(FindingId id, InodeId inode, std::string text, FixStage stage, Fix fix) {
    const size_t finding = report.Add(id, inode, std::move(text));
    plan.Add(stage, id, finding, std::move(fix));
  }

  // Tells how far the pass is; kInterrupted when the check was cancelled.
  Status Step(const CheckProgress& progress) const {
    if (options.progress) options.progress(progress);
    if (options.is_cancelled && options.is_cancelled())
      return Error(ErrorCode::kInterrupted, "check");
    return OkStatus();
  }
};

// Pass 1: whether the check can go on with the volume. `rewrites` is set when writing both
// copies anew repairs what was found.
Result<bool> CheckSuperblocks(BlockDevice& device, Report& report, bool& rewrites);
// Pass 2: kCorrupt is made a finding by the caller. Whether records can be looked at.
// `reads`: the device that the store was opened on.
Result<bool> CheckStoreFiles(CheckContext& context, ReadProgress& reads);
struct UsedSpace;
// Passes 3 to 5, and what blocks the files use.
Result<UsedSpace> CheckRecords(CheckContext& context);

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
// What neither a record nor the volume itself uses.
std::unique_ptr<Allocator> FreeSpaceOf(const CheckContext& context, const UsedSpace& space);
// Pass 6.
Status CheckData(CheckContext& context, const UsedSpace& space);

// Adds a finding about blocks, under the name of the file that they are of.
void AddBlockFinding(CheckContext& context, FindingId id, DeviceRange blocks,
                     std::string_view what, FixStage stage = FixStage::kSpace,
                     const std::function<Fix(DeviceRange)>& fix = nullptr);

// Fills in the paths of the findings.
void NameFindings(CheckContext& context);

}  // namespace cofs
