// CopyReports: how the bytes of copies into files that are open for writing went
// (COFS_IOC_COPY_REPORT).
//
// Thread-safety: all functions.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "base/mutex.h"
#include "base/types.h"
#include "fs/core/copy_range.h"

namespace cofs {

class CopyReports {
 public:
  struct Sum {
    uint64_t copy_count = 0;
    uint64_t copied_bytes = 0;
    CopyRangeReport report{};
  };

  // A copy into `file`, which is open for writing, has ended.
  void Add(InodeId file, uint64_t copied_bytes, const CopyRangeReport& report)
      EXCLUDES(mutex_);
  Sum Get(InodeId file, bool resets) EXCLUDES(mutex_);
  // The file is not open for writing any more.
  void Closed(InodeId file) EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  std::unordered_map<InodeId, Sum> sums_ GUARDED_BY(mutex_);
};

}  // namespace cofs
