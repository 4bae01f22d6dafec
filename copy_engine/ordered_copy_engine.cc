#include "copy_engine/ordered_copy_engine.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "base/uuid.h"
#include "copy_engine/buffered_way.h"
#include "copy_engine/planner.h"
#include "copy_engine/read_back.h"
#include "copy_engine/ways.h"

namespace cofs {
namespace {

constexpr std::chrono::seconds kFirstPause{1};
constexpr std::chrono::seconds kFirstFindPause{30};
constexpr std::chrono::seconds kPauseMax{3600};

std::chrono::seconds Pause(std::chrono::seconds first, uint64_t earlier_count) {
  const auto doublings = static_cast<int>(std::min<uint64_t>(earlier_count, 12));
  return std::min(first * (int64_t{1} << doublings), kPauseMax);
}

uint64_t TotalBytes(std::span<const CopyPiece> pieces) {
  uint64_t total_bytes = 0;
  for (const CopyPiece& piece : pieces) total_bytes += piece.length_bytes;
  return total_bytes;
}

// Drops the first `done_bytes` bytes.
void SkipBytes(std::vector<CopyPiece>& pieces, uint64_t done_bytes) {
  size_t whole = 0;
  while (whole < pieces.size() && done_bytes >= pieces[whole].length_bytes)
    done_bytes -= pieces[whole++].length_bytes;
  pieces.erase(pieces.begin(), pieces.begin() + static_cast<std::ptrdiff_t>(whole));
  if (done_bytes == 0) return;
  CopyPiece& first = pieces.front();
  first.source += done_bytes;
  first.destination += done_bytes;
  first.length_bytes -= done_bytes;
}

}  // namespace

Result<std::unique_ptr<CopyEngine>> CopyEngine::Create(BlockDevice& device,
                                                       Options options) {
  const auto find = [&device, scratch = options.scratch](std::span<const CopyWayId> known) {
    return FindAllWays(device, scratch, known);
  };
  return std::unique_ptr<CopyEngine>(std::make_unique<OrderedCopyEngine>(
      device, options, find({}), std::chrono::steady_clock::now, find));
}

OrderedCopyEngine::OrderedCopyEngine(BlockDevice& device, const Options& options,
                                     FoundWays found, Clock clock, Find find)
    : device_(device),
      options_(options),
      clock_(std::move(clock)),
      find_(std::move(find)),
      buffered_(std::make_shared<BufferedWay>(device, options)),
      random_(RandomU64()) {
  MutexLock lock(mutex_);
  standings_[static_cast<size_t>(CopyWayId::kBuffered)].is_proved = true;
  find_again_at_ = clock_() + Pause(kFirstFindPause, 0);
  Take(std::move(found));
}

OrderedCopyEngine::~OrderedCopyEngine() = default;

void OrderedCopyEngine::Take(FoundWays found) {
  for (WayFinding& finding : found.findings) {
    const auto known =
        std::find_if(findings_.begin(), findings_.end(),
                     [&](const WayFinding& f) { return f.way == finding.way; });
    Standing& standing = standings_[static_cast<size_t>(finding.way)];
    standing.is_proved = finding.state == WayFinding::State::kProved;
    if (finding.state == WayFinding::State::kFailed) {
      ++standing.failures_in_all;
      standing.last_failure = finding.reason;
    }
    if (known == findings_.end())
      findings_.push_back(std::move(finding));
    else
      *known = std::move(finding);
  }
  for (std::unique_ptr<CopyWay>& way : found.ways) ways_.push_back(std::move(way));
  if (found.buffered_cost) {
    buffered_cost_ = found.buffered_cost;
    read_back_us_ = found.read_back_us;
  }
}

void OrderedCopyEngine::FindMoreWays() {
  if (!find_) return;
  std::vector<CopyWayId> known;
  {
    MutexLock lock(mutex_);
    if (is_finding_ || clock_() < find_again_at_) return;
    bool may_come = false;
    for (const WayFinding& finding : findings_) {
      const bool is_missing = finding.state == WayFinding::State::kFailed ||
                              finding.state == WayFinding::State::kAbsent;
      if (!is_missing || finding.is_for_good) known.push_back(finding.way);
      may_come |= is_missing && !finding.is_for_good;
    }
    if (!may_come) return;
    is_finding_ = true;
  }
  FoundWays found = find_(known);
  for (const auto& way : found.ways)
    LogInfo(StrCat("copies by ", NameOf(way->id()), " work now"));
  MutexLock lock(mutex_);
  is_finding_ = false;
  find_again_at_ = clock_() + Pause(kFirstFindPause, ++find_count_);
  Take(std::move(found));
}

Result<CopyReport> OrderedCopyEngine::Copy(const CopyRequest& request) {
  TRY(CheckPieces(request.pieces));
  if (request.policy != CopyPolicy::kBuffered) FindMoreWays();
  Run run{.request = request,
          .verify = request.verify.value_or(options_.verify),
          .rest = {request.pieces.begin(), request.pieces.end()},
          .report = {},
          .skipped = {},
          .failed = {}};
  Ways ways;
  {
    MutexLock lock(mutex_);
    ++totals_.copy_count;
    if (request.policy != CopyPolicy::kBuffered) ways = ways_;
  }
  std::optional<Error> error;
  for (const std::shared_ptr<CopyWay>& way : ways) {
    if (run.rest.empty()) break;
    run.skipped = WhyNotAsked(*way, run);
    if (run.skipped) continue;
    if (!Ask(*way, run, &error)) {
      if (error) return *std::move(error);
      return std::move(run.report);
    }
  }
  if (run.rest.empty()) return std::move(run.report);
  if (ways.empty()) run.skipped = {FallbackReason::kNoWay, "the device has no way of copying"};
  if (request.policy == CopyPolicy::kDevice)
    return Error(ErrorCode::kNotSupported, run.failed ? run.failed->words : run.skipped->words);
  // A way that was tried in vain has been noted.
  if (request.policy == CopyPolicy::kAuto && !run.failed) NoteFallback(*run.skipped, run);
  if (!Ask(*buffered_, run, &error) && error) return *std::move(error);
  return std::move(run.report);
}

bool OrderedCopyEngine::Ask(CopyWay& way, Run& run, std::optional<Error>* error) {
  LatencyHistogram latency;
  const CopyTask task{run.rest, std::max(options_.depth, 1u), run.request.interrupted,
                      run.request.check_source, &latency};
  CopyOutcome outcome = way.Run(task);
  const uint64_t task_bytes = TotalBytes(task.pieces);
  CHECK(outcome.completed_bytes <= task_bytes && IsBlockAligned(outcome.completed_bytes));
  CHECK(outcome.stop != CopyStop::kDone || outcome.completed_bytes == task_bytes,
        NameOf(way.id()), " is done with ", outcome.completed_bytes, " of ", task_bytes);
  const bool needs_error =
      outcome.stop != CopyStop::kDone && outcome.stop != CopyStop::kInterrupted;
  CHECK(outcome.error.has_value() == needs_error);
  bool is_true = true;
  if (&way != buffered_.get() && outcome.stop != CopyStop::kCopyFailed)
    is_true = Verify(way, task, outcome, run);
  Account(way, outcome, latency, run.report);
  if (&way != buffered_.get())
    origins_.Note(way.id(), task.pieces, outcome.completed_bytes);
  SkipBytes(run.rest, outcome.completed_bytes);
  switch (outcome.stop) {
    case CopyStop::kDone:
      return true;
    case CopyStop::kInterrupted:
      return false;
    case CopyStop::kCopyFailed:
      if (outcome.error->code() == ErrorCode::kRetry ||
          outcome.error->code() == ErrorCode::kTimedOut)
        NoteFallback({FallbackReason::kChangedBelow, outcome.error->ToString()}, run);
      *error = std::move(outcome.error);
      return false;
    case CopyStop::kNotApplicable:
    case CopyStop::kWayFailed:
      break;
  }
  run.failed = {!is_true                                     ? FallbackReason::kVerifyFailed
                : outcome.stop == CopyStop::kNotApplicable ? FallbackReason::kNotApplicable
                                                             : FallbackReason::kCommandFailed,
                StrCat(NameOf(way.id()), ": ", outcome.error->ToString())};
  ++run.report.fallback_count;
  run.report.fallback_reason = outcome.error->ToString();
  NoteFallback(*run.failed, run);
  MutexLock lock(mutex_);
  ++totals_.fallback_count;
  return true;
}

CopyTotals OrderedCopyEngine::totals() const {
  MutexLock lock(mutex_);
  return totals_;
}

const WayFinding* OrderedCopyEngine::FindingOf(CopyWayId id) const {
  const auto found = std::find_if(findings_.begin(), findings_.end(),
                                  [id](const auto& f) { return f.way == id; });
  return found == findings_.end() ? nullptr : &*found;
}

uint64_t OrderedCopyEngine::RequestBytesMin(const CopyWay& way, CopyVerify verify) const {
  const WayFinding* finding = FindingOf(way.id());
  if (finding == nullptr || !finding->cost || !buffered_cost_)
    return way.limits().request_bytes_min;
  // Who wants all of it read back has chosen correctness over time.
  const double verify_us = verify == CopyVerify::kSample ? read_back_us_ : 0;
  return std::max(way.limits().request_bytes_min,
                  DeviceCopyBytesMin(*finding->cost, *buffered_cost_, verify_us));
}

std::vector<CopyWayState> OrderedCopyEngine::ways(CopyVerify verify) const {
  const auto now = clock_();
  std::vector<CopyWayState> states;
  MutexLock lock(mutex_);
  for (const std::shared_ptr<CopyWay>& way : ways_) {
    const Standing& standing = StandingOf(way->id());
    const WayFinding* finding = FindingOf(way->id());
    CopyWayState state;
    state.id = way->id();
    state.is_proved = standing.is_proved;
    state.is_set_aside = standing.failure_count > 0 && now < standing.again_at;
    state.failure_count = standing.failures_in_all;
    state.last_failure = standing.last_failure;
    if (finding != nullptr) state.description = finding->description;
    if (finding != nullptr && !standing.is_proved && state.last_failure.empty())
      state.last_failure = finding->reason;
    if (finding != nullptr) state.cost = finding->cost;
    state.limits = way->limits();
    state.request_bytes_min = RequestBytesMin(*way, verify);
    states.push_back(std::move(state));
  }
  states.push_back({.id = CopyWayId::kBuffered,
                    .is_proved = true,
                    .description = "read and write through memory",
                    .cost = buffered_cost_});
  for (const WayFinding& finding : findings_) {
    if (finding.state != WayFinding::State::kAbsent &&
        finding.state != WayFinding::State::kFailed)
      continue;
    states.push_back({.id = finding.way,
                      .is_there = false,
                      .is_for_good = finding.is_for_good,
                      .failure_count = StandingOf(finding.way).failures_in_all,
                      .last_failure = StandingOf(finding.way).last_failure,
                      .description = finding.reason});
  }
  return states;
}

Status OrderedCopyEngine::CheckPieces(std::span<const CopyPiece> pieces) const {
  const DeviceGeometry& geometry = device_.geometry();
  if (geometry.is_read_only && !pieces.empty())
    return Error(ErrorCode::kReadOnly, geometry.path + " is open read-only");
  for (const CopyPiece& piece : pieces) {
    if (piece.length_bytes == 0)
      return Error(ErrorCode::kInvalidArgument, "copy: an empty piece");
    TRY(CheckRange(geometry, piece.source, piece.length_bytes));
    TRY(CheckRange(geometry, piece.destination, piece.length_bytes));
  }
  if (PiecesOverlap(pieces))
    return Error(ErrorCode::kInvalidArgument, "copy: the pieces overlap");
  return OkStatus();
}

std::optional<OrderedCopyEngine::Fallback> OrderedCopyEngine::WhyNotAsked(
    const CopyWay& way, const Run& run) const {
  const auto now = clock_();
  const uint64_t rest_bytes = TotalBytes(run.rest);
  MutexLock lock(mutex_);
  if (run.request.policy == CopyPolicy::kAuto &&
      rest_bytes < RequestBytesMin(way, run.verify))
    return Fallback{FallbackReason::kTooSmall, StrCat(NameOf(way.id()), " is not worth it for ",
                                                      rest_bytes, " bytes")};
  const Standing& standing = StandingOf(way.id());
  if (standing.failure_count > 0 && now < standing.again_at)
    return Fallback{FallbackReason::kSetAside,
                    StrCat(NameOf(way.id()), " is set aside: ", standing.last_failure)};
  return std::nullopt;
}

bool OrderedCopyEngine::Verify(CopyWay& way, const CopyTask& task, CopyOutcome& outcome,
                               Run& run) {
  if (run.verify == CopyVerify::kNone || outcome.completed_bytes == 0) return true;
  bool is_proved = false;
  uint64_t seed = 0;
  {
    MutexLock lock(mutex_);
    is_proved = StandingOf(way).is_proved;
    seed = random_();
  }
  const ReadBack read_back = ReadBackCopy(device_, task, outcome.completed_bytes,
                                          run.verify, is_proved, seed);
  run.report.verified_bytes += read_back.verified_bytes;
  const bool is_true = read_back.status.ok();
  {
    MutexLock lock(mutex_);
    totals_.verified_bytes += read_back.verified_bytes;
    if (!is_true) ++totals_.verify_failed_count;
    StandingOf(way).is_proved = is_true;
  }
  if (is_true) return true;
  outcome.completed_bytes = 0;
  outcome.stop = read_back.is_source_bad ? CopyStop::kCopyFailed : CopyStop::kWayFailed;
  outcome.error = read_back.status.error();
  return false;
}

void OrderedCopyEngine::Account(CopyWay& way, const CopyOutcome& outcome,
                                const LatencyHistogram& latency, CopyReport& report) {
  const auto id = static_cast<size_t>(way.id());
  report.completed_bytes += outcome.completed_bytes;
  report.bytes_by_way[id] += outcome.completed_bytes;
  report.commands_by_way[id] += outcome.command_count;
  report.latency_by_way[id].Merge(latency);
  report.command_count += outcome.command_count;
  const auto now = clock_();
  std::string message;
  {
    MutexLock lock(mutex_);
    totals_.bytes_by_way[id] += outcome.completed_bytes;
    totals_.commands_by_way[id] += outcome.command_count;
    totals_.latency_by_way[id].Merge(latency);
    Standing& standing = StandingOf(way);
    if (outcome.stop == CopyStop::kDone) standing.failure_count = 0;
    if (outcome.stop == CopyStop::kWayFailed && &way != buffered_.get()) {
      const auto pause = Pause(kFirstPause, standing.failure_count);
      ++standing.failure_count;
      ++standing.failures_in_all;
      standing.is_proved = false;
      standing.last_failure = outcome.error->ToString();
      standing.again_at = now + pause;
      message = StrCat("copies by ", NameOf(way.id()), " are set aside for ",
                       pause.count(), " s: ", standing.last_failure);
    }
  }
  if (!message.empty()) LogWarning(message);
}

void OrderedCopyEngine::NoteFallback(const Fallback& fallback, Run& run) {
  const uint64_t bytes = TotalBytes(run.rest);
  const auto note = [&](FallbackCounts& counts) {
    FallbackCount& count = counts[static_cast<size_t>(fallback.reason)];
    ++count.count;
    count.bytes += bytes;
    count.last_words = fallback.words;
  };
  note(run.report.fallbacks);
  MutexLock lock(mutex_);
  note(totals_.fallbacks);
}

}  // namespace cofs
