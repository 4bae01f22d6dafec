// Engine: RocksDB on the files of a volume; what mkfs and a mounted store have in common.
//
// Built from the bottom up, taken down from the top: nothing outlives what it stands on.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/status.h>

#include <memory>

#include "base/result.h"
#include "device/block_device.h"
#include "extent_map/store/failure_latch.h"
#include "extent_map/store/file_table.h"
#include "extent_map/store/sizing.h"
#include "extent_map/store/volume_file_system.h"
#include "extent_map/store/wal_chain.h"

namespace cofs::store {

// `what` was being done. Corruption and missing files are kCorrupt.
Error FromRocks(const rocksdb::Status& status, std::string_view what);

struct Engine {
  enum class Mode { kCreate, kOpen, kReadOnly };

  explicit Engine(const Sizing& store_sizing) : sizing(store_sizing) {}
  // Drops RocksDB as by a crash, unless it was closed before.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // `table` is there; makes the rest.
  Status OpenDatabase(BlockDevice& device, Mode mode, uint64_t cache_bytes);
  // Makes all that was written durable, as tables, and closes.
  Status CloseDatabase();

  // RocksDB ends the process on some files that it can't read while it opens; the ends of
  // WALs and MANIFESTs have been found before, and damaged tables it treats well.
  Status CheckSmallFiles(BlockDevice& device);
  Result<std::string> ReadSmallFile(BlockDevice& device, const std::string& name) const;

  Sizing sizing;  // of the volume's size, but the chunks that mkfs chose
  FailureLatch latch;
  std::unique_ptr<FileTable> table;
  std::unique_ptr<WalChain> wals;
  std::shared_ptr<VolumeFileSystem> file_system;
  std::unique_ptr<rocksdb::Env> env;
  std::unique_ptr<rocksdb::DB> db;
};

}  // namespace cofs::store
