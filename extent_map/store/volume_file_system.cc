#include "extent_map/store/volume_file_system.h"

#include <cstdio>

#include "base/log.h"
#include "extent_map/store/volume_io.h"

namespace cofs::store {
namespace {

// Taken in advance by a MANIFEST: its records are small and each takes a block.
constexpr uint64_t kManifestSpareBytes = 32 << 10;

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

// The name in the file table for a path: relative to the store's directory, with single
// slashes; empty for the directory itself, and for what is outside of it.
std::string NameOf(const std::string& path) {
  std::string clean;
  for (const char c : path)
    if (c != '/' || clean.empty() || clean.back() != '/') clean.push_back(c);
  if (clean.size() > 1 && clean.back() == '/') clean.pop_back();
  const std::string prefix = std::string(kStoreDirectory) + "/";
  return clean.starts_with(prefix) ? clean.substr(prefix.size()) : "";
}

bool IsStoreDirectory(const std::string& path) { return NameOf(path + "/x") == "x"; }

IOStatus NoSuchPath(const std::string& name) { return IOStatus::PathNotFound(name); }

class Directory : public rocksdb::FSDirectory {
 public:
  Directory(FileTable& table, FailureLatch& latch) : table_(table), latch_(latch) {}
  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    return ContainedWrite(latch_, [&] { return table_.Commit(); });
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  FileTable& table_;
  FailureLatch& latch_;
};

class Lock : public rocksdb::FileLock {
 public:
  explicit Lock(std::string name) : name_(std::move(name)) {}
  const std::string& name() const { return name_; }

 private:
  const std::string name_;
};

class ForwardingLogger : public rocksdb::Logger {
 public:
  explicit ForwardingLogger(const FailureLatch& latch)
      : Logger(rocksdb::InfoLogLevel::ERROR_LEVEL), latch_(latch) {}
  ~ForwardingLogger() override = default;
  using Logger::Logv;
  void Logv(const char*, va_list) override {}
  void Logv(const rocksdb::InfoLogLevel level, const char* format,
            va_list args) override {
    if (level < rocksdb::InfoLogLevel::ERROR_LEVEL ||
        level >= rocksdb::InfoLogLevel::HEADER_LEVEL || latch_.failed())
      return;
    char line[900];
    const int length = std::vsnprintf(line, sizeof(line), format, args);
    if (length <= 0) return;
    LogWarning("RocksDB: " + Printable(line));
  }

 private:
  const FailureLatch& latch_;
};

}  // namespace

IOStatus ToIOStatus(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kCorrupt:
      return IOStatus::Corruption(error.context());
    case ErrorCode::kNotFound:
      return IOStatus::PathNotFound(error.context());
    default:
      return IOStatus::IOError(error.ToString());
  }
}

IOStatus ToIOStatus(const Status& status) {
  return status.ok() ? IOStatus::OK() : ToIOStatus(status.error());
}

std::shared_ptr<rocksdb::Logger> NewForwardingLogger(const FailureLatch& latch) {
  return std::make_shared<ForwardingLogger>(latch);
}

IOStatus VolumeFileSystem::NewSequentialFile(
    const std::string& name, const FileOptions&,
    std::unique_ptr<rocksdb::FSSequentialFile>* result, IODebugContext*) {
  result->reset();
  return Contained([&] {
    FileRef file = table_.Find(NameOf(name));
    if (file == nullptr) return NoSuchPath(name);
    FileLayout layout = table_.LayoutOf(*file);
    *result = NewSequentialReader(device_, latch_, std::move(file), NameOf(name),
                                  std::move(layout));
    return IOStatus::OK();
  });
}

IOStatus VolumeFileSystem::NewRandomAccessFile(
    const std::string& name, const FileOptions&,
    std::unique_ptr<rocksdb::FSRandomAccessFile>* result, IODebugContext*) {
  result->reset();
  return Contained([&] {
    FileRef file = table_.Find(NameOf(name));
    if (file == nullptr) return NoSuchPath(name);
    FileLayout layout = table_.LayoutOf(*file);
    *result = NewRandomReader(device_, latch_, std::move(file), NameOf(name),
                              std::move(layout));
    return IOStatus::OK();
  });
}

