// Report: what a check has found, in words, in numbers and as JSON.
//
// Belongs to one thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/types.h"
#include "base/uuid.h"
#include "fsck/findings.h"

namespace cofs {

struct Finding {
  FindingId id{};
  InodeId inode;     // 0: of no inode
  std::string path;  // of the inode, printable; empty when it is not known
  std::string text;
  bool repaired = false;
};

// Something that a repair could not keep.
struct Loss {
  InodeId inode;  // 0: of nobody that is known
  std::string path;
  std::string text;
};

// "inode 42 (/a/b): link count is 3, counted 2 [link-count]"
std::string Describe(const Finding& finding);
// "lost: inode 42 (/a/b): bytes 0 to 4095 are lost"
std::string Describe(const Loss& loss);

struct ReportTotals {
  uint64_t inodes = 0;
  uint64_t directories = 0;
  uint64_t entries = 0;
  uint64_t extents = 0;
  uint64_t orphans = 0;
  uint64_t used_bytes = 0;      // of the data area, shared blocks once
  uint64_t verified_bytes = 0;  // read and compared
};

class Report {
 public:
  // Findings past `finding_count_max` are counted, not kept.
  explicit Report(size_t finding_count_max) : finding_count_max_(finding_count_max) {}

  // Its index in findings(), SIZE_MAX when it is not kept.
  size_t Add(FindingId id, InodeId inode, std::string text);
  size_t Add(FindingId id, std::string text) { return Add(id, InodeId{}, std::move(text)); }
  void AddLoss(InodeId inode, std::string text);
  // `index` as Add() gave it.
  void MarkRepaired(FindingId id, size_t index);
  // Adds the findings of `round` that were repaired, and its losses; or all the others,
  // and its totals.
  void TakeRepaired(const Report& round);
  void TakeRest(const Report& round);

  const std::vector<Finding>& findings() const { return findings_; }
  std::vector<Finding>& findings() { return findings_; }
  uint64_t count(FindingId id) const { return counts_[static_cast<size_t>(id)]; }
  // Errors that are left.
  uint64_t error_count() const { return error_count_; }
  // Errors that were repaired.
  uint64_t repaired_count() const { return repaired_count_; }
  uint64_t note_count() const { return note_count_; }
  uint64_t left_out_count() const {
    return error_count_ + repaired_count_ + note_count_ - findings_.size();
  }
  const std::vector<Loss>& losses() const { return losses_; }
  std::vector<Loss>& losses() { return losses_; }
  uint64_t loss_count() const { return loss_count_; }

  ReportTotals totals;
  std::string label;
  Uuid uuid;
  bool marked_clean = false;

  std::string ToJson(const std::string& device, int exit_code) const;

 private:
  const size_t finding_count_max_;
  std::vector<Finding> findings_;
  std::vector<Loss> losses_;
  std::array<uint64_t, kFindingKindCount> counts_{};
  std::array<uint64_t, kFindingKindCount> repaired_counts_{};
  uint64_t error_count_ = 0;
  uint64_t repaired_count_ = 0;
  uint64_t note_count_ = 0;
  uint64_t loss_count_ = 0;
};

}  // namespace cofs
