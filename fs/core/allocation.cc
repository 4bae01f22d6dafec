#include "fs/core/allocation.h"

#include <algorithm>

#include "base/check.h"

namespace cofs {

Result<Allocation> Allocation::Take(Space& space, uint64_t length_bytes,
                                    std::optional<DeviceOffset> goal,
                                    SpacePurpose purpose, uint64_t window_bytes) {
  Allocation allocation;
  if (length_bytes == 0) return allocation;
  TRY_ASSIGN(allocation.runs_, space.Allocate(length_bytes, goal, purpose, window_bytes));
  allocation.space_ = &space;
  return allocation;
}

Allocation& Allocation::operator=(Allocation&& other) noexcept {
  if (this == &other) return *this;
  Return();
  space_ = std::exchange(other.space_, nullptr);
  runs_ = std::move(other.runs_);
  run_index_ = other.run_index_;
  run_used_bytes_ = other.run_used_bytes_;
  used_bytes_ = other.used_bytes_;
  kept_bytes_ = other.kept_bytes_;
  return *this;
}

DeviceRange Allocation::Next(uint64_t length_bytes_max) {
  CHECK(run_index_ < runs_.size() && length_bytes_max > 0, "allocation is used up");
  const DeviceRange& run = runs_[run_index_];
  const uint64_t bytes = std::min(length_bytes_max, run.length_bytes - run_used_bytes_);
  const DeviceRange piece{run.offset + run_used_bytes_, bytes};
  run_used_bytes_ += bytes;
  used_bytes_ += bytes;
  if (run_used_bytes_ == run.length_bytes) {
    ++run_index_;
    run_used_bytes_ = 0;
  }
  return piece;
}

void Allocation::CutUsed(uint64_t length_bytes) {
  CHECK(length_bytes <= used_bytes_ && kept_bytes_ == 0);
  used_bytes_ = length_bytes;
  run_index_ = runs_.size();
}

void Allocation::Keep(uint64_t length_bytes) {
  CHECK(length_bytes >= kept_bytes_ && length_bytes <= used_bytes_);
  kept_bytes_ = length_bytes;
}

void Allocation::Abandon() {
  CHECK(kept_bytes_ == 0);
  if (space_ != nullptr) space_->Abandon(runs_);
  space_ = nullptr;
}

void Allocation::Return() {
  if (space_ == nullptr) return;
  std::vector<DeviceRange> unused;
  uint64_t skip_bytes = kept_bytes_;
  for (const DeviceRange& run : runs_) {
    const uint64_t skipped = std::min(skip_bytes, run.length_bytes);
    skip_bytes -= skipped;
    if (skipped < run.length_bytes)
      unused.push_back({run.offset + skipped, run.length_bytes - skipped});
  }
  if (!unused.empty()) space_->ReturnUnused(unused);
  space_ = nullptr;
}

}  // namespace cofs
