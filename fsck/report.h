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
};

// "inode 42 (/a/b): link count is 3, counted 2 [link-count]"
std::string Describe(const Finding& finding);

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

  void Add(FindingId id, InodeId inode, std::string text);
  void Add(FindingId id, std::string text) { Add(id, InodeId{}, std::move(text)); }

  const std::vector<Finding>& findings() const { return findings_; }
  std::vector<Finding>& findings() { return findings_; }
  uint64_t count(FindingId id) const { return counts_[static_cast<size_t>(id)]; }
  uint64_t error_count() const { return error_count_; }
  uint64_t note_count() const { return note_count_; }
  uint64_t left_out_count() const {
    return error_count_ + note_count_ - findings_.size();
  }

  ReportTotals totals;
  std::string label;
  Uuid uuid;
  bool marked_clean = false;

  std::string ToJson(const std::string& device, int exit_code) const;

 private:
  const size_t finding_count_max_;
  std::vector<Finding> findings_;
  std::array<uint64_t, kFindingKindCount> counts_{};
  uint64_t error_count_ = 0;
  uint64_t note_count_ = 0;
};

}  // namespace cofs
