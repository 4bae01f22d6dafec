// FileTable: the files of the store, their chunks, and the journal that says so.
//
// Thread-safe. Changes are staged in memory and seen at once; Commit() makes all that
// was staged before it durable. A VolumeFile stays usable, and its chunks its own, for as
// long as anyone holds it, deleted or not.
//
// Invariants:
// 1. A chunk is free again only when the change that freed it is durable and nobody holds
//    its file any more.
// 2. A new range of the pool is durable in the journal before a chunk of it is used.
// 3. File ids come from a lease that is durable before they are used: an id, and so the
//    label of a block, is never used for two files, whatever a crash forgets.
// 4. Every journal record carries how many blocks each WAL and MANIFEST is known to have
//    durable, if that has changed; damage among them is found for certain.
// 5. When the pool has run out, the store fails as a whole; there is no half.
//
// Lock order: journal_mutex_ (held over the journal's I/O), then mutex_ (a leaf: no I/O
// and no callback under it once the table is open).
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "device/block_device.h"
#include "extent_map/store/chunk_pool.h"
#include "extent_map/store/failure_latch.h"
#include "extent_map/store/journal.h"
#include "extent_map/store/journal_state.h"
#include "extent_map/store/shared_run.h"

namespace cofs::store {

class FileTable;

// One file. `id`, `kind` and what it is never change; the rest belongs to the table.
class VolumeFile {
 public:
  VolumeFile(FileTable& table, uint64_t id, FileKind kind, std::string name);
  ~VolumeFile();
  VolumeFile(const VolumeFile&) = delete;
  VolumeFile& operator=(const VolumeFile&) = delete;

  const uint64_t id;
  const FileKind kind;
  const bool is_wal;
  const bool is_table;

 private:
  friend class FileTable;
  FileTable& table_;
  // All guarded by the table's mutex.
  std::string name_;
  FileLayout layout_;              // what readers see
  size_t journaled_sections_ = 0;  // of the layout
  bool is_deleted_ = false;
  uint64_t delete_ticket_ = 0;
};
using FileRef = std::shared_ptr<VolumeFile>;

struct FileTableUsage {
  uint64_t pool_bytes = 0;
  uint64_t free_bytes = 0;
  uint64_t table_count = 0;
  uint64_t journal_bytes = 0;
};

class FileTable {
 public:
  struct Origin {
    DeviceRange segment;
    uint64_t generation = 0;
  };
  // Replays the journal and finds the ends of WALs and MANIFESTs. `read_only`: nothing
  // is written, and everything that changes is refused.
  static Result<std::unique_ptr<FileTable>> Load(BlockDevice& device, Origin origin,
                                                 bool read_only, FailureLatch& latch,
                                                 Journal::Publish publish);
  // A new table in `pool`; durable and published on return.
  static Result<std::unique_ptr<FileTable>> Format(BlockDevice& device, DeviceRange pool,
                                                   uint64_t chunk_bytes,
                                                   FailureLatch& latch,
                                                   Journal::Publish publish);
  ~FileTable();

  // A new empty file; an older one of that name is deleted.
  Result<FileRef> Create(const std::string& name, FileKind kind) EXCLUDES(mutex_);
  // nullptr: there is none.
  FileRef Find(const std::string& name) const EXCLUDES(mutex_);
  Status Rename(const std::string& from, const std::string& to) EXCLUDES(mutex_);
  // What it was, so that its last holder lets go of it outside of the lock.
  Result<FileRef> Delete(const std::string& name) EXCLUDES(mutex_);
  std::vector<std::string> Names() const EXCLUDES(mutex_);

  FileLayout LayoutOf(const VolumeFile& file) const EXCLUDES(mutex_);
  bool IsDeleted(const VolumeFile& file) const EXCLUDES(mutex_);

  // Makes room for `block_count` blocks, and `spare_bytes` more when it must take chunks
  // and there is plenty. The file's extents, and whether they have grown: then blocks in
  // them may be acknowledged only after a Commit().
  struct Capacity {
    std::vector<DeviceRange> extents;
    bool has_grown = false;
  };
  Result<Capacity> EnsureCapacity(VolumeFile& file, uint64_t block_count,
                                  uint64_t spare_bytes) EXCLUDES(mutex_);
  // A group of so many bytes is durable behind what a WAL or MANIFEST held.
  void AppendGroup(VolumeFile& file, uint64_t bytes) EXCLUDES(mutex_);
  // What readers of a whole file see from now on; its blocks are written. `is_durable`:
  // and flushed.
  void SetLength(VolumeFile& file, const FileLayout& layout, bool is_durable)
      EXCLUDES(mutex_);
  // Gives back the chunks behind the last block.
  void TrimSpare(VolumeFile& file) EXCLUDES(mutex_);

  // Everything staged before the call is durable on return.
  Status Commit() EXCLUDES(mutex_);
  bool HasStagedChanges() const EXCLUDES(mutex_);

