// CopyRange: copies and clones between files of the volume.
//
// Thread-safety: all functions; called with no lock held. See docs/ARCHITECTURE.md,
// "Life of a copy".
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "base/result.h"
#include "copy_engine/copy_engine.h"
#include "fs/core/core.h"
#include "fs/core/inode.h"

namespace cofs {

// How the bytes of copies went.
struct CopyRangeReport {
  CopyReport engine{};        // whole blocks that were moved
  uint64_t memory_bytes = 0;  // parts of blocks, and what could not go otherwise
  uint64_t shared_bytes = 0;
  uint64_t hole_bytes = 0;    // no data there, unwritten blocks included
};

void AddReport(const CopyRangeReport& report, CopyRangeReport& sum);

struct CopyRangeRequest {
  InodeRef source;
  FileOffset source_offset;
  InodeRef destination;
  FileOffset destination_offset;
  uint64_t length_bytes = 0;
  std::function<bool()> interrupted;  // may be empty
  // As a write by an unprivileged caller does.
  bool kill_privileges = true;
  std::optional<CopyRangePolicy> policy{};  // instead of the mount's
  CopyRangeReport* report = nullptr;        // added to, also by a copy that fails
};

struct DedupeResult {
  uint64_t deduped_bytes = 0;  // from the start of the range
  bool differs = false;        // then nothing was done
};

class CopyRange {
 public:
  explicit CopyRange(Core& core) : core_(core) {}

  // copy_file_range(2): the number of bytes copied, less than asked at the end of the
  // source, on an interrupt or on an error behind the first bytes, 0 at or past the end.
  // kInvalidArgument when the ranges overlap in one file, kInterrupted when that came
  // before the first bytes, kNotPermitted for an immutable destination. Whole blocks go
  // the way that CopyRangePolicy says and take their checksums with them; holes stay
  // holes, unwritten extents stay unwritten. Partial blocks, and all of a copy whose two
  // offsets differ modulo the block size, go through memory (kDevice: kNotSupported).
  // A source that is written meanwhile is copied as it was when the copy came to that
  // piece of up to 64 MiB; a crash leaves a prefix.
  Result<uint64_t> Copy(const CopyRangeRequest& request);
  // FICLONERANGE: shares the extents. Offsets and length block-aligned, except that
  // the length may end at the end of the source (length 0: to its end); else
  // kInvalidArgument. Unwritten extents become holes. Atomic up to 1024 extents; beyond,
  // a crash, an error or an interrupt (kInterrupted) leaves a prefix.
  // `policy` does not matter.
  Status Clone(const CopyRangeRequest& request);
  // Whether Clone() would accept it as things stand.
  Status CheckClone(const CopyRangeRequest& request);
  // FIDEDUPERANGE: shares the blocks if the bytes are the same; checksums are compared
  // first, bytes second. Offsets block-aligned and both ranges within their files, else
  // kInvalidArgument; the length is rounded down to blocks unless it ends at the end of
  // both. Neither contents nor times of the destination change. Less than asked for when
  // the files are written meanwhile, on an interrupt, or on an error behind the first
  // window of 4 MiB; a crash leaves a prefix.
  Result<DedupeResult> Dedupe(const CopyRangeRequest& request);
  // Copies what is shared in the range to blocks of the file's own, by the copy engine.
  // Nothing beyond the end of the file. After an error, a crash or an interrupt
  // (kInterrupted) a front part is done.
  Status Unshare(const InodeRef& file, FileOffset offset, uint64_t length_bytes,
                 const std::function<bool()>& interrupted);

 private:
  Core& core_;
};

}  // namespace cofs
