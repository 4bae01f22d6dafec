// RangeLock: exclusive locks on byte ranges of one file (or of the device).
//
// A request waits while an earlier one that overlaps it is held or waits, and for no
// other: first come, first served among those that overlap, so that nobody starves.
// A thread may hold one request of a RangeLock at a time: with fair queues a second
// one can wait for somebody who waits for the first. What is needed together is asked
// for together (AcquireAll).
//
// Thread-safety: all functions; Acquire blocks without spinning. Time: linear in the
// number of requests held and waiting.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "base/mutex.h"

namespace cofs {

struct LockedRange {
  uint64_t begin = 0, end = 0;  // end exclusive; UINT64_MAX for "to the end"
  bool Overlaps(const LockedRange& other) const {
    return begin < other.end && other.begin < end;
  }
};

// Sorted; those that overlap or touch are joined.
std::vector<LockedRange> Joined(std::vector<LockedRange> ranges);

struct RangeLockEntry {
  LockedRange first;              // most requests are one range
  std::vector<LockedRange> more;  // sorted, apart from `first`
  size_t blocker_count = 0;       // earlier entries that overlap
  CondVar unblocked;
  bool Overlaps(const RangeLockEntry& other) const;
};

class RangeLock {
 public:
  // Held until destroyed or released. Move-only.
  class Hold {
   public:
    Hold() = default;
    Hold(Hold&& other) noexcept;
    Hold& operator=(Hold&& other) noexcept;
    ~Hold() { Release(); }
    void Release();

   private:
    friend class RangeLock;
    RangeLock* owner_ = nullptr;
    std::list<RangeLockEntry>::iterator entry_;
  };

  RangeLock() = default;
  // Nothing is held any more.
  ~RangeLock();
  RangeLock(const RangeLock&) = delete;
  RangeLock& operator=(const RangeLock&) = delete;

  // [begin, end).
  Hold Acquire(uint64_t begin, uint64_t end) EXCLUDES(mutex_);
  // All of `ranges` (not empty; they may overlap each other) as one request.
  Hold AcquireAll(std::span<const LockedRange> ranges) EXCLUDES(mutex_);

 private:
  Hold Enter(RangeLockEntry&& entry) EXCLUDES(mutex_);

  Mutex mutex_;
  // Held and waiting, in order of arrival.
  std::list<RangeLockEntry> entries_ GUARDED_BY(mutex_);
};

}  // namespace cofs
