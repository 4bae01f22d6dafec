// RangeLock: exclusive locks on byte ranges of one file (or of the device).
//
// A thread waits while any held range overlaps the one it asks for; waiters are
// served in the order of arrival among those that overlap, so that nobody starves.
// No lock may be asked for while a mutex is held.
#pragma once

#include <cstdint>
#include <list>

#include "base/mutex.h"

namespace cofs {

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
    std::list<struct RangeLockEntry>::iterator entry_;
  };

  RangeLock();
  ~RangeLock();
  // [begin, end), end exclusive; UINT64_MAX for "to the end".
  Hold Acquire(uint64_t begin, uint64_t end) EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  CondVar released_;
  // Held and waiting entries in order of arrival.
  std::list<struct RangeLockEntry> entries_ GUARDED_BY(mutex_);
};

struct RangeLockEntry {
  uint64_t begin = 0, end = 0;
};

}  // namespace cofs
