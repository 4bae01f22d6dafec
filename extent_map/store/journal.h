// Journal: durable records in one contiguous segment of the pool.
//
// A segment begins with a snapshot record; change records follow. A record is whole
// blocks:
//
//   offset  size  field
//        0     4  magic "cJRN"
//        4     4  crc32c of the record's blocks from byte 8 on
//        8     8  generation: of the segment; as in the superblock
//       16     8  sequence: of the record, counted on through all generations
//       24     4  payload bytes
//       28     1  type: 1 snapshot, 2 changes
//       29     3  zero
//       32     n  payload (journal_state.h); zeros up to the end of the block
//
// Invariants:
// 1. A record is durable before the next one is issued.
// 2. A change record is written twice, one copy after the other, in one write. One whole
//    copy is the record: rot of a single block loses nothing, not even in the last
//    record, where rot can't be told from a torn write.
// 3. A replay ends where neither copy of the next record is whole. If a whole record with
//    a later sequence of this generation follows, that is rot: kCorrupt.
// 4. Records left over in reused space have another generation. Generations of a volume
//    start at a random number, so that a volume made anew on the same device is safe.
// 5. A new segment is durable before the superblock points to it, and the old one is not
//    reused before that is durable.
// Not thread-safe: its owner (FileTable) lets one thread in at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "base/result.h"
#include "base/types.h"
#include "device/block_device.h"
#include "extent_map/store/journal_state.h"

namespace cofs::store {

class Journal {
 public:
  // Makes (segment, generation) what the next mount finds; durable on return.
  using Publish = std::function<Status(DeviceRange segment, uint64_t generation)>;

  explicit Journal(BlockDevice& device) : device_(device) {}

  // Replays the segment that the superblock points to. kCorrupt with the place.
  Result<JournalState> Load(DeviceRange segment, uint64_t generation);

  // How large a segment for `snapshot_bytes` should be at least, and had better be.
  static uint64_t SegmentBytesMin(size_t snapshot_bytes);
  static uint64_t SegmentBytesWanted(size_t snapshot_bytes);

  // Whether Append() has room for a payload of that size.
  bool Fits(size_t payload_bytes) const;
  // Durable on return. After an error the journal must not be used any more.
  Status Append(std::string_view changes);
  // Writes `snapshot` to `segment` with the next generation and publishes it. After an
  // error the journal must not be used any more.
  Status StartSegment(DeviceRange segment, uint64_t generation, std::string_view snapshot,
                      const Publish& publish);

  DeviceRange segment() const { return segment_; }
  uint64_t generation() const { return generation_; }
  uint64_t sequence() const { return next_sequence_; }
  // One copy of some record was damaged or torn: better to start a new segment.
  bool wants_new_segment() const { return damaged_copies_ > 0 || last_copy_is_torn_; }
  // For the check of all of the store: the segment's records once more, and that both
  // copies of each are whole. kCorrupt, kIo.
  Status Verify() const;

 private:
  struct Cursor;
  Status ReplayChanges(std::string_view bytes, uint64_t block, JournalState& state);

  BlockDevice& device_;
  DeviceRange segment_;
  uint64_t generation_ = 0;
  uint64_t next_sequence_ = 1;
  uint64_t next_block_ = 0;  // in the segment
  // By Load(): of records that others follow, and of the last one.
  uint64_t damaged_copies_ = 0;
  bool last_copy_is_torn_ = false;
};

}  // namespace cofs::store
