#include "extent_map/store/volume_io.h"

#include <utility>

#include "extent_map/store/read_errors.h"
#include "extent_map/store/read_pace.h"

namespace cofs::store {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

// What the two kinds of readers share. Holds the file, and so its chunks.
class Reader {
 public:
  Reader(BlockDevice& device, FailureLatch& latch, FileRef file, std::string name,
         FileLayout layout)
      : device_(device),
        latch_(latch),
        file_(std::move(file)),
        name_(std::move(name)),
        layout_(std::move(layout)) {}

  IOStatus Read(uint64_t offset, size_t length, Slice* result, char* scratch) const {
    *result = Slice(scratch, 0);
    return Contained([&] {
      const auto done = ReadFile(device_, file_->id, layout_, offset, length, scratch);
      if (!done.ok()) {
        const Error error = done.error().Within(name_);
        if (!ReadErrorScope::Note(error)) latch_.Fail(error);
        return ToIOStatus(error);
      }
      if (!ReadPaceScope::Note(done.value())) return IOStatus::Aborted("stopped");
      *result = Slice(scratch, done.value());
      return IOStatus::OK();
    });
  }
  uint64_t size_bytes() const { return layout_.size_bytes; }

 private:
  BlockDevice& device_;
  FailureLatch& latch_;
  const FileRef file_;
  const std::string name_;
  const FileLayout layout_;
};

class SequentialReader : public rocksdb::FSSequentialFile {
 public:
  explicit SequentialReader(Reader reader) : reader_(std::move(reader)) {}
  IOStatus Read(size_t length, const IOOptions&, Slice* result, char* scratch,
                IODebugContext*) override {
    IOStatus status = reader_.Read(position_, length, result, scratch);
    if (status.ok()) position_ += result->size();
    return status;
  }
  IOStatus Skip(uint64_t length) override {
    position_ += std::min(length, reader_.size_bytes() - position_);
    return IOStatus::OK();
  }

 private:
  const Reader reader_;
  uint64_t position_ = 0;  // never behind the end
};

class RandomReader : public rocksdb::FSRandomAccessFile {
 public:
  explicit RandomReader(Reader reader) : reader_(std::move(reader)) {}
  IOStatus Read(uint64_t offset, size_t length, const IOOptions&, Slice* result,
                char* scratch, IODebugContext*) const override {
    return reader_.Read(offset, length, result, scratch);
  }

 private:
  const Reader reader_;
};

// What a file of sync groups says to RocksDB.
class GroupFile : public rocksdb::FSWritableFile {
 public:
  GroupFile(std::shared_ptr<GroupWriter> writer, FailureLatch& latch)
      : writer_(std::move(writer)), latch_(latch) {}
  using FSWritableFile::Append;
  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override {
    return ContainedWrite(latch_, [&] {
      writer_->Append(data.ToStringView());
      return OkStatus();
    });
  }
  IOStatus Truncate(uint64_t size, const IOOptions&, IODebugContext*) override {
    return size == writer_->appended_bytes() ? IOStatus::OK()
                                             : IOStatus::NotSupported("Truncate");
  }
  // What is staged stays staged: the writer lives on until the file is deleted.
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  bool IsSyncThreadSafe() const override { return true; }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override {
    return writer_->appended_bytes();
  }
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }
  // Chunks are taken when blocks are written.
  void PrepareWrite(size_t, size_t, const IOOptions&, IODebugContext*) override {}
  IOStatus Allocate(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }

 protected:
  const std::shared_ptr<GroupWriter> writer_;
  FailureLatch& latch_;
};

class WalFile : public GroupFile {
 public:
  WalFile(std::shared_ptr<GroupWriter> writer, WalChain& wals, FailureLatch& latch,
          uint64_t staged_bytes_max)
      : GroupFile(std::move(writer), latch),
        wals_(wals),
        staged_bytes_max_(staged_bytes_max) {}
  IOStatus Flush(const IOOptions&, IODebugContext*) override {
    return ContainedWrite(latch_, [&] {
      writer_->MarkFlushed();
      // Bounds the memory: an early group, in order like any other.
      return writer_->staged_bytes() > staged_bytes_max_ ? wals_.Sync() : OkStatus();
    });
  }
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    return ContainedWrite(latch_, [&] {
      writer_->MarkFlushed();
      return wals_.Sync();
    });
  }

 private:
  WalChain& wals_;
  const uint64_t staged_bytes_max_;
};

