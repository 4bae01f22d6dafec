// RepairPlan: what would repair the findings of one check.
//
// A check adds a fix to each finding that can be repaired. Fixes are in stages; only
// those of the first stage that has any are carried out, then the volume is checked
// again: later stages judge by what the earlier ones have put right, and what is derived
// (counts) comes last. So no fix rests on something that another one is about to change,
// and the last check, which finds nothing to repair, is the proof.
// Belongs to one thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/result.h"
#include "fsck/findings.h"

namespace cofs {

enum class RepairMode { kNothing, kPreen, kAll };

enum class FixStage : uint8_t {
  kRecords,  // records that can't be read, or contradict their own inode
  kTree,     // entries against inodes
  kSpace,    // blocks: places, overlaps, checksums
  kCounts,   // what follows from the rest
};
inline constexpr size_t kFixStageCount = 4;

class Repairer;
// Changes records by way of the Repairer's RecordEditor; all changes of one fix are one
// batch unless it ends steps itself. kNoSpace, kRetry: the finding is left, the repair
// goes on.
using Fix = std::function<Status(Repairer&)>;

class RepairPlan {
 public:
  // A fix for which no finding is to be counted. SIZE_MAX is one that was not kept.
  static constexpr size_t kNoFinding = SIZE_MAX - 1;
  struct Item {
    FindingId id{};
    size_t finding = kNoFinding;  // index in the report
    Fix fix;
  };

  explicit RepairPlan(RepairMode mode) : mode_(mode) {}

  RepairMode mode() const { return mode_; }
  // Fixes that the mode does not allow are dropped, and so are those past a bound: the
  // next check finds them again.
  void Add(FixStage stage, FindingId id, size_t finding, Fix fix) {
    const RepairPolicy policy = KindOf(id).policy;
    if (mode_ == RepairMode::kNothing || policy == RepairPolicy::kNever) return;
    if (policy == RepairPolicy::kYes && mode_ != RepairMode::kAll) {
      is_blocked_ = true;
      return;
    }
    std::vector<Item>& items = stages_[static_cast<size_t>(stage)];
    if (items.size() < kItemCountMax) items.push_back({id, finding, std::move(fix)});
  }
  // Something was found that the mode may not repair: then no record is touched, because
  // counts that follow from damage are no better than the damage.
  bool is_blocked() const { return is_blocked_; }
  bool has_work() const {
    if (is_blocked_) return false;
    return std::ranges::any_of(stages_, [](const auto& items) { return !items.empty(); });
  }
  const std::vector<Item>& Stage(size_t stage) const { return stages_[stage]; }

 private:
  static constexpr size_t kItemCountMax = 1 << 20;
  const RepairMode mode_;
  bool is_blocked_ = false;
  std::array<std::vector<Item>, kFixStageCount> stages_;
};

}  // namespace cofs
