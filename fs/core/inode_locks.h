// InodeLocks: the mutexes of a few inodes, held exclusively, taken in the order of
// their numbers (see inode.h).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>

#include "base/check.h"
#include "fs/core/inode.h"

namespace cofs {

class InodeLocks {
 public:
  static constexpr size_t kCountMax = 4;

  // Null pointers are left out, duplicates are locked once.
  explicit InodeLocks(std::initializer_list<Inode*> inodes) NO_THREAD_SAFETY_ANALYSIS {
    CHECK(inodes.size() <= kCountMax);
    for (Inode* inode : inodes)
      if (inode != nullptr) inodes_[count_++] = inode;
    const auto end = inodes_.begin() + static_cast<std::ptrdiff_t>(count_);
    std::sort(inodes_.begin(), end, [](Inode* a, Inode* b) { return a->id < b->id; });
    count_ = static_cast<size_t>(std::unique(inodes_.begin(), end) - inodes_.begin());
    for (size_t i = 0; i < count_; ++i) inodes_[i]->mutex.lock();
  }
  ~InodeLocks() NO_THREAD_SAFETY_ANALYSIS {
    while (count_ > 0) inodes_[--count_]->mutex.unlock();
  }
  InodeLocks(const InodeLocks&) = delete;
  InodeLocks& operator=(const InodeLocks&) = delete;

 private:
  std::array<Inode*, kCountMax> inodes_{};
  size_t count_ = 0;
};

}  // namespace cofs
