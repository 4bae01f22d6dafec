// Allocation: blocks taken from Space that no batch refers to yet. What is not kept
// goes back when it is destroyed, on whatever path that is.
//
// Belongs to one thread. All I/O to its blocks has completed when it is destroyed.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "fs/core/space.h"

namespace cofs {

class Allocation {
 public:
  Allocation() = default;
  // As Space::Allocate(); length 0 takes nothing.
  static Result<Allocation> Take(Space& space, uint64_t length_bytes,
                                 std::optional<DeviceOffset> goal, SpacePurpose purpose,
                                 uint64_t window_bytes = 0);
  Allocation(Allocation&& other) noexcept { *this = std::move(other); }
  Allocation& operator=(Allocation&& other) noexcept;
  ~Allocation() { Return(); }

  // The next piece to fill, at most `length_bytes_max` long. CHECKs that there is one.
  DeviceRange Next(uint64_t length_bytes_max);
  uint64_t used_bytes() const { return used_bytes_; }
  // Of what Next() handed out only the first `length_bytes` are used after all. No
  // Next() may follow.
  void CutUsed(uint64_t length_bytes);
  // A command of the device may still write to it: all of it is Space's to withhold.
  void Abandon();
  // The first `length_bytes` of what Next() handed out belong to the batch that is
  // about to be applied. (When that fails nobody knows whether it is durable: they stay
  // lost until the next mount.)
  void Keep(uint64_t length_bytes);

 private:
  void Return();

  Space* space_ = nullptr;
  std::vector<DeviceRange> runs_;
  size_t run_index_ = 0;       // where Next() goes on
  uint64_t run_used_bytes_ = 0;
  uint64_t used_bytes_ = 0;    // handed out by Next()
  uint64_t kept_bytes_ = 0;
};

}  // namespace cofs
