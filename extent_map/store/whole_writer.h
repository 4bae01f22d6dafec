// WholeWriter: writes a file that is made once and then only read: a table, CURRENT.
//
// Blocks go to the device as they fill, in large writes; Sync() pads the last one, and
// records the length in the journal. What was not synced is gone after a crash.
// For one thread at a time.
#pragma once

#include <string_view>

#include "base/aligned_buffer.h"
#include "base/result.h"
#include "device/block_device.h"
#include "extent_map/store/file_table.h"

namespace cofs::store {

class WholeWriter {
 public:
  WholeWriter(BlockDevice& device, FileTable& table, FileRef file)
      : device_(device), table_(table), file_(std::move(file)) {}

  Status Append(std::string_view bytes);
  // Everything appended is durable on return, and so is every change to the table's
  // files that was made before.
  Status Sync();
  // Readers see all of it; nothing is durable that was not synced. Gives spare chunks
  // back.
  Status Close();
  uint64_t appended_bytes() const { return layout_.size_bytes + buffered_bytes_; }

 private:
  // Writes what is buffered, padding the last block.
  Status WriteOut(bool is_sync);

  BlockDevice& device_;
  FileTable& table_;
  const FileRef file_;
  FileLayout layout_;  // of what has been written out
  uint64_t group_ = 1;
  AlignedBuffer buffer_;         // blocks
  uint64_t buffered_bytes_ = 0;  // of payload in buffer_
};

}  // namespace cofs::store
