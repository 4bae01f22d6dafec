// CopyArms: copies that have been announced: how the next copy_file_range of a thread into
// a file shall be done (COFS_IOC_COPY_ARM).
//
// Invariants:
//  1. An arm is never forgotten while its thread may still rely on it: it goes with the
//     request that takes it, with the next arm of its thread for its file, or with the
//     last open of the file for writing. One that is too old stays, and fails the copy.
//  2. A snapshot belongs to one arm; who takes the arm out of the table takes it over.
//
// Thread-safety: all functions.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"

namespace cofs {

struct CopyArm {
  // What is left of the copy.
  FileOffset source_offset, destination_offset;
  uint64_t length_bytes = 0;
  uint32_t how = 0;  // COFS_ARM_...
  uint32_t user = 0;
  // Set by the first of several requests.
  std::optional<InodeId> source{};
  std::optional<InodeId> snapshot{};  // of the source at that time, counted as a look-up
  std::chrono::steady_clock::time_point expires_at{};
  bool is_late = false;
};

class CopyArms {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  static constexpr size_t kCountMax = 1024;
  static constexpr std::chrono::minutes kLifetime{10};

  // `drop_snapshot` takes back a snapshot's look-up; called without locks.
  explicit CopyArms(std::function<void(InodeId)> drop_snapshot,
                    Clock clock = &std::chrono::steady_clock::now)
      : drop_snapshot_(std::move(drop_snapshot)), clock_(std::move(clock)) {}

  // Replaces what the thread has armed for the file. kBusy: too many.
  Status Put(pid_t thread, InodeId destination, CopyArm arm) EXCLUDES(mutex_);
  // Takes the arm out of the table: its snapshot, if it has one, is the caller's.
  std::optional<CopyArm> Take(pid_t thread, InodeId destination) EXCLUDES(mutex_);
  void Disarm(pid_t thread, InodeId destination) EXCLUDES(mutex_);
  // The file is not open for writing any more. Answers snapshots that the caller has to
  // take back, so that it can be called with a lock held.
  std::vector<InodeId> Closed(InodeId destination) EXCLUDES(mutex_);
  void DropSnapshot(const CopyArm& arm) const {
    if (arm.snapshot) drop_snapshot_(*arm.snapshot);
  }

 private:
  // Marks what is too old; answers snapshots that are to be dropped.
  std::vector<InodeId> Age() REQUIRES(mutex_);
  void DropAll(const std::vector<InodeId>& snapshots) const;

  const std::function<void(InodeId)> drop_snapshot_;
  const Clock clock_;
  Mutex mutex_;
  // By file first: all of a file go together.
  std::map<std::pair<InodeId, pid_t>, CopyArm> arms_ GUARDED_BY(mutex_);
};

}  // namespace cofs
