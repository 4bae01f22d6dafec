// Checksums of blocks, by place on the device: reading them, and adding them to a batch.
//
// Thread-safety: each object belongs to one thread. A block's checksum is stable while
// its range is mapped by a locked file range, or protected by a ReadSection or a Pin.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "extent_map/records.h"
#include "extent_map/store/store.h"

namespace cofs {

// Appends the CRC-32C of each block of `data`.
void AppendBlockCrcs(std::span<const char> data, std::vector<uint32_t>& crcs);

class ChecksumReader {
 public:
  explicit ChecksumReader(const Store& store) : store_(store) {}

  // Of the block at `offset`. kCorrupt when there is none.
  Result<uint32_t> Get(DeviceOffset offset);
  // Appends those of all blocks of `range`.
  Status Append(DeviceRange range, std::vector<uint32_t>& crcs);

 private:
  Status LoadChunkOf(DeviceOffset offset);
  // The record of the chunk; nullopt when there is none.
  Result<std::optional<std::string>> Find(DeviceOffset chunk);

  const Store& store_;
  std::optional<DeviceOffset> chunk_begin_;
  ChecksumChunk chunk_;
  // A long run is walked: a look-up of its own for each chunk takes several times as long.
  size_t run_count_ = 0;
  std::unique_ptr<Cursor> cursor_;  // at the record of the last chunk, or behind it
};

// Adds checksums to `batch`: one record for each chunk of a run of neighbours.
// Finish() before the batch is used.
class ChecksumWriter {
 public:
  explicit ChecksumWriter(Batch& batch) : batch_(batch) {}
  void Add(DeviceOffset offset, std::span<const uint32_t> crcs);
  void Finish();

 private:
  Batch& batch_;
  DeviceOffset chunk_begin_;
  ChecksumChunk chunk_;
};

}  // namespace cofs
