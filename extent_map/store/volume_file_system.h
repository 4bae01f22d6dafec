// VolumeFileSystem: the files of the store as RocksDB sees them.
//
// All of them are in one directory, kStoreDirectory. Thread-safe as RocksDB asks for: the
// file system from any thread, an open file from one thread at a time, except that Sync()
// of a WAL may run beside Append().
// No exception leaves a function. An error of anything that writes fails the store.
#pragma once

#include <rocksdb/file_system.h>
#include <rocksdb/version.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "device/block_device.h"
#include "extent_map/store/failure_latch.h"
#include "extent_map/store/file_table.h"
#include "extent_map/store/wal_chain.h"

namespace cofs::store {

inline constexpr char kStoreDirectory[] = "/store";

struct WalLimits {
  uint64_t spare_bytes = 1 << 20;       // taken in advance
  uint64_t staged_bytes_max = 4 << 20;  // then a group is written without a commit
};

// kCorrupt becomes Corruption, kNotFound PathNotFound, anything else IOError.
rocksdb::IOStatus ToIOStatus(const Error& error);
rocksdb::IOStatus ToIOStatus(const Status& status);

class VolumeFileSystem : public rocksdb::FileSystem {
 public:
  // All outlive the file system and every file of it.
  VolumeFileSystem(BlockDevice& device, FileTable& table, WalChain& wals,
                   FailureLatch& latch, WalLimits limits)
      : device_(device), table_(table), wals_(wals), latch_(latch), limits_(limits) {}

  const char* Name() const override { return "cofs-volume"; }
  // RocksDB is told that there is no such file. Before it opens.
  void Hide(std::string name) { hidden_.insert(std::move(name)); }

  rocksdb::IOStatus NewSequentialFile(const std::string& name,
                                      const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* result,
                                      rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus NewRandomAccessFile(
      const std::string& name, const rocksdb::FileOptions& options,
      std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
      rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus NewWritableFile(const std::string& name,
                                    const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus ReuseWritableFile(const std::string& name,
                                      const std::string& old_name,
                                      const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* result,
                                      rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus NewDirectory(const std::string& name,
                                 const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* result,
                                 rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus FileExists(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus GetChildren(const std::string& directory,
                                const rocksdb::IOOptions& options,
                                std::vector<std::string>* result,
                                rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Truncate(const std::string& name, size_t size,
                             const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus CreateDir(const std::string& name, const rocksdb::IOOptions& options,
                              rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus CreateDirIfMissing(const std::string& name,
                                       const rocksdb::IOOptions& options,
                                       rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus DeleteDir(const std::string& name, const rocksdb::IOOptions& options,
                              rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus GetFileSize(const std::string& name,
                                const rocksdb::IOOptions& options, uint64_t* size,
                                rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus GetFileModificationTime(const std::string& name,
                                            const rocksdb::IOOptions& options,
                                            uint64_t* time,
                                            rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus LockFile(const std::string& name, const rocksdb::IOOptions& options,
                             rocksdb::FileLock** lock,
                             rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus UnlockFile(rocksdb::FileLock* lock, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus GetTestDirectory(const rocksdb::IOOptions& options, std::string* path,
                                     rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus NewLogger(const std::string& name, const rocksdb::IOOptions& options,
                              std::shared_ptr<rocksdb::Logger>* result,
                              rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus GetAbsolutePath(const std::string& path,
                                    const rocksdb::IOOptions& options,
                                    std::string* output,
                                    rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus GetFreeSpace(const std::string& path,
                                 const rocksdb::IOOptions& options, uint64_t* free_bytes,
                                 rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus IsDirectory(const std::string& path,
                                const rocksdb::IOOptions& options, bool* is_directory,
                                rocksdb::IODebugContext* dbg) override;
#if ROCKSDB_MAJOR >= 9
  // None of the optional operations: no asynchronous reads.
  void SupportedOps(int64_t& supported_ops) override { supported_ops = 0; }
#endif

 private:
  BlockDevice& device_;
  FileTable& table_;
  WalChain& wals_;
  FailureLatch& latch_;
  const WalLimits limits_;
  std::set<std::string> hidden_;
  Mutex mutex_;
  std::set<std::string> locked_ GUARDED_BY(mutex_);
};

// RocksDB's own log: errors become warnings of ours, the rest is dropped, and so is all
// that follows when the store has failed: that has been said.
std::shared_ptr<rocksdb::Logger> NewForwardingLogger(const FailureLatch& latch);

}  // namespace cofs::store
