#include "copy_engine/ordered_copy_engine.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "base/log.h"
#include "base/uuid.h"
#include "copy_engine/buffered_way.h"
#include "copy_engine/planner.h"
#include "copy_engine/ways.h"

namespace cofs {
namespace {

constexpr std::chrono::seconds kFirstPause{1};
constexpr std::chrono::seconds kPauseMax{3600};
constexpr uint64_t kSampleBytes = 64 << 10;
constexpr uint64_t kSampleEveryBytes = 64 << 20;
constexpr uint64_t kProofBytes = 4 << 20;

uint64_t TotalBytes(std::span<const CopyPiece> pieces) {
  uint64_t total_bytes = 0;
  for (const CopyPiece& piece : pieces) total_bytes += piece.length_bytes;
  return total_bytes;
}

const WayFinding* FindingOf(const std::vector<WayFinding>& findings, CopyWayId way) {
  const auto found = std::find_if(findings.begin(), findings.end(),
                                  [way](const auto& f) { return f.way == way; });
  return found == findings.end() ? nullptr : &*found;
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

std::string_view NameOf(CopyWayId way) {
  switch (way) {
    case CopyWayId::kNvmeCopy:
      return "nvme-copy";
    case CopyWayId::kScsiXcopy:
      return "scsi-xcopy";
    case CopyWayId::kHostFile:
      return "host-file";
    case CopyWayId::kDevice:
      return "device";
    case CopyWayId::kBuffered:
      return "buffered";
  }
  return "unknown";
}

Result<std::unique_ptr<CopyEngine>> CopyEngine::Create(BlockDevice& device,
                                                       Options options) {
  return std::unique_ptr<CopyEngine>(std::make_unique<OrderedCopyEngine>(
      device, options, FindAllWays(device, options.scratch)));
}

OrderedCopyEngine::OrderedCopyEngine(BlockDevice& device, const Options& options,
                                     FoundWays found, Clock clock)
    : device_(device),
      options_(options),
      clock_(std::move(clock)),
      ways_(std::move(found.ways)),
      findings_(std::move(found.findings)),
      random_(RandomU64()) {
  ways_.push_back(std::make_unique<BufferedWay>(device, options));
  MutexLock lock(mutex_);
  standings_.resize(ways_.size());
  standings_.back().is_proved = true;
  for (size_t i = 0; i < ways_.size(); ++i) {
    const WayFinding* finding = FindingOf(findings_, ways_[i]->id());
    if (finding != nullptr && finding->state == WayFinding::State::kProved)
      standings_[i].is_proved = true;
  }
}

OrderedCopyEngine::~OrderedCopyEngine() = default;

Result<CopyReport> OrderedCopyEngine::Copy(const CopyRequest& request) {
  TRY(CheckPieces(request.pieces));
  {
    MutexLock lock(mutex_);
    ++totals_.copy_count;
  }
  CopyReport report;
  std::vector<CopyPiece> rest(request.pieces.begin(), request.pieces.end());
  std::string why_not_device = "the device has no way of copying";
  for (size_t i = 0; i < ways_.size() && !rest.empty(); ++i) {
    const std::string reason = ReasonToSkip(i, request.policy, TotalBytes(rest));
    if (!reason.empty()) {
      if (!IsLast(i)) why_not_device = reason;
      continue;
    }
    const CopyTask task{rest, std::max(options_.depth, 1u), request.interrupted,
                        request.check_source};
    CopyOutcome outcome = RunWay(i, task);
    Account(i, outcome, report);
    SkipBytes(rest, outcome.completed_bytes);
    switch (outcome.stop) {
      case CopyStop::kDone:
        break;
      case CopyStop::kInterrupted:
        return report;
      case CopyStop::kCopyFailed:
        return std::move(*outcome.error);
      case CopyStop::kNotApplicable:
      case CopyStop::kWayFailed:
        why_not_device = StrCat(NameOf(ways_[i]->id()), ": ", outcome.error->ToString());
        NoteFallback(*outcome.error, report);
        break;
    }
  }
  if (!rest.empty()) return Error(ErrorCode::kNotSupported, std::move(why_not_device));
  return report;
}

CopyTotals OrderedCopyEngine::totals() const {
  MutexLock lock(mutex_);
  return totals_;
}

std::vector<CopyWayState> OrderedCopyEngine::ways() const {
  const auto now = clock_();
  std::vector<CopyWayState> states;
  MutexLock lock(mutex_);
  for (size_t i = 0; i < ways_.size(); ++i) {
    const Standing& standing = standings_[i];
    const WayFinding* finding = FindingOf(findings_, ways_[i]->id());
    states.push_back(
        {.id = ways_[i]->id(),
         .is_proved = standing.is_proved,
         .is_set_aside = standing.failure_count > 0 && now < standing.again_at,
         .failure_count = standing.failures_in_all,
         .last_failure = standing.last_failure,
         .description = finding != nullptr ? finding->description : ""});
  }
  for (const WayFinding& finding : findings_) {
    if (finding.state == WayFinding::State::kAbsent ||
        finding.state == WayFinding::State::kFailed)
      states.push_back(
          {.id = finding.way, .is_there = false, .description = finding.reason});
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

std::string OrderedCopyEngine::ReasonToSkip(size_t index, CopyPolicy policy,
                                            uint64_t rest_bytes) const {
  if (IsLast(index))
    return policy == CopyPolicy::kDevice ? "only the device is to copy" : "";
  if (policy == CopyPolicy::kBuffered) return "only memory is to be used";
  const CopyWay& way = *ways_[index];
  if (policy == CopyPolicy::kAuto && rest_bytes < way.limits().request_bytes_min)
    return StrCat(NameOf(way.id()), " is not worth it for ", rest_bytes, " bytes");
  const auto now = clock_();
  MutexLock lock(mutex_);
  const Standing& standing = standings_[index];
  if (standing.failure_count > 0 && now < standing.again_at)
    return StrCat(NameOf(way.id()), " is set aside: ", standing.last_failure);
  return "";
}

CopyOutcome OrderedCopyEngine::RunWay(size_t index, const CopyTask& task) {
  CopyWay& way = *ways_[index];
  CopyOutcome outcome = way.Run(task);
  const uint64_t task_bytes = TotalBytes(task.pieces);
  CHECK(outcome.completed_bytes <= task_bytes && IsBlockAligned(outcome.completed_bytes));
  CHECK(outcome.stop != CopyStop::kDone || outcome.completed_bytes == task_bytes,
        NameOf(way.id()), " is done with ", outcome.completed_bytes, " of ", task_bytes);
  const bool needs_error =
      outcome.stop != CopyStop::kDone && outcome.stop != CopyStop::kInterrupted;
  CHECK(outcome.error.has_value() == needs_error);
  if (!IsLast(index) && outcome.stop != CopyStop::kCopyFailed)
    Verify(index, task, outcome);
  return outcome;
}

void OrderedCopyEngine::Verify(size_t index, const CopyTask& task, CopyOutcome& outcome) {
  const uint64_t claimed_bytes = outcome.completed_bytes;
  if (options_.verify == CopyVerify::kNone || claimed_bytes == 0) return;
  bool is_proved = false;
  {
    MutexLock lock(mutex_);
    is_proved = standings_[index].is_proved;
  }
  Status status = OkStatus();
  bool is_source_bad = false;
  uint64_t verified_bytes = 0, step = 0;
  for (uint64_t begin = 0; begin < claimed_bytes && status.ok(); begin += step) {
    const bool reads_all =
        options_.verify == CopyVerify::kAll || (!is_proved && begin < kProofBytes);
    step = reads_all ? kSampleBytes : kSampleEveryBytes;
    const uint64_t stretch = std::min(step, claimed_bytes - begin);
    const uint64_t length_bytes = std::min(kSampleBytes, stretch);
    uint64_t offset = 0;
    if (length_bytes < stretch) {
      MutexLock lock(mutex_);
      offset = random_() % ((stretch - length_bytes) / kBlockBytes + 1) * kBlockBytes;
    }
    status = CompareOnce(task, begin + offset, length_bytes, &is_source_bad);
    verified_bytes += length_bytes;
  }
  {
    MutexLock lock(mutex_);
    totals_.verified_bytes += verified_bytes;
    if (!status.ok()) ++totals_.verify_failed_count;
    standings_[index].is_proved = status.ok();
  }
  if (status.ok()) return;
  outcome.completed_bytes = 0;
  outcome.stop = is_source_bad ? CopyStop::kCopyFailed : CopyStop::kWayFailed;
  outcome.error = status.error();
}

Status OrderedCopyEngine::CompareOnce(const CopyTask& task, uint64_t position,
                                      uint64_t length_bytes, bool* is_source_bad) {
  AlignedBuffer source(kSampleBytes), destination(kSampleBytes);
  for (const CopyPiece& piece : task.pieces) {
    if (length_bytes == 0) break;
    if (position >= piece.length_bytes) {
      position -= piece.length_bytes;
      continue;
    }
    const uint64_t length = std::min(length_bytes, piece.length_bytes - position);
    IoOp reads[2] = {{.kind = IoKind::kRead,
                      .offset = piece.source + position,
                      .data = source.data(),
                      .length_bytes = length},
                     {.kind = IoKind::kRead,
                      .offset = piece.destination + position,
                      .data = destination.data(),
                      .length_bytes = length}};
    TRY(device_.Execute(reads));
    if (task.check_source) {
      const Status status =
          task.check_source(reads[0].offset, source.span().first(length));
      *is_source_bad = !status.ok();
      TRY(status);
    }
    if (std::memcmp(source.data(), destination.data(), length) != 0) {
      return Error(ErrorCode::kIo,
                   StrCat("the copy differs from its source, ", length, " bytes from ",
                          reads[0].offset, " to ", reads[1].offset));
    }
    length_bytes -= length;
    position = 0;
  }
  return OkStatus();
}

void OrderedCopyEngine::Account(size_t index, const CopyOutcome& outcome,
                                CopyReport& report) {
  const auto way = static_cast<size_t>(ways_[index]->id());
  report.completed_bytes += outcome.completed_bytes;
  report.bytes_by_way[way] += outcome.completed_bytes;
  report.commands_by_way[way] += outcome.command_count;
  report.command_count += outcome.command_count;
  const auto now = clock_();
  std::string message;
  {
    MutexLock lock(mutex_);
    totals_.bytes_by_way[way] += outcome.completed_bytes;
    totals_.commands_by_way[way] += outcome.command_count;
    Standing& standing = standings_[index];
    if (outcome.stop == CopyStop::kDone) standing.failure_count = 0;
    if (outcome.stop == CopyStop::kWayFailed && !IsLast(index)) {
      ++standing.failure_count;
      ++standing.failures_in_all;
      standing.is_proved = false;
      standing.last_failure = outcome.error->ToString();
      const uint64_t doublings = std::min<uint64_t>(standing.failure_count - 1, 12);
      const auto pause = std::min(kFirstPause * (int64_t{1} << doublings), kPauseMax);
      standing.again_at = now + pause;
      message = StrCat("copies by ", NameOf(ways_[index]->id()), " are set aside for ",
                       pause.count(), " s: ", standing.last_failure);
    }
  }
  if (!message.empty()) LogWarning(message);
}

void OrderedCopyEngine::NoteFallback(const Error& error, CopyReport& report) {
  ++report.fallback_count;
  report.fallback_reason = error.ToString();
  MutexLock lock(mutex_);
  ++totals_.fallback_count;
}

}  // namespace cofs