IOStatus VolumeFileSystem::NewWritableFile(
    const std::string& path, const FileOptions&,
    std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext*) {
  result->reset();
  if (table_.read_only()) return IOStatus::IOError("the store is open read-only");
  return ContainedWrite(latch_, [&]() -> Status {
    const std::string name = NameOf(path);
    if (name.empty()) return Error(ErrorCode::kInvalidArgument, path);
    const bool is_wal = name.ends_with(".log");
    const bool is_manifest = name.starts_with("MANIFEST-");
    if (const FileRef old = table_.Find(name); old != nullptr) wals_.Remove(old->id);
    TRY_ASSIGN(FileRef file,
               table_.Create(
                   name, is_wal || is_manifest ? FileKind::kGroups : FileKind::kWhole));
    if (!is_wal && !is_manifest) {
      *result = NewWholeFile(
          std::make_unique<WholeWriter>(device_, table_, std::move(file)), latch_);
      return OkStatus();
    }
    auto writer = std::make_shared<GroupWriter>(device_, table_, std::move(file),
                                                is_wal ? limits_.spare_bytes : kManifestSpareBytes);
    if (is_wal) {
      wals_.Add(writer);
      *result = NewWalFile(std::move(writer), wals_, latch_, limits_.staged_bytes_max);
    } else {
      *result = NewManifestFile(std::move(writer), device_, table_, latch_);
    }
    return OkStatus();
  });
}

IOStatus VolumeFileSystem::ReuseWritableFile(
    const std::string& name, const std::string& old_name, const FileOptions& options,
    std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext* dbg) {
  // A new file id in any case: blocks of the old file can't be taken for new ones.
  IOStatus status = DeleteFile(old_name, options.io_options, dbg);
  if (!status.ok()) return status;
  return NewWritableFile(name, options, result, dbg);
}

IOStatus VolumeFileSystem::NewDirectory(const std::string& name, const IOOptions&,
                                        std::unique_ptr<rocksdb::FSDirectory>* result,
                                        IODebugContext*) {
  result->reset();
  return Contained([&] {
    if (!IsStoreDirectory(name)) return NoSuchPath(name);
    *result = std::make_unique<Directory>(table_, latch_);
    return IOStatus::OK();
  });
}

IOStatus VolumeFileSystem::FileExists(const std::string& name, const IOOptions&,
                                      IODebugContext*) {
  return Contained([&] {
    const bool exists = IsStoreDirectory(name) || table_.Find(NameOf(name)) != nullptr;
    return exists && !hidden_.contains(NameOf(name)) ? IOStatus::OK()
                                                     : IOStatus::NotFound(name);
  });
}

IOStatus VolumeFileSystem::GetChildren(const std::string& directory, const IOOptions&,
                                       std::vector<std::string>* result,
                                       IODebugContext*) {
  result->clear();
  return Contained([&] {
    if (!IsStoreDirectory(directory)) return IOStatus::NotFound(directory);
    *result = table_.Names();
    return IOStatus::OK();
  });
}

IOStatus VolumeFileSystem::DeleteFile(const std::string& path, const IOOptions&,
                                      IODebugContext*) {
  if (table_.read_only()) return IOStatus::IOError("the store is open read-only");
  return Contained([&] {
    const auto file = table_.Delete(NameOf(path));
    if (!file.ok()) return ToIOStatus(file.error());
    wals_.Remove(file.value()->id);
    return IOStatus::OK();
  });
}

IOStatus VolumeFileSystem::Truncate(const std::string& path, size_t size,
                                    const IOOptions& options, IODebugContext* dbg) {
  uint64_t now = 0;
  IOStatus status = GetFileSize(path, options, &now, dbg);
  if (!status.ok() || now == size) return status;
  return IOStatus::NotSupported("Truncate");
}