  // Takes `range` into the pool; durable on return.
  Status AddPoolRange(DeviceRange range) EXCLUDES(mutex_);
  // Takes up to `bytes_max` of free chunks out of the pool; durable on return. Which ones;
  // none where only short runs are free.
  Result<std::vector<DeviceRange>> GiveBack(uint64_t bytes_max) EXCLUDES(mutex_);
  std::vector<DeviceRange> PoolRanges() const EXCLUDES(mutex_);

  FileTableUsage usage() const EXCLUDES(mutex_);
  // Free now; without the lock.
  uint64_t free_bytes() const { return free_bytes_.load(std::memory_order_relaxed); }
  uint64_t pool_bytes() const { return pool_bytes_.load(std::memory_order_relaxed); }
  // Chunks of WALs, and of tables, that are not deleted; without the lock.
  uint64_t wal_bytes() const { return wal_bytes_.load(std::memory_order_relaxed); }
  uint64_t table_bytes() const { return table_bytes_.load(std::memory_order_relaxed); }
  // Whether the next Commit() may make chunks free.
  bool HasFreedChunks() const EXCLUDES(mutex_);
  // Waits until WALs hold at most `bytes`, or the store has failed.
  Status WaitForWalBytes(uint64_t bytes) EXCLUDES(mutex_);
  // Wakes those who wait, after the store has failed.
  void WakeAll() EXCLUDES(mutex_);

  bool read_only() const { return read_only_; }
  uint64_t chunk_bytes() const EXCLUDES(mutex_);
  // Reads every block of the journal and of every file; as Store::VerifyAll().
  Status VerifyAll(const std::function<void(const Error&)>& report,
                   const std::function<bool(uint64_t)>& pace) const EXCLUDES(mutex_);

 private:
  friend class VolumeFile;
  struct Freed {
    uint64_t ticket;
    std::vector<DeviceRange> extents;
  };

  FileTable(BlockDevice& device, bool read_only, FailureLatch& latch,
            Journal::Publish publish);
  Status Adopt(Origin origin) EXCLUDES(journal_mutex_, mutex_);
  Status FindEnds() EXCLUDES(mutex_);
  Status LeaseIds() EXCLUDES(mutex_);

  Status VerifyFile(const std::string& name, const VolumeFile& file,
                    const std::function<void(const Error&)>& report,
                    const std::function<bool(uint64_t)>& pace) const EXCLUDES(mutex_);
  Status CheckWritable() const;
  // Applies the bytes of one change to the state and queues them for the journal.
  void Stage(const std::string& change) REQUIRES(mutex_);
  FileRef EraseName(const std::string& name) REQUIRES(mutex_);
  void Extend(VolumeFile& file, const std::vector<DeviceRange>& ranges) REQUIRES(mutex_);
  Status CommitOnce() EXCLUDES(journal_mutex_, mutex_);
  // Adds the lengths of WALs and MANIFESTs that have grown.
  void StageLengths() REQUIRES(mutex_);
  Result<DeviceRange> NewSegment(size_t snapshot_bytes) REQUIRES(mutex_);
  void KeepSpareSegment(size_t snapshot_bytes) REQUIRES(mutex_);
  // Of the pool, the spare segment included: the reserve counts it.
  uint64_t FreeBytes() const REQUIRES(mutex_);
  void Reclaim() REQUIRES(mutex_);
  void Retire(VolumeFile& file) EXCLUDES(mutex_);
  void PublishPool() REQUIRES(mutex_);
  // Counts chunks that `file` has got or given up.
  void Account(const VolumeFile& file, uint64_t more_bytes, uint64_t less_bytes)
      REQUIRES(mutex_);

  BlockDevice& device_;
  const bool read_only_;
  FailureLatch& latch_;
  const Journal::Publish publish_;
  SharedRun commit_;
  mutable Mutex journal_mutex_;
  Journal journal_ GUARDED_BY(journal_mutex_);

  mutable Mutex mutex_;
  CondVar wal_shrunk_;
  JournalState state_ GUARDED_BY(mutex_);  // with all that is staged
  std::string staged_ GUARDED_BY(mutex_);  // encoded, not yet in the journal
  uint64_t staged_ticket_ GUARDED_BY(mutex_) = 0;
  uint64_t durable_ticket_ GUARDED_BY(mutex_) = 0;
  bool wants_new_segment_ GUARDED_BY(mutex_) = false;
  std::map<std::string, FileRef> files_ GUARDED_BY(mutex_);
  std::set<uint64_t> grown_groups_ GUARDED_BY(mutex_);  // ids, see invariant 4
  std::vector<Freed> freed_ GUARDED_BY(mutex_);
  ChunkPool pool_ GUARDED_BY(mutex_);
  uint64_t next_id_ GUARDED_BY(mutex_) = 0;
  uint64_t durable_id_limit_ GUARDED_BY(mutex_) = 0;
  DeviceRange segment_ GUARDED_BY(mutex_);
  // For the next one; free as far as the journal tells.
  std::optional<DeviceRange> spare_segment_ GUARDED_BY(mutex_);

  std::atomic<uint64_t> free_bytes_{0};
  std::atomic<uint64_t> pool_bytes_{0};
  std::atomic<uint64_t> wal_bytes_{0};
  std::atomic<uint64_t> table_bytes_{0};
};

}  // namespace cofs::store
