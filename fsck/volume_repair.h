// Repairing a volume: what fsck.cofs -p and -y do, as a library.
//
// The volume is checked (volume_check.h) and, while something is found that the mode may
// repair, the first stage of fixes is carried out (repair_plan.h) and it is checked again.
// So the last check is the proof that nothing is left which could be repaired.
//
// Invariants:
// 1. Before the first record is changed the superblock says durably that the volume is not
//    clean, and has no allocator image: what a mount would believe is computed anew.
// 2. Records change in batches, each of whole fixes, each durable before the next: an
//    interrupted repair is a repair of some of the findings, and can be run again.
// 3. Data is only written to blocks that no record uses, and is durable before the record
//    that refers to it. Nothing that a repair frees is used before it has been committed
//    and the volume checked again.
// 4. A volume on which nothing is to be repaired is not written to at all.
// 5. When it has been repaired completely, the superblock says clean.
#pragma once

#include <optional>

#include "fsck/repair_plan.h"
#include "fsck/volume_check.h"

namespace cofs {

struct RepairOutcome {
  Report report;
  // What ended the repair before its end: kInterrupted, kIo, kNoSpace ... What had been
  // repaired before is in the report.
  std::optional<Error> error;
};

// Errors as CheckVolume(): the volume can't be judged and nothing was changed. `mode` is
// kPreen or kAll, the device is open for writing.
Result<RepairOutcome> RepairVolume(BlockDevice& device, RepairMode mode,
                                   const CheckOptions& options);

}  // namespace cofs
