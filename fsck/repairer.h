// Repairer: what fixes work with, and the repairs that several findings share.
//
// The tables are those of the check that planned the fixes; the records are read anew.
// Blocks come from `free_space`: what no record of that check uses. What a fix frees goes
// nowhere until the next check has seen it.
// Belongs to one thread.
#pragma once

#include <string_view>

#include "extent_map/allocator.h"
#include "extent_map/superblock.h"
#include "fsck/record_editor.h"
#include "fsck/repair_plan.h"
#include "fsck/report.h"
#include "fsck/tables.h"

namespace cofs {

class Repairer {
 public:
  struct Parts {
    BlockDevice& device;
    const Superblock& superblock;
    Store& store;
    const Tables& tables;
    Allocator& free_space;
    Report& report;
  };
  explicit Repairer(const Parts& parts) : parts_(parts), records_(parts.store) {}

  RecordEditor& records() { return records_; }
  const Tables& tables() const { return parts_.tables; }
  Store& store() { return parts_.store; }
  const Superblock& superblock() const { return parts_.superblock; }
  // Tells that something of `inode` (0: of nobody) is gone for good.
  void Lost(InodeId inode, std::string text) {
    parts_.report.AddLoss(inode, std::move(text));
  }

  // ---- names (name_repair.cc) ----
  // Gives an inode without entries the name #NUMBER in lost+found.
  Status Reconnect(InodeId inode);
  // Moves an entry to the place that belongs to its name. `suffixed`: under a new name.
  Status MoveEntry(InodeId directory, uint64_t cookie, bool suffixed);
  // Keeps one entry of a directory: the one in the parent that it names, if there is one.
  Status KeepOneEntry(InodeId directory);
  // Takes a directory out of the one below itself that holds it, to lost+found.
  Status CutCycle(InodeId directory);
  Status RebuildRoot();

  // ---- inodes (inode_repair.cc) ----
  // What the other records of an inode say of it.
  struct InodeTraces {
    std::string value;  // of the inode record, damaged; empty: there is none
    uint64_t entry_count = 0;
    uint32_t subdirectory_count = 0;
    uint64_t xattr_count = 0;
    uint64_t extent_count = 0;
    uint64_t extent_bytes = 0;
    FileOffset written_end;
  };
  // Makes an inode record anew from what is left.
  Status RebuildInode(InodeId inode, const InodeTraces& traces);

  // ---- blocks (block_repair.cc) ----
  // [begin, begin + length) of a file has lost its data: inside of the file's size it
  // reads as an error from now on, not as zeros. Replaces the record at `key_offset`.
  Status PoisonRange(InodeId inode, FileOffset key_offset, uint64_t length_bytes);
  // Gives an extent blocks of its own, with the data of those that it has.
  Status CopyExtent(InodeId inode, FileOffset file_offset);
  // Computes checksums of blocks as they are.
  Status AdoptChecksums(DeviceRange blocks);
  // The records of shared ranges become `ranges`.
  Status RewriteShared(const std::vector<SharedRange>& ranges);

 private:
  Result<InodeId> LostAndFound();
  // A free cookie of `name` in a directory; 0 when the name is taken, or no index is left.
  Result<uint64_t> FreeCookie(InodeId directory, std::string_view name);
  // Adds an entry under `name`, or NAME~N when that is taken.
  Status AddEntry(InodeId directory, const std::string& name, InodeId inode, uint8_t type);
  Result<std::vector<Extent>> AllocateExtents(FileOffset begin, uint64_t length_bytes);
  Status CopyBlocks(const Extent& from, const std::vector<Extent>& to);

  const Parts parts_;
  RecordEditor records_;
  InodeId lost_and_found_;
};

// Deletes the record at `key`.
inline Fix DeletionOf(std::string_view key) {
  return [key = std::string(key)](Repairer& repairer) {
    repairer.records().Delete(key);
    return OkStatus();
  };
}

}  // namespace cofs
