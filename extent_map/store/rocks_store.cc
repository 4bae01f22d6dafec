#include "extent_map/store/rocks_store.h"

#include <rocksdb/convenience.h>

#include <chrono>
#include <thread>

#include "base/log.h"
#include "extent_map/store/batch.h"
#include "extent_map/store/range_compaction.h"
#include "extent_map/store/read_errors.h"
#include "extent_map/store/read_pace.h"

namespace cofs::store {
namespace {

rocksdb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
// After a compaction of everything that took so long, none for so many times as long.
constexpr int64_t kCompactionPause = 4;
int64_t Now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

// The store has no range deletions: nobody need look for them.
rocksdb::ReadOptions MakeReadOptions() {
  rocksdb::ReadOptions options;
  options.ignore_range_deletions = true;
  return options;
}

class RocksCursor : public Cursor {
 public:
  RocksCursor(rocksdb::DB& db, std::optional<std::string> lower,
              std::optional<std::string> upper)
      : lower_(std::move(lower)), upper_(std::move(upper)) {
    rocksdb::ReadOptions options = MakeReadOptions();
    if (lower_) options.iterate_lower_bound = &(lower_slice_ = ToSlice(*lower_));
    if (upper_) options.iterate_upper_bound = &(upper_slice_ = ToSlice(*upper_));
    // A walk over everything must not drive out what others need.
    options.fill_cache = lower_.has_value();
    iterator_.reset(db.NewIterator(options));
  }

  void Seek(std::string_view key) override {
    error_.reset();
    Move([&] { iterator_->Seek(ToSlice(key)); });
  }
  void SeekForPrev(std::string_view key) override {
    error_.reset();
    Move([&] { iterator_->SeekForPrev(ToSlice(key)); });
  }
  void Next() override {
    Move([&] { iterator_->Next(); });
  }
  void Prev() override {
    Move([&] { iterator_->Prev(); });
  }
  bool valid() const override { return !error_ && iterator_->Valid(); }
  std::string_view key() const override { return iterator_->key().ToStringView(); }
  std::string_view value() const override { return iterator_->value().ToStringView(); }
  Status status() const override {
    if (error_) return *error_;
    const rocksdb::Status status = iterator_->status();
    return status.ok() ? OkStatus() : Status(FromRocks(status, "walking the store"));
  }

 private:
  template <typename Step>
  void Move(Step step) {
    const ReadErrorScope scope;
    step();
    if (scope.error()) error_ = scope.error();
  }

