// FileData: contents of regular files: read, write, truncate, preallocate, seek.
//
// Data is never overwritten in place (but for unwritten, unshared blocks); every
// written block has a checksum that is verified by every read. See
// docs/ARCHITECTURE.md, "Life of a write".
// Thread-safety: all functions. None may be called with a lock held, except where
// REQUIRES says so.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/result.h"
#include "extent_map/extent.h"
#include "fs/core/core.h"
#include "fs/core/inode.h"

namespace cofs {

struct WriteOptions {
  bool sync = false;             // committed before it returns (O_DSYNC, O_SYNC)
  bool kill_privileges = false;  // clears set-user-ID and set-group-ID
  bool kill_capability = false;  // removes the file's capabilities
  // The caller keeps the times and sets them by itself: write-back of pages whose mtime
  // the kernel owns.
  bool keep_times = false;
};

class FileData {
 public:
  explicit FileData(Core& core) : core_(core) {}

  // Up to `length_bytes` from `offset`, short at the end of the file. The bytes are in
  // `buffer`, which is replaced by a larger one when it is too small. kChecksum
  // when a block does not match its checksum: never wrong data.
  Result<std::span<const char>> Read(const InodeRef& inode, FileOffset offset,
                                     uint64_t length_bytes, AlignedBuffer& buffer);
  // All or nothing. `data` aligned to kBlockBytes at a block-aligned offset is written
  // without a copy. kNoSpace, kFileTooLarge (past kFileBytesMax), kReadOnly.
  Status Write(const InodeRef& inode, FileOffset offset, std::span<const char> data,
               WriteOptions options);
  // Shrinks or grows; frees in bounded batches from the end, each with the size that
  // it leaves. `also_change` edits the record in the last batch (times, modes), and may add
  // to the batch. `kill_privileges`: with the first one.
  Status Truncate(const InodeRef& inode, uint64_t size_bytes,
                  const std::function<Status(InodeRecord&, Transaction&)>& also_change,
                  bool kill_privileges = false);
  // FALLOC_FL_* bits of fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE
  // [|KEEP_SIZE], COLLAPSE_RANGE, INSERT_RANGE; others kNotSupported. kFileTooLarge,
  // kNotPermitted for immutable and (but for preallocating) append-only files. Space is
  // taken before anything changes: after kNoSpace the file is as it was. After a crash a
  // prefix of the range is done.
  // Collapse and insert move what lies behind: whole blocks, inside the file, else
  // kInvalidArgument. After a crash they are done or not, up to kBatchExtentCountMax / 2
  // extents; of more, a hole of the range's length may be in the middle of what is moved.
  // Readers see the file before or after.
  Status Allocate(const InodeRef& inode, int mode, FileOffset offset,
                  uint64_t length_bytes);
  // FALLOC_FL_INSERT_RANGE on a file that has been made `length_bytes` longer for it:
  // kInvalidArgument when data has been written there.
  Status InsertIntoGrown(const InodeRef& inode, FileOffset offset, uint64_t length_bytes);
  // SEEK_DATA or SEEK_HOLE; unwritten extents are holes. kSeekPastEnd as lseek(2).
  Result<FileOffset> Seek(const InodeRef& inode, FileOffset offset, int whence);
  // Extents that overlap [begin, end), at most `count_max`.
  Result<std::vector<Extent>> Map(const InodeRef& inode, FileOffset begin, FileOffset end,
                                  size_t count_max);
  // Frees every extent of an inode that is being reaped, in bounded batches; the last
  // of them is completed by `finish` (which deletes the inode's other records).
  Status FreeAll(const InodeRef& inode, const std::function<void(Transaction&)>& finish);

 private:
  Status CheckAllocate(Inode& inode, int kind, FileOffset offset, uint64_t length_bytes);
  enum class Shift { kCollapse, kInsert, kInsertIntoGrown };
  Status MoveBehind(const InodeRef& inode, Shift shift, FileOffset offset,
                    uint64_t length_bytes);
  // file_data_shift.cc, with the data_lock held from `begin` on
  Status Collapse(Inode& inode, FileOffset begin, uint64_t length_bytes);
  Status Insert(Inode& inode, FileOffset begin, uint64_t length_bytes, bool has_grown);

  Core& core_;
};

}  // namespace cofs
