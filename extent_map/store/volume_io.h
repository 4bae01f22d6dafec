// The open files of VolumeFileSystem, as RocksDB sees them.
#pragma once

#include <rocksdb/file_system.h>

#include <memory>
#include <new>

#include "extent_map/store/group_writer.h"
#include "extent_map/store/volume_file_system.h"
#include "extent_map/store/whole_writer.h"

namespace cofs::store {

// Runs `body` for RocksDB, which can't stand exceptions.
template <typename Body>
rocksdb::IOStatus Contained(Body&& body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return ToIOStatus(Error(ErrorCode::kNoMemory, "file of the store"));
  } catch (...) {
    return ToIOStatus(Error(ErrorCode::kSystem, "unexpected exception"));
  }
}

// The same for what writes: whatever went wrong fails the store.
template <typename Body>
rocksdb::IOStatus ContainedWrite(FailureLatch& latch, Body&& body) noexcept {
  rocksdb::IOStatus status = Contained([&] { return ToIOStatus(body()); });
  if (!status.ok() && !latch.failed()) {
    try {
      latch.Fail(Error(ErrorCode::kIo, "write of the store: " + status.ToString()));
    } catch (...) {
      latch.Abandon();
    }
  }
  return status;
}

std::unique_ptr<rocksdb::FSSequentialFile> NewSequentialReader(BlockDevice& device,
                                                               FailureLatch& latch,
                                                               FileRef file,
                                                               std::string name,
                                                               FileLayout layout);
std::unique_ptr<rocksdb::FSRandomAccessFile> NewRandomReader(BlockDevice& device,
                                                             FailureLatch& latch,
                                                             FileRef file,
                                                             std::string name,
                                                             FileLayout layout);
std::unique_ptr<rocksdb::FSWritableFile> NewWalFile(std::shared_ptr<GroupWriter> writer,
                                                    WalChain& wals, FailureLatch& latch,
                                                    uint64_t staged_bytes_max);
std::unique_ptr<rocksdb::FSWritableFile> NewManifestFile(
    std::shared_ptr<GroupWriter> writer, BlockDevice& device, FileTable& table,
    FailureLatch& latch);
std::unique_ptr<rocksdb::FSWritableFile> NewWholeFile(std::unique_ptr<WholeWriter> writer,
                                                      FailureLatch& latch);

}  // namespace cofs::store
