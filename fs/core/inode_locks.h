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
    for (Inode* inode : inodes) {
      if (inode == nullptr) continue;
      size_t at = 0;
      while (at < count_ && inodes_[at]->id < inode->id) ++at;
      if (at < count_ && inodes_[at] == inode) continue;
      for (size_t i = count_++; i > at; --i) inodes_[i] = inodes_[i - 1];
      inodes_[at] = inode;
    }
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
