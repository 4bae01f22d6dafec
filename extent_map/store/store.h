// Store: the records of a volume, in RocksDB inside the volume itself.
//
// Thread-safety: all of Store is thread-safe; a Batch and a Cursor belong to one
// thread at a time.
// Order: batches become visible and durable in the order of their Write() calls.
// Durability: Write() is not durable. Commit() makes durable every batch whose
// Write() had returned before the call, after flushing the device, so that all data
// writes that completed before those batches were written are durable first.
// After a crash the store holds a prefix of the batches written, at least up to the
// last completed Commit().
// Failure: after a failed Write() or Commit() the store refuses every later one
// (kIo); reads go on.
// No RocksDB type shows in this header.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "device/block_device.h"
#include "extent_map/superblock.h"

namespace cofs {

// Atomic set of changes. Move-only.
class Batch {
 public:
  Batch();
  ~Batch();
  Batch(Batch&&) noexcept;
  Batch& operator=(Batch&&) noexcept;
  void Put(std::string_view key, std::string_view value);
  void Delete(std::string_view key);
  // Adds checksums to a checksum record (records.h, MergeChecksums); any other
  // kind of key is refused by a CHECK.
  void Merge(std::string_view key, std::string_view operand);
  bool empty() const;
  size_t size_bytes() const;

 private:
  friend class Store;
  struct Rep;
  std::unique_ptr<Rep> rep_;
};

// An ordered walk over a consistent view of the store at the time it was made.
class Cursor {
 public:
  virtual ~Cursor() = default;
  // To the first key >= `key`; to the last key <= `key`.
  virtual void Seek(std::string_view key) = 0;
  virtual void SeekForPrev(std::string_view key) = 0;
  virtual void Next() = 0;
  virtual void Prev() = 0;
  // False at the end and on an error: see status().
  virtual bool valid() const = 0;
  virtual std::string_view key() const = 0;
  virtual std::string_view value() const = 0;
  // kCorrupt or kIo when the walk ended by damage; check it when valid() is false.
  virtual Status status() const = 0;
};

// Where the store's pool grows from, and what it gives back to: the volume's free space.
// Called from the store's growth thread only.
class PoolSpaceSource {
 public:
  virtual ~PoolSpaceSource() = default;
  // A contiguous run of [minimum_bytes, wanted_bytes], block-aligned; kNoSpace.
  virtual Result<DeviceRange> TakeForPool(uint64_t wanted_bytes, uint64_t minimum_bytes) = 0;
  // Before the pool gives back what it has owned: what else tells of free space on the
  // device must be void by then. An error: the pool keeps what it has.
  virtual Status PrepareReturn() = 0;
  // A range that is the store's no more, durably, or one whose taking could not be made
  // durable.
  virtual void ReturnFromPool(DeviceRange range) = 0;
};

struct StoreOptions {
  bool read_only = false;          // writes nothing to the device, ever
  uint64_t cache_bytes = 32 << 20;  // RocksDB's block cache
  // Called once, from any thread, when the store has failed for good.
  std::function<void(const Error&)> on_failure;
};

struct StoreUsage {
  uint64_t pool_bytes = 0;           // all that the pool owns, journal included
  uint64_t pool_free_bytes = 0;
  uint64_t pool_reserve_bytes = 0;   // kept free for flushes and compactions
  uint64_t commit_count = 0;
  uint64_t journal_bytes = 0;
  uint64_t table_file_count = 0;
};

class Store {
 public:
  // mkfs: makes an empty store in `pool` (block-aligned, at least
  // InitialPoolBytes(volume size)), holding the records of `initial`, durable
  // on return. Fills in superblock.journal and journal_generation; the caller
  // writes the superblock afterwards.
  static Status Format(BlockDevice& device, DeviceRange pool, const Batch& initial,
                       Superblock& superblock);
  static uint64_t InitialPoolBytes(uint64_t volume_bytes);

  // Recovers and opens. Does not need free space of the volume. `device` and
  // `slots` outlive the store. kCorrupt with the place for damage of any kind.
  static Result<std::unique_ptr<Store>> Open(BlockDevice& device, SuperblockSlots& slots,
                                             StoreOptions options);
  // Without Close() the store is dropped as by a crash (nothing is synced).
  virtual ~Store() = default;

  // From now on the pool grows from `source` and gives back to it; it outlives the store's Close().
  virtual void StartGrowing(PoolSpaceSource* source) = 0;
  // All that the pool owns: the allocator must not hand it out.
  virtual std::vector<DeviceRange> PoolRanges() const = 0;

  // nullopt: no such key. kCorrupt, kIo.
  virtual Result<std::optional<std::string>> Get(std::string_view key) const = 0;
  virtual std::unique_ptr<Cursor> NewCursor() const = 0;
  // `lower` and `upper` (exclusive) bound the walk, which makes it cheaper.
  virtual std::unique_ptr<Cursor> NewCursor(std::string_view lower,
                                            std::string_view upper) const = 0;

  // Operations that need more records ask first: kNoSpace when the pool could not
  // take `batch_bytes` more and still flush and compact. Operations that free space
  // (unlink, truncate) don't ask. Waits shortly while the pool is being grown.
  virtual Status AdmitGrowth(uint64_t batch_bytes) = 0;
  virtual Status Write(Batch&& batch) = 0;
  virtual Status Commit() = 0;
  // The volume has no room for data: what was deleted here is compacted away in the
  // background, so that the pool gives back what it does not need.
  virtual void NoteVolumeFull() = 0;
  // Commits, flushes, ends the threads. No call may follow.
  virtual Status Close() = 0;

  virtual StoreUsage usage() const = 0;
  // fsck, scrub: reads every block of the journal and of every file of the store, and
  // RocksDB's own checksums; calls `report` for each damage with the file's name and place.
  // `pace` is called for every piece that was read, with its size, and may block; false:
  // stop, kInterrupted. A file is held while it is read, and no longer: what is deleted
  // meanwhile is left out.
  using Pace = std::function<bool(uint64_t bytes)>;
  virtual Status VerifyAll(const std::function<void(const Error&)>& report,
                           const Pace& pace = {}) const = 0;

 protected:
  // For the implementation: what a Batch holds.
  static Batch::Rep& RepOf(Batch& batch) { return *batch.rep_; }
  static const Batch::Rep& RepOf(const Batch& batch) { return *batch.rep_; }
};

}  // namespace cofs
