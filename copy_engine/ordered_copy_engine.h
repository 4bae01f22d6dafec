// OrderedCopyEngine: the CopyEngine. It offers a copy to its ways, best first, and what
// one way leaves undone to the next; the buffered way comes last.
//
//  1. A way is offered only what no way before it has completed: a prefix that counts
//     as completed is never written again, unless its read-back was wrong.
//  2. A way that failed is set aside for a while: a second, then twice as long each time
//     it fails again, up to an hour. Success ends the count. The buffered way is never
//     set aside.
//  3. A copy whose read-back differs counts for nothing: all that the way claims to have
//     done is done again, and the way is set aside.
//  4. A way that was not proved yet, or that failed, is read back in full for the first
//     4 MiB of its copy, unless nothing is to be read back at all.
// Thread-safety: as CopyEngine.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "copy_engine/copy_engine.h"
#include "copy_engine/copy_way.h"
#include "copy_engine/ways.h"

namespace cofs {

class OrderedCopyEngine final : public CopyEngine {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  // `device` outlives the engine.
  OrderedCopyEngine(BlockDevice& device, const Options& options, FoundWays found,
                    Clock clock = std::chrono::steady_clock::now);
  ~OrderedCopyEngine() override;

  Result<CopyReport> Copy(const CopyRequest& request) override;
  CopyTotals totals() const override EXCLUDES(mutex_);
  std::vector<CopyWayState> ways() const override EXCLUDES(mutex_);

 private:
  struct Standing {
    uint64_t failure_count = 0;  // since the last success
    uint64_t failures_in_all = 0;
    bool is_proved = false;
    std::chrono::steady_clock::time_point again_at{};
    std::string last_failure;
  };

  Status CheckPieces(std::span<const CopyPiece> pieces) const;
  // Why way `index` is not asked; empty when it is.
  std::string ReasonToSkip(size_t index, CopyPolicy policy, uint64_t rest_bytes) const
      EXCLUDES(mutex_);
  // Runs one way and checks what it says.
  CopyOutcome RunWay(size_t index, const CopyTask& task);
  // Reads back what a way claims; the outcome is changed when it is not true.
  void Verify(size_t index, const CopyTask& task, CopyOutcome& outcome) EXCLUDES(mutex_);
  // Compares source and destination at that position of the copy.
  Status CompareOnce(const CopyTask& task, uint64_t position, uint64_t length_bytes,
                     bool* is_source_bad);
  void Account(size_t index, const CopyOutcome& outcome, CopyReport& report)
      EXCLUDES(mutex_);
  void NoteFallback(const Error& error, CopyReport& report) EXCLUDES(mutex_);
  bool IsLast(size_t index) const { return index + 1 == ways_.size(); }

  BlockDevice& device_;
  const Options options_;
  const Clock clock_;
  std::vector<std::unique_ptr<CopyWay>> ways_;  // the buffered way last
  const std::vector<WayFinding> findings_;

  mutable Mutex mutex_;
  CopyTotals totals_ GUARDED_BY(mutex_);
  std::vector<Standing> standings_ GUARDED_BY(mutex_);  // by way
  std::mt19937_64 random_ GUARDED_BY(mutex_);           // places to read back
};

}  // namespace cofs