class ManifestFile : public GroupFile {
 public:
  ManifestFile(std::shared_ptr<GroupWriter> writer, BlockDevice& device, FileTable& table,
               FailureLatch& latch)
      : GroupFile(std::move(writer), latch), device_(device), table_(table) {}
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    return ContainedWrite(latch_, [&]() -> Status {
      MutexLock lock(sync_mutex_);
      TRY(latch_.Check());
      writer_->MarkComplete();
      if (!writer_->Seal()) return OkStatus();
      TRY(device_.Flush());
      TRY(writer_->WriteSealed());
      // Records may rest on this group alone from now on (the WAL may go), so that its
      // rot must not pass for a torn write: the journal says that it was whole.
      return table_.Commit();
    });
  }

 private:
  BlockDevice& device_;
  FileTable& table_;
  Mutex sync_mutex_;
};

class WholeFile : public rocksdb::FSWritableFile {
 public:
  WholeFile(std::unique_ptr<WholeWriter> writer, FailureLatch& latch)
      : writer_(std::move(writer)), latch_(latch) {}
  using FSWritableFile::Append;
  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override {
    return ContainedWrite(latch_, [&] { return writer_->Append(data.ToStringView()); });
  }
  IOStatus Truncate(uint64_t size, const IOOptions&, IODebugContext*) override {
    return size == writer_->appended_bytes() ? IOStatus::OK()
                                             : IOStatus::NotSupported("Truncate");
  }
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    return ContainedWrite(latch_, [&] { return writer_->Sync(); });
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override {
    return ContainedWrite(latch_, [&] { return writer_->Close(); });
  }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override {
    return writer_->appended_bytes();
  }
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }
  // Chunks are taken when blocks are written.
  void PrepareWrite(size_t, size_t, const IOOptions&, IODebugContext*) override {}
  IOStatus Allocate(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }

 private:
  const std::unique_ptr<WholeWriter> writer_;
  FailureLatch& latch_;
};

}  // namespace

std::unique_ptr<rocksdb::FSSequentialFile> NewSequentialReader(BlockDevice& device,
                                                               FailureLatch& latch,
                                                               FileRef file,
                                                               std::string name,
                                                               FileLayout layout) {
  return std::make_unique<SequentialReader>(
      Reader(device, latch, std::move(file), std::move(name), std::move(layout)));
}

std::unique_ptr<rocksdb::FSRandomAccessFile> NewRandomReader(BlockDevice& device,
                                                             FailureLatch& latch,
                                                             FileRef file,
                                                             std::string name,
                                                             FileLayout layout) {
  return std::make_unique<RandomReader>(
      Reader(device, latch, std::move(file), std::move(name), std::move(layout)));
}

std::unique_ptr<rocksdb::FSWritableFile> NewWalFile(std::shared_ptr<GroupWriter> writer,
                                                    WalChain& wals, FailureLatch& latch,
                                                    uint64_t staged_bytes_max) {
  return std::make_unique<WalFile>(std::move(writer), wals, latch, staged_bytes_max);
}

std::unique_ptr<rocksdb::FSWritableFile> NewManifestFile(
    std::shared_ptr<GroupWriter> writer, BlockDevice& device, FileTable& table,
    FailureLatch& latch) {
  return std::make_unique<ManifestFile>(std::move(writer), device, table, latch);
}

std::unique_ptr<rocksdb::FSWritableFile> NewWholeFile(std::unique_ptr<WholeWriter> writer,
                                                      FailureLatch& latch) {
  return std::make_unique<WholeFile>(std::move(writer), latch);
}

}  // namespace cofs::store
