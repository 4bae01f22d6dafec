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
//  5. Ways that were absent or failed their trial are looked for again by the first copy
//     after a pause: 30 seconds, then twice as long each time, up to an hour. One copy at
//     a time does so, the others go on with what there is.
// Thread-safety: as CopyEngine.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "copy_engine/copy_engine.h"
#include "copy_engine/copy_origins.h"
#include "copy_engine/copy_way.h"
#include "copy_engine/ways.h"

namespace cofs {

class OrderedCopyEngine final : public CopyEngine {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  // Looks for the ways that are not in `known`.
  using Find = std::function<FoundWays(std::span<const CopyWayId> known)>;

  // `device` outlives the engine. An empty `find` never looks again.
  OrderedCopyEngine(BlockDevice& device, const Options& options, FoundWays found,
                    Clock clock = std::chrono::steady_clock::now, Find find = {});
  ~OrderedCopyEngine() override;

  Result<CopyReport> Copy(const CopyRequest& request) override;
  CopyTotals totals() const override EXCLUDES(mutex_);
  std::vector<CopyWayState> ways(CopyVerify verify) const override EXCLUDES(mutex_);
  std::vector<CopyWayState> ways() const { return ways(options_.verify); }
  std::optional<CopyOrigin> OriginOf(DeviceOffset block) const override {
    return origins_.Find(block);
  }

 private:
  using Ways = std::vector<std::shared_ptr<CopyWay>>;

  struct Standing {
    uint64_t failure_count = 0;  // since the last success
    uint64_t failures_in_all = 0;
    bool is_proved = false;
    std::chrono::steady_clock::time_point again_at{};
    std::string last_failure;
  };
  // Why bytes go on to the next way.
  struct Fallback {
    FallbackReason reason = FallbackReason::kNoWay;
    std::string words;
  };
  // One copy on its way through the ways.
  struct Run {
    const CopyRequest& request;
    CopyVerify verify;
    std::vector<CopyPiece> rest;
    CopyReport report;
    std::optional<Fallback> skipped;  // the last way that was not tried
    std::optional<Fallback> failed;   // the last way that was tried in vain
  };

  Status CheckPieces(std::span<const CopyPiece> pieces) const;
  void FindMoreWays() EXCLUDES(mutex_);
  void Take(FoundWays found) REQUIRES(mutex_);
  Standing& StandingOf(const CopyWay& way) REQUIRES(mutex_) {
    return standings_[static_cast<size_t>(way.id())];
  }
  const Standing& StandingOf(CopyWayId id) const REQUIRES(mutex_) {
    return standings_[static_cast<size_t>(id)];
  }
  const WayFinding* FindingOf(CopyWayId id) const REQUIRES(mutex_);
  uint64_t RequestBytesMin(const CopyWay& way, CopyVerify verify) const REQUIRES(mutex_);
  // Why a way of the device is not asked; nullopt when it is.
  std::optional<Fallback> WhyNotAsked(const CopyWay& way, const Run& run) const
      EXCLUDES(mutex_);
  // Asks one way for the rest; what is left stays in run.rest. False: the copy is over,
  // by an error if there is one.
  bool Ask(CopyWay& way, Run& run, std::optional<Error>* error);
  // Reads back what a way claims; the outcome is changed when it is not true. Whether
  // it was.
  bool Verify(CopyWay& way, const CopyTask& task, CopyOutcome& outcome, Run& run)
      EXCLUDES(mutex_);
  void Account(CopyWay& way, const CopyOutcome& outcome, const LatencyHistogram& latency,
               CopyReport& report) EXCLUDES(mutex_);
  void NoteFallback(const Fallback& fallback, Run& run) EXCLUDES(mutex_);

  BlockDevice& device_;
  const Options options_;
  const Clock clock_;
  const Find find_;
  const std::shared_ptr<CopyWay> buffered_;
  CopyOrigins origins_;

  mutable Mutex mutex_;
  Ways ways_ GUARDED_BY(mutex_);  // best first; without the buffered way
  std::vector<WayFinding> findings_ GUARDED_BY(mutex_);
  std::optional<CopyCost> buffered_cost_ GUARDED_BY(mutex_);
  double read_back_us_ GUARDED_BY(mutex_) = 0;
  bool is_finding_ GUARDED_BY(mutex_) = false;
  uint64_t find_count_ GUARDED_BY(mutex_) = 0;
  std::chrono::steady_clock::time_point find_again_at_ GUARDED_BY(mutex_);
  CopyTotals totals_ GUARDED_BY(mutex_);
  std::array<Standing, kCopyWayCount> standings_ GUARDED_BY(mutex_);
  std::mt19937_64 random_ GUARDED_BY(mutex_);  // places to read back
};

}  // namespace cofs
