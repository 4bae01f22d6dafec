// Rebuilding a damaged store from what is left of it.
//
// Every table and log of the old store is read as far as it can be (store_tables.h). Of
// each record the newest version wins, by RocksDB's sequence numbers, and a new store is
// filled with them. It lies in free space: where no record that was found, stale or not,
// has blocks, and nothing readable of the old store is. Then one update of the superblock
// makes it the volume's. Until that is durable the old one is as it was, and the salvage
// can be begun again; afterwards the volume is an ordinary one, with whatever is wrong
// with its records.
//
// What is told: each damaged file of the store, how many records it has lost, if that is
// known, and between which.
#pragma once

#include "base/result.h"
#include "extent_map/superblock.h"
#include "fsck/report.h"
#include "fsck/volume_check.h"

namespace cofs {

// kCorrupt: there is nothing to rebuild it from. kNoSpace: no room for a new store. kIo:
// the device fails so many reads that it is better repaired first, or it failed a write.
// kInterrupted. In all these cases the volume is as it was.
Status SalvageStore(BlockDevice& device, SuperblockSlots& slots,
                    const CheckOptions& options, Report& report);

}  // namespace cofs
