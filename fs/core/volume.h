// Volume: a mounted cofs volume, without FUSE. What the kernel's VFS checks before it
// calls a file system (permissions, sticky directories, directory loops of rename for
// local names) is checked by the caller's kernel; Volume checks what only it can know
// and everything that could damage the volume.
//
// Thread-safety: all functions, from any thread, at once; none is called with a lock
// of cofs held.
// Durability: an operation that has returned is visible to all; it is durable after a
// later Sync() or SyncAll(), or within commit_interval_ms, or on return with
// options.sync. After a crash the volume is a prefix of the operations.
// Errors: as POSIX names them (base/error.h has the errno of each); kReadOnly for
// changes of a read-only or latched volume.
// References: every InodeStat handed out by Lookup, Create, MakeSymlink, Link and
// CreateTemporary counts one look-up that Forget() takes back. An inode without links
// lives until its look-ups are gone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/result.h"
#include "extent_map/records.h"
#include "fs/core/copy_range.h"
#include "fs/core/core.h"
#include "fs/core/file_data.h"
#include "fs/core/scrub_types.h"
#include "fs/core/volume_options.h"
#include "fs/core/volume_types.h"

namespace cofs {

class Volume {
 public:
  // Opens, recovers (rebuilds the allocator after a crash, reaps orphans in the
  // background) and starts the threads. Takes the device. Errors as Store::Open and
  // SuperblockSlots::Load; kUnsupportedFormat for a writable mount with unknown
  // ro-compat features.
  static Result<std::unique_ptr<Volume>> Mount(std::unique_ptr<BlockDevice> device,
                                               VolumeOptions options);
  // Without Unmount() the volume is dropped as by a crash.
  ~Volume();
  // Commits, writes the allocator image, sets the clean flag. No call may follow.
  Status Unmount();

  const Superblock& superblock() const { return superblock_; }
  const VolumeOptions& options() const { return core_.options; }
  // Takes over those that may change while mounted (Live<>), and no others.
  void SetLiveOptions(const VolumeOptions& options);
  VolumeUsage usage() const;
  const CoreCounters& counters() const { return core_.counters; }

  // ---- names ----
  Result<InodeStat> Lookup(InodeId directory, std::string_view name);
  // The parent of a directory ("..").
  Result<InodeStat> LookupParent(InodeId directory);
  // Takes a reference by number alone (NFS handles). kStale.
  Result<InodeStat> LookupById(InodeId id);
  Result<InodeStat> Create(InodeId directory, std::string_view name,
                           const NewInode& inode);
  Result<InodeStat> MakeSymlink(InodeId directory, std::string_view name,
                                std::string_view target, const NewInode& inode);
  // O_TMPFILE: an unlinked file.
  Result<InodeStat> CreateTemporary(const NewInode& inode);
  Result<InodeStat> Link(InodeId inode, InodeId directory, std::string_view name);
  Status Unlink(InodeId directory, std::string_view name);
  Status RemoveDirectory(InodeId directory, std::string_view name);
  Status Rename(InodeId from_directory, std::string_view from_name, InodeId to_directory,
                std::string_view to_name, const RenameOptions& options);
  Status Rename(InodeId from_directory, std::string_view from_name, InodeId to_directory,
                std::string_view to_name, RenameMode mode) {
    return Rename(from_directory, from_name, to_directory, to_name,
                  RenameOptions{.mode = mode});
  }
  Result<std::string> ReadLink(InodeId inode);
  // Entries after `cookie` (0: from the start; "." and ".." have cookies 1 and 2) in
  // the order of their cookies, until `visit` answers false. Entries that exist the
  // whole time are seen exactly once, whatever else changes.
  Status ReadDirectory(InodeId directory, uint64_t cookie,
                       const std::function<bool(const DirectoryEntry&)>& visit);
  void Forget(InodeId inode, uint64_t count);

