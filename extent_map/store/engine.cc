#include "extent_map/store/engine.h"

#include <rocksdb/listener.h>
#include <rocksdb/system_clock.h>
#include <rocksdb/version.h>

#include <algorithm>

#include "base/log.h"
#include "extent_map/store/store_options.h"

namespace cofs::store {
namespace {

// RocksDB's background errors are ours.
class BackgroundErrors : public rocksdb::EventListener {
 public:
  explicit BackgroundErrors(Engine& engine) : engine_(engine) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason,
                         rocksdb::Status* status) override {
    engine_.latch.Fail(FromRocks(*status, "flush or compaction of the store"));
    engine_.table->WakeAll();
  }

 private:
  Engine& engine_;
};

// After a background error RocksDB waits for a second before it goes on, also when it is
// asked to end. There is nothing to wait for once the store has failed.
class StoreClock : public rocksdb::SystemClockWrapper {
 public:
  StoreClock(const std::shared_ptr<rocksdb::SystemClock>& clock,
             const FailureLatch& latch)
      : SystemClockWrapper(clock), latch_(latch) {}
  const char* Name() const override { return "cofs-store-clock"; }
  void SleepForMicroseconds(int micros) override {
    SystemClockWrapper::SleepForMicroseconds(latch_.failed() ? std::min(micros, 1000)
                                                             : micros);
  }

 private:
  const FailureLatch& latch_;
};

class StoreEnv : public rocksdb::EnvWrapper {
 public:
  StoreEnv(std::unique_ptr<rocksdb::Env> env, const FailureLatch& latch)
      : EnvWrapper(std::move(env)) {
    system_clock_ = std::make_shared<StoreClock>(system_clock_, latch);
  }
};

}  // namespace

Error FromRocks(const rocksdb::Status& status, std::string_view what) {
  ErrorCode code = ErrorCode::kIo;
  if (status.IsCorruption() || status.IsPathNotFound() || status.IsNotFound() ||
      status.IsInvalidArgument() || status.IsNotSupported())
    code = ErrorCode::kCorrupt;
  if (status.IsMemoryLimit()) code = ErrorCode::kNoMemory;
  return Error(code, StrCat(what, ": ", status.ToString()));
}

Engine::~Engine() {
  if (db != nullptr) latch.Abandon();
  if (table != nullptr) table->WakeAll();
  db.reset();
}

Result<std::string> Engine::ReadSmallFile(BlockDevice& device,
                                          const std::string& name) const {
  const FileRef file = table->Find(name);
  if (file == nullptr) return Error(ErrorCode::kCorrupt, name + " is missing");
  const FileLayout layout = table->LayoutOf(*file);
  constexpr uint64_t kBytesMax = 1024;
  if (layout.size_bytes == 0 || layout.size_bytes > kBytesMax)
    return Error(ErrorCode::kCorrupt, StrCat(name, " has ", layout.size_bytes, " bytes"));
  std::string text(layout.size_bytes, '\0');
  const auto read = ReadFile(device, file->id, layout, 0, text.size(), text.data());
  if (!read.ok()) return read.error().Within(name);
  return text;
}

Status Engine::CheckSmallFiles(BlockDevice& device) {
  TRY_ASSIGN(std::string manifest, ReadSmallFile(device, "CURRENT"));
  while (manifest.ends_with('\n')) manifest.pop_back();
  if (table->Find(manifest) == nullptr)
    return Error(ErrorCode::kCorrupt, Printable(manifest) + " is missing");
  // The MANIFEST has what it says, too: RocksDB makes it anew.
  const auto identity = ReadSmallFile(device, "IDENTITY");
  if (identity.Is(ErrorCode::kCorrupt)) {
    LogWarning("store: " + identity.error().ToString());
    file_system->Hide("IDENTITY");
  }
  return OkStatus();
}

Status Engine::OpenDatabase(BlockDevice& device, Mode mode, uint64_t cache_bytes) {
  wals = std::make_unique<WalChain>(device, latch);
  const WalLimits limits{sizing.wal_spare_bytes, sizing.staged_bytes_max};
  file_system = std::make_shared<VolumeFileSystem>(device, *table, *wals, latch, limits);
  if (mode != Mode::kCreate) TRY(CheckSmallFiles(device));
  env = std::make_unique<StoreEnv>(rocksdb::NewCompositeEnv(file_system), latch);
  rocksdb::Options options = MakeRocksOptions(sizing, cache_bytes, env.get());
  options.info_log = NewForwardingLogger(latch);
  options.create_if_missing = options.error_if_exists = mode == Mode::kCreate;
  options.listeners.push_back(std::make_shared<BackgroundErrors>(*this));
#if ROCKSDB_MAJOR >= 11
  std::unique_ptr<rocksdb::DB> opened;
#else
  rocksdb::DB* opened = nullptr;
#endif
  const rocksdb::Status status =
      mode == Mode::kReadOnly
          ? rocksdb::DB::OpenForReadOnly(options, kStoreDirectory, &opened)
          : rocksdb::DB::Open(options, kStoreDirectory, &opened);
#if ROCKSDB_MAJOR >= 11
  db = std::move(opened);
#else
  db.reset(opened);
#endif
  if (!status.ok()) return FromRocks(status, "opening the store");
  return OkStatus();
}

Status Engine::CloseDatabase() {
  if (table->read_only()) {
    const rocksdb::Status closed = db->Close();
    db.reset();
    return closed.ok() ? OkStatus() : Status(FromRocks(closed, "closing the store"));
  }
  TRY(wals->Sync());
  const rocksdb::Status flushed = db->Flush(rocksdb::FlushOptions());
  if (!flushed.ok()) return FromRocks(flushed, "flushing the store");
  const rocksdb::Status closed = db->Close();
  db.reset();
  if (!closed.ok()) return FromRocks(closed, "closing the store");
  TRY(table->Commit());
  return latch.Check();
}

}  // namespace cofs::store

#if defined(__SANITIZE_THREAD__)
// RocksDB's library is not instrumented: of its memory accesses ThreadSanitizer sees only
// those that go through libc, and nothing of the atomics that order them. Its mutexes and
// threads are seen, and so are all accesses of our own code that it calls.
extern "C" const char* __tsan_default_options() {
  return "ignore_noninstrumented_modules=1";
}
// Functions of std::string that the library calls may be resolved to instrumented ones of
// the program. These two work on the batch that the leader of a write group collects in;
// RocksDB orders the leaders by atomics. They call nothing of ours.
extern "C" const char* __tsan_default_suppressions() {
  return "race:rocksdb::WriteBatchInternal::Append\nrace:rocksdb::WriteBatch::Clear\n";
}
#endif