  const std::optional<std::string> lower_, upper_;
  rocksdb::Slice lower_slice_, upper_slice_;
  std::unique_ptr<rocksdb::Iterator> iterator_;
  std::optional<Error> error_;  // of a read, since the last seek
};

}  // namespace

RocksStore::RocksStore(std::unique_ptr<Engine> engine, StoreOptions options)
    : engine_(std::move(engine)),
      options_(std::move(options)),
      grower_(*engine_->table, 8 * engine_->sizing.memtable_bytes,
              {.shortage = [this] { return Shortage(waiting_bytes_.load(), ahead_bytes()); },
               .surplus = [this] { return Surplus(); }}) {
  if (options_.read_only) return;
  engine_->latch.Arm([this](const Error& error) {
    engine_->table->WakeAll();
    if (options_.on_failure) options_.on_failure(error);
  });
  wal_trimmer_.emplace([this] {
    rocksdb::FlushOptions flush;
    flush.wait = false;
    flush.allow_write_stall = true;
    const rocksdb::Status status = engine_->db->Flush(flush);
    // Try again: writes are stopped until flushes that are under way have ended. They
    // trim the log as well.
    if (!status.ok() && !status.IsTryAgain()) Fail(status, "flushing the memtable");
  });
  compactor_.emplace([this] {
    WaitForFairTime();
    // A kick during the last run may be for what that run has compacted.
    if (!HasDeleted()) return;
    const int64_t begin = Now();
    deleting_bytes_.store(0);
    const rocksdb::Status status =
        CompactByRanges(*engine_->db, kCompactionTablesMax / 2 *
                                          engine_->sizing.memtable_bytes);
    if (!status.ok()) return Fail(status, "compacting the store");
    if (!engine_->table->Commit().ok()) return;
    next_compaction_.store(Now() + kCompactionPause * (Now() - begin));
    if (Shortage(0, ahead_bytes()) == 0) is_space_short_.store(false);
    if (Surplus() > 0) grower_.Kick();
  });
}

RocksStore::~RocksStore() {
  if (engine_->db == nullptr) return;
  engine_->latch.Abandon();
  engine_->table->WakeAll();
  StopThreads();
}

void RocksStore::StopThreads() {
  is_stopping_.store(true);
  grower_.Stop();
  if (engine_->db != nullptr) engine_->db->DisableManualCompaction();
  wal_trimmer_.reset();
  compactor_.reset();
}

void RocksStore::Fail(const rocksdb::Status& status, std::string_view what) {
  // A compaction that is stopped because the store closes is no failure.
  if (status.IsIncomplete() || status.IsManualCompactionPaused()) return;
  engine_->latch.Fail(FromRocks(status, what));
  engine_->table->WakeAll();
}

void RocksStore::StartGrowing(PoolSpaceSource* source) {
  CHECK(!options_.read_only, "a read-only store does not grow");
  grower_.Start(source);
}

std::vector<DeviceRange> RocksStore::PoolRanges() const {
  return engine_->table->PoolRanges();
}

Result<std::optional<std::string>> RocksStore::Get(std::string_view key) const {
  const ReadErrorScope scope;
  rocksdb::PinnableSlice value;
  const rocksdb::Status status = engine_->db->Get(
      rocksdb::ReadOptions(), engine_->db->DefaultColumnFamily(), ToSlice(key), &value);
  if (scope.error()) return scope.error()->Within("reading the store");
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return FromRocks(status, "reading the store");
  return std::optional<std::string>(value.ToString());
}

std::unique_ptr<Cursor> RocksStore::NewCursor() const {
  return std::make_unique<RocksCursor>(*engine_->db, std::nullopt, std::nullopt);
}

std::unique_ptr<Cursor> RocksStore::NewCursor(std::string_view lower,
                                              std::string_view upper) const {
  return std::make_unique<RocksCursor>(*engine_->db, std::string(lower),
                                       std::string(upper));
}

uint64_t RocksStore::reserve_bytes() const {
  return engine_->sizing.ReserveBytes(engine_->table->table_bytes());
}

uint64_t RocksStore::Shortage(uint64_t batch_bytes, uint64_t ahead_bytes) const {
  // WALs are part of the reserve, whether their chunks are taken or not.
  const uint64_t free = engine_->table->free_bytes() + engine_->table->wal_bytes();
  // Records are in a table at one level and on their way to the next.
  const uint64_t needed = reserve_bytes() + 2 * batch_bytes + ahead_bytes;
  return needed > free ? needed - free : 0;
}

Status RocksStore::AdmitGrowth(uint64_t batch_bytes) {
  if (options_.read_only) return Error(ErrorCode::kReadOnly, "store");
  TRY(engine_->latch.Check());
  if (Shortage(batch_bytes, ahead_bytes()) > 0) grower_.Kick();
  if (Shortage(batch_bytes, 0) == 0) return OkStatus();
  if (engine_->table->HasFreedChunks()) TRY(engine_->table->Commit());
  waiting_bytes_ += batch_bytes;
  while (Shortage(batch_bytes, 0) > 0 && grower_.GrowAndWait()) {
  }
  waiting_bytes_ -= batch_bytes;
  TRY(engine_->latch.Check());
  if (Shortage(batch_bytes, 0) == 0) return OkStatus();
  // What was deleted takes space until it is compacted away: later calls find it.
  NoteVolumeFull();
  return Error(ErrorCode::kNoSpace, "room for records");
}

uint64_t RocksStore::Surplus() const {
  const uint64_t pool = engine_->table->pool_bytes();
  const uint64_t free = engine_->table->free_bytes();
  // Some room to grow into, so that the pool does not come and go.
  const uint64_t kept = reserve_bytes() + ahead_bytes() + (pool - std::min(pool, free)) / 4;
  const uint64_t surplus = free > kept ? free - kept : 0;
  return surplus > std::max(pool / 4, 2 * ahead_bytes()) ? surplus : 0;
}

void RocksStore::NoteVolumeFull() {
  is_space_short_.store(true);
  CompactDeleted(/*now=*/true);
}

bool RocksStore::HasDeleted() const {
  return deleting_bytes_.load() > engine_->sizing.memtable_bytes / 4;
}

void RocksStore::CompactDeleted(bool now) {
  if (!HasDeleted()) return;
  if (now) next_compaction_.store(0);
  compactor_->Kick();
}

void RocksStore::WaitForFairTime() {
  while (Now() < next_compaction_.load() && !is_stopping_.load() && !engine_->latch.failed())
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

Status RocksStore::Write(Batch&& batch) {
  if (options_.read_only) return Error(ErrorCode::kReadOnly, "store");
  TRY(engine_->latch.Check());
  rocksdb::WriteBatch& records = RepOf(batch).batch;
  if (records.Count() == 0) return OkStatus();
  if (records.HasDelete())
    deleting_bytes_.fetch_add(records.GetDataSize(), std::memory_order_relaxed);
  const rocksdb::Status status = engine_->db->Write(rocksdb::WriteOptions(), &records);
  if (status.ok()) return OkStatus();
  Fail(status, "writing records");
  return FromRocks(status, "writing records");
}

Status RocksStore::Commit() {
  if (options_.read_only) return Error(ErrorCode::kReadOnly, "store");
  TRY(engine_->latch.Check());
  const Sizing& sizing = engine_->sizing;
  if (engine_->table->wal_bytes() > sizing.wal_bytes_hard) {
    wal_trimmer_->Kick();
    TRY(engine_->table->WaitForWalBytes(sizing.wal_bytes_hard));
  }
  TRY(engine_->wals->Sync());
  commit_count_.fetch_add(1, std::memory_order_relaxed);
  if (engine_->wals->newest_bytes() > sizing.wal_bytes_soft) wal_trimmer_->Kick();
  if (is_space_short_.load(std::memory_order_relaxed)) CompactDeleted(/*now=*/false);
  if (Surplus() > 0) grower_.Kick();
  return OkStatus();
}

Status RocksStore::Close() {
  StopThreads();
  return engine_->CloseDatabase();
}

StoreUsage RocksStore::usage() const {
  const FileTableUsage table = engine_->table->usage();
  StoreUsage usage;
  usage.pool_bytes = table.pool_bytes;
  usage.pool_free_bytes = table.free_bytes;
  usage.pool_reserve_bytes = reserve_bytes();
  usage.commit_count = commit_count_.load(std::memory_order_relaxed);
  usage.journal_bytes = table.journal_bytes;
  usage.table_file_count = table.table_count;
  return usage;
}

Status RocksStore::VerifyAll(const std::function<void(const Error&)>& report,
                             const Pace& pace) const {
  TRY(engine_->table->VerifyAll(report, pace));
  return VerifyTables(report, pace);
}

// One table at a time, as DB::VerifyChecksum() does, which would hold all of them for as
// long as it takes and can't be stopped.
Status RocksStore::VerifyTables(const std::function<void(const Error&)>& report,
                                const Pace& pace) const {
  std::vector<rocksdb::LiveFileMetaData> tables;
  engine_->db->GetLiveFilesMetaData(&tables);
  const rocksdb::Options options = engine_->db->GetOptions();
  for (const rocksdb::LiveFileMetaData& table : tables) {
    // Held: it can't go away while it is read.
    const FileRef file = engine_->table->Find(table.relative_filename);
    if (file == nullptr) continue;
    const ReadErrorScope scope;
    const ReadPaceScope pacing(pace);
    const rocksdb::Status status =
        rocksdb::VerifySstFileChecksum(options, rocksdb::EnvOptions(),
                                       table.directory + "/" + table.relative_filename);
    if (pacing.is_stopped()) return Error(ErrorCode::kInterrupted, "verifying tables");
    if (!status.ok() && !engine_->table->IsDeleted(*file))
      report(FromRocks(status, "checksums of " + table.relative_filename));
  }
  return OkStatus();
}

rocksdb::WriteBatch& RocksStore::BatchOf(Batch& batch) { return RepOf(batch).batch; }
const rocksdb::WriteBatch& RocksStore::BatchOf(const Batch& batch) {
  return RepOf(batch).batch;
}

}  // namespace cofs::store

namespace cofs {

using store::Engine;
using store::FileTable;
using store::RocksStore;
using store::Sizing;

uint64_t Store::InitialPoolBytes(uint64_t volume_bytes) {
  return Sizing::ForVolume(volume_bytes).InitialPoolBytes();
}

Status Store::Format(BlockDevice& device, DeviceRange pool, const Batch& initial,
                     Superblock& superblock) {
  const Sizing sizing = Sizing::ForVolume(superblock.volume_bytes);
  TRY(CheckRange(device.geometry(), pool.offset, pool.length_bytes));
  if (pool.length_bytes < sizing.InitialPoolBytes())
    return Error(ErrorCode::kInvalidArgument, "the pool is too small");
  Engine engine(sizing);
  TRY_ASSIGN(engine.table,
             FileTable::Format(device, pool, sizing.chunk_bytes, engine.latch,
                               [&](DeviceRange segment, uint64_t generation) {
                                 superblock.journal = segment;
                                 superblock.journal_generation = generation;
                                 return OkStatus();
                               }));
  constexpr uint64_t kCacheBytes = 1 << 20;
  TRY(engine.OpenDatabase(device, Engine::Mode::kCreate, kCacheBytes));
  rocksdb::WriteBatch records = RocksStore::BatchOf(initial);
  const rocksdb::Status written = engine.db->Write(rocksdb::WriteOptions(), &records);
  if (!written.ok()) return store::FromRocks(written, "writing the first records");
  return engine.CloseDatabase();
}

Result<std::unique_ptr<Store>> Store::Open(BlockDevice& device, SuperblockSlots& slots,
                                           StoreOptions options) {
  const Superblock superblock = slots.current();
  auto engine = std::make_unique<Engine>(Sizing::ForVolume(superblock.volume_bytes));
  TRY_ASSIGN(engine->table,
             FileTable::Load(device, {superblock.journal, superblock.journal_generation},
                             options.read_only, engine->latch,
                             [&slots](DeviceRange segment, uint64_t generation) {
                               return slots.Update([&](Superblock& next) {
                                 next.journal = segment;
                                 next.journal_generation = generation;
                               });
                             }));
  engine->sizing.chunk_bytes = engine->table->chunk_bytes();
  const auto mode = options.read_only ? Engine::Mode::kReadOnly : Engine::Mode::kOpen;
  TRY(engine->OpenDatabase(device, mode, options.cache_bytes));
  if (const auto failure = engine->latch.error()) return *failure;
  return std::unique_ptr<Store>(
      std::make_unique<RocksStore>(std::move(engine), std::move(options)));
}

}  // namespace cofs