  // ---- attributes ----
  Result<InodeStat> GetAttributes(InodeId inode);
  // One batch (a shrinking size: several, see FileData::Truncate). Sets ctime.
  Result<InodeStat> SetAttributes(InodeId inode, const AttributeChange& change);
  // The file is about to be read by somebody who has its blocks in a cache of his own, and
  // won't ask: moves the access time as a read does. Whether it moved.
  bool NoteAccess(InodeId inode);

  Result<std::string> GetXattr(InodeId inode, std::string_view name);
  Status SetXattr(InodeId inode, std::string_view name, std::string_view value,
                  XattrMode mode, bool kill_set_group_id = false);
  Status RemoveXattr(InodeId inode, std::string_view name);
  Result<std::vector<std::string>> ListXattrs(InodeId inode);

  // ---- data (see file_data.h, copy_range.h) ----
  Result<std::span<const char>> Read(InodeId inode, FileOffset offset,
                                     uint64_t length_bytes, AlignedBuffer& buffer);
  Status Write(InodeId inode, FileOffset offset, std::span<const char> data,
               WriteOptions options);
  Status Allocate(InodeId inode, int mode, FileOffset offset, uint64_t length_bytes);
  Status InsertIntoGrown(InodeId inode, FileOffset offset, uint64_t length_bytes);
  Result<FileOffset> Seek(InodeId inode, FileOffset offset, int whence);
  // Extents that overlap [begin, end), the first `count_max`: whole, but of those that are
  // shared the parts that are inside, with those apart that nobody shares.
  Result<std::vector<Extent>> Map(InodeId inode, FileOffset begin, FileOffset end,
                                  size_t count_max);
  struct CopyCall {
    InodeId source;
    FileOffset source_offset;
    InodeId destination;
    FileOffset destination_offset;
    uint64_t length_bytes = 0;
    std::function<bool()> interrupted = {};
    bool kill_privileges = true;
    std::optional<CopyRangePolicy> policy = {};
    CopyRangeReport* report = nullptr;
  };
  Result<uint64_t> Copy(const CopyCall& call);
  Status Clone(const CopyCall& call);
  Status CheckClone(const CopyCall& call);
  Result<DedupeResult> Dedupe(const CopyCall& call);
  Status Unshare(InodeId inode, FileOffset offset, uint64_t length_bytes,
                 const std::function<bool()>& interrupted);
  // A file without a name that shares [offset, offset + length_bytes) of `source`, at the
  // same place and to its end; rules and errors as Clone(). It has one look-up, whose
  // Forget() removes it, as a crash does.
  Result<InodeId> Snapshot(InodeId source, FileOffset offset, uint64_t length_bytes,
                           const std::function<bool()>& interrupted);

  // ---- durability ----
  // Everything that returned before the call is durable on return.
  Status Sync(InodeId inode);
  Status SyncAll();
  // As after a failed commit, but for what was done before, which is durable: no change
  // any more, and no clean unmount. For tests of recovery.
  Status ShutDown();
  // Discards free space; the number of bytes discarded.
  Result<uint64_t> Trim(DeviceOffset begin, DeviceOffset end, uint64_t minimum_bytes);
  // ---- scrub ----
  // Verifies all data and metadata in the background (scrubber.h). kBusy while one runs.
  Status StartScrub(const ScrubRequest& request);
  // Ends it where it is, and waits until it has ended. Nothing when none runs.
  void StopScrub();
  ScrubReport scrub() const;
  // Waits until removed files that nobody uses have been freed and their space can be
  // allocated again.
  Status DrainRemoved();

 private:
  Volume();
  struct Parts;  // owns what core_ points to

  // A regular file that is alive.
  Result<InodeRef> UseFile(InodeId id);
  // One whose contents may be changed otherwise than by appending.
  Result<InodeRef> UseFileToChange(InodeId id);
  Result<CopyRangeRequest> RequestOf(const CopyCall& call);

  Superblock superblock_;
  Core core_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace cofs
