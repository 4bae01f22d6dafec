// RocksStore: the Store.
//
// Threads: RocksDB's flush and compaction; one that grows and shrinks the pool; one that
// flushes the memtable when its WAL has become long; one that compacts when space is short.
// They are three, so that none of them waits for what another one has to do.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "extent_map/store/engine.h"
#include "extent_map/store/pool_grower.h"
#include "extent_map/store/store.h"
#include "extent_map/store/worker.h"

namespace cofs::store {

class RocksStore : public Store {
 public:
  // `engine` is open.
  RocksStore(std::unique_ptr<Engine> engine, StoreOptions options);
  ~RocksStore() override;

  void StartGrowing(PoolSpaceSource* source) override;
  std::vector<DeviceRange> PoolRanges() const override;
  Result<std::optional<std::string>> Get(std::string_view key) const override;
  std::unique_ptr<Cursor> NewCursor() const override;
  std::unique_ptr<Cursor> NewCursor(std::string_view lower,
                                    std::string_view upper) const override;
  Status AdmitGrowth(uint64_t batch_bytes) override;
  Status Write(Batch&& batch) override;
  Status Commit() override;
  void NoteVolumeFull() override;
  Status Close() override;
  StoreUsage usage() const override;
  Status VerifyAll(const std::function<void(const Error&)>& report,
                   const Pace& pace) const override;

  static rocksdb::WriteBatch& BatchOf(Batch& batch);
  static const rocksdb::WriteBatch& BatchOf(const Batch& batch);

 private:
  // What RocksDB checks of the tables that are in use.
  Status VerifyTables(const std::function<void(const Error&)>& report,
                      const Pace& pace) const;
  uint64_t reserve_bytes() const;
  // What the pool lacks to admit `batch_bytes`, and `ahead_bytes` that come later.
  uint64_t Shortage(uint64_t batch_bytes, uint64_t ahead_bytes) const;
  // What the pool has too much, if it is worth giving back.
  uint64_t Surplus() const;
  // Whether so much was deleted that a compaction of everything is worth it.
  bool HasDeleted() const;
  // Has what was deleted compacted, if it is worth it: now, or when it is fair to others.
  void CompactDeleted(bool now);
  void WaitForFairTime();
  uint64_t ahead_bytes() const { return 8 * engine_->sizing.memtable_bytes; }
  void Fail(const rocksdb::Status& status, std::string_view what);
  void StopThreads();

  const std::unique_ptr<Engine> engine_;
  const StoreOptions options_;
  std::atomic<uint64_t> commit_count_{0};
  // Of batches that wait for the pool to grow.
  std::atomic<uint64_t> waiting_bytes_{0};
  // Of batches that delete, since space was last won back by a compaction.
  std::atomic<uint64_t> deleting_bytes_{0};
  // Somebody was refused space: what is deleted from now on is compacted soon.
  std::atomic<bool> is_space_short_{false};
  // Before that none follows the last compaction of everything, in ticks of the steady
  // clock: while much is being deleted it takes a small part of the time only.
  std::atomic<int64_t> next_compaction_{0};
  std::atomic<bool> is_stopping_{false};
  PoolGrower grower_;
  std::optional<Worker> wal_trimmer_;
  std::optional<Worker> compactor_;
};

}  // namespace cofs::store
