#include "fs/fuse/copy_reports.h"

namespace cofs {

void CopyReports::Add(InodeId file, uint64_t copied_bytes, const CopyRangeReport& report) {
  MutexLock lock(mutex_);
  Sum& sum = sums_[file];
  if (copied_bytes > 0) ++sum.copy_count;
  sum.copied_bytes += copied_bytes;
  AddReport(report, sum.report);
}

CopyReports::Sum CopyReports::Get(InodeId file, bool resets) {
  MutexLock lock(mutex_);
  const auto found = sums_.find(file);
  if (found == sums_.end()) return {};
  Sum sum = found->second;
  if (resets) sums_.erase(found);
  return sum;
}

void CopyReports::Closed(InodeId file) {
  MutexLock lock(mutex_);
  sums_.erase(file);
}

}  // namespace cofs
