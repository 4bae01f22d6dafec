// GroupWriter: writes a WAL or a MANIFEST, sync group by sync group.
//
// Append() only stages in memory. A group is made in three steps, by one thread at a
// time: Seal() takes what is staged, the caller flushes the device, WriteSealed() makes
// the sealed bytes durable. Bytes appended meanwhile wait for the next group.
//
// Invariants:
// 1. All that sealed records refer to was complete before they were staged, so that a
//    flush between Seal() and WriteSealed() makes it durable before they are.
// 2. No block of a group is issued before the group in front of it is durable.
// 3. A group ends where a record ends: a recovery never meets half of one.
// 4. A durable block is never written again.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/aligned_buffer.h"
#include "base/mutex.h"
#include "base/result.h"
#include "device/block_device.h"
#include "extent_map/store/file_table.h"
#include "extent_map/store/record_boundary.h"

namespace cofs::store {

class GroupWriter {
 public:
  // `spare_bytes` is what is taken in advance when the file must take chunks.
  GroupWriter(BlockDevice& device, FileTable& table, FileRef file, uint64_t spare_bytes)
      : device_(device),
        table_(table),
        file_(std::move(file)),
        spare_bytes_(spare_bytes) {}

  // Any thread.
  void Append(std::string_view bytes) EXCLUDES(stage_mutex_);
  // All that has been appended so far is whole records. Only counts when Append() could
  // not see for itself where records end: RocksDB also flushes inside of large records.
  void MarkFlushed() EXCLUDES(stage_mutex_);
  // All that has been appended so far is to be sealed, whatever it is.
  void MarkComplete() EXCLUDES(stage_mutex_);
  uint64_t appended_bytes() const EXCLUDES(stage_mutex_);
  size_t staged_bytes() const EXCLUDES(stage_mutex_);

  // One thread at a time. Whether there is anything to write.
  bool Seal() EXCLUDES(stage_mutex_);
  // Nothing is written when the file has been deleted: what it said is said elsewhere.
  Status WriteSealed();

  const VolumeFile& file() const { return *file_; }
  // In blocks on the device; any thread.
  uint64_t written_bytes() const {
    return written_bytes_.load(std::memory_order_relaxed);
  }

 private:
  Status WriteBlocks(const std::vector<DeviceRange>& extents, uint64_t block_count);

  BlockDevice& device_;
  FileTable& table_;
  const FileRef file_;
  const uint64_t spare_bytes_;

  mutable Mutex stage_mutex_;
  std::string staged_ GUARDED_BY(stage_mutex_);
  size_t complete_bytes_ GUARDED_BY(stage_mutex_) = 0;  // of staged_: whole records
  RecordBoundary boundary_ GUARDED_BY(stage_mutex_);
  uint64_t appended_bytes_ GUARDED_BY(stage_mutex_) = 0;

  // Of the thread that makes the group.
  std::string sealed_;
  uint64_t next_block_ = 0;
  uint64_t last_group_ = 0;
  AlignedBuffer buffer_;
  std::atomic<uint64_t> written_bytes_{0};
};

}  // namespace cofs::store