IOStatus VolumeFileSystem::CreateDir(const std::string& name, const IOOptions& options,
                                     IODebugContext* dbg) {
  return CreateDirIfMissing(name, options, dbg);
}

IOStatus VolumeFileSystem::CreateDirIfMissing(const std::string& name, const IOOptions&,
                                              IODebugContext*) {
  return Contained([&] {
    return IsStoreDirectory(name) ? IOStatus::OK()
                                  : IOStatus::NotSupported("directory " + name);
  });
}

IOStatus VolumeFileSystem::DeleteDir(const std::string&, const IOOptions&,
                                     IODebugContext*) {
  return IOStatus::NotSupported("DeleteDir");
}

IOStatus VolumeFileSystem::GetFileSize(const std::string& name, const IOOptions&,
                                       uint64_t* size, IODebugContext*) {
  *size = 0;
  return Contained([&] {
    const FileRef file = table_.Find(NameOf(name));
    if (file == nullptr) return NoSuchPath(name);
    *size = table_.LayoutOf(*file).size_bytes;
    return IOStatus::OK();
  });
}

IOStatus VolumeFileSystem::GetFileModificationTime(const std::string& name,
                                                   const IOOptions&, uint64_t* time,
                                                   IODebugContext*) {
  *time = 0;  // not kept; RocksDB only asks for it to report or to age archived logs
  return Contained([&] {
    return table_.Find(NameOf(name)) != nullptr ? IOStatus::OK() : NoSuchPath(name);
  });
}

IOStatus VolumeFileSystem::RenameFile(const std::string& from, const std::string& to,
                                      const IOOptions&, IODebugContext*) {
  if (table_.read_only()) return IOStatus::IOError("the store is open read-only");
  return Contained([&] { return ToIOStatus(table_.Rename(NameOf(from), NameOf(to))); });
}

IOStatus VolumeFileSystem::LockFile(const std::string& name, const IOOptions&,
                                    rocksdb::FileLock** lock, IODebugContext*) {
  *lock = nullptr;
  return Contained([&] {
    MutexLock guard(mutex_);
    if (!locked_.insert(name).second) return IOStatus::IOError("locked: " + name);
    *lock = new Lock(name);
    return IOStatus::OK();
  });
}

IOStatus VolumeFileSystem::UnlockFile(rocksdb::FileLock* lock, const IOOptions&,
                                      IODebugContext*) {
  return Contained([&] {
    const std::unique_ptr<Lock> owned(static_cast<Lock*>(lock));
    MutexLock guard(mutex_);
    locked_.erase(owned->name());
    return IOStatus::OK();
  });
}

IOStatus VolumeFileSystem::GetTestDirectory(const IOOptions&, std::string* path,
                                            IODebugContext*) {
  *path = kStoreDirectory;
  return IOStatus::OK();
}

IOStatus VolumeFileSystem::NewLogger(const std::string&, const IOOptions&,
                                     std::shared_ptr<rocksdb::Logger>* result,
                                     IODebugContext*) {
  return Contained([&] {
    *result = NewForwardingLogger(latch_);
    return IOStatus::OK();
  });
}

IOStatus VolumeFileSystem::GetAbsolutePath(const std::string& path, const IOOptions&,
                                           std::string* output, IODebugContext*) {
  *output = path;
  return IOStatus::OK();
}

IOStatus VolumeFileSystem::GetFreeSpace(const std::string&, const IOOptions&,
                                        uint64_t* free_bytes, IODebugContext*) {
  *free_bytes = table_.free_bytes();
  return IOStatus::OK();
}

IOStatus VolumeFileSystem::IsDirectory(const std::string& path, const IOOptions&,
                                       bool* is_directory, IODebugContext*) {
  return Contained([&] {
    *is_directory = IsStoreDirectory(path);
    return *is_directory || table_.Find(NameOf(path)) != nullptr ? IOStatus::OK()
                                                                 : NoSuchPath(path);
  });
}

}  // namespace cofs::store
