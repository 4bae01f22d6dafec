#include "copy_engine/copy_probe.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <random>

#include "base/aligned_buffer.h"
#include "copy_engine/device_stack.h"
#include "copy_engine/host_file_way.h"
#include "copy_engine/nvme_copy_way.h"
#include "copy_engine/scsi_xcopy_way.h"
#include "copy_engine/stacked_copy_way.h"

namespace cofs {
namespace {

// Tried one after another where a device is made of stripes.
constexpr uint64_t kSmallTrialsMax = 64;

// Different in each word of the scratch and in each trial, so that no trial passes on
// what an earlier one left behind.
void FillRandom(std::span<char> out) {
  std::mt19937_64 random(std::random_device{}());
  for (size_t i = 0; i < out.size(); i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(out.data() + i, &word, sizeof(word));
  }
}

// One trial: part of the scratch, and pieces in it that change places, so that a way
// with many sources has to keep their order. Around the destination stay blocks that
// must not change.
struct Trial {
  DeviceRange range;
  std::vector<CopyPiece> pieces;
};

// The first half is source, the second destination.
Trial WholeTrial(DeviceRange scratch) {
  const uint64_t blocks =
      std::min(scratch.length_bytes, kProbeScratchBytesMax) / kBlockBytes;
  const uint64_t copied = blocks / 2 - 2;
  const uint64_t first = (copied + 1) / 2, second = copied - first;
  const DeviceOffset target = scratch.offset + (blocks / 2 + 1) * kBlockBytes;
  Trial trial{.range = {scratch.offset, blocks * kBlockBytes}, .pieces = {}};
  trial.pieces.push_back(
      {scratch.offset + second * kBlockBytes, target, first * kBlockBytes});
  trial.pieces.push_back(
      {scratch.offset, target + first * kBlockBytes, second * kBlockBytes});
  return trial;
}

// Two blocks to the two behind them, from block `first` of the scratch on.
Trial SmallTrial(DeviceRange scratch, uint64_t first) {
  const DeviceOffset start = scratch.offset + first * kBlockBytes;
  Trial trial{.range = {start, 5 * kBlockBytes}, .pieces = {}};
  trial.pieces.push_back({start + kBlockBytes, start + 2 * kBlockBytes, kBlockBytes});
  trial.pieces.push_back({start, start + 3 * kBlockBytes, kBlockBytes});
  return trial;
}

// kNotSupported when the way can't do these pieces.
Status Run(const Trial& trial, CopyWay& way, BlockDevice& device) {
  AlignedBuffer before(trial.range.length_bytes), after(trial.range.length_bytes);
  FillRandom(before.span());
  TRY(device.Write(trial.range.offset, before.span()));

  const std::function<bool()> not_interrupted;
  const std::function<Status(DeviceOffset, std::span<const char>)> not_checked;
  const CopyOutcome outcome = way.Run({.pieces = trial.pieces,
                                       .depth = 4,
                                       .interrupted = not_interrupted,
                                       .check_source = not_checked});
  if (outcome.stop == CopyStop::kNotApplicable)
    return Error(ErrorCode::kNotSupported,
                 outcome.error ? outcome.error->context() : "declined");
  if (outcome.error)
    return outcome.error->code() == ErrorCode::kNotSupported
               ? Error(ErrorCode::kIo, outcome.error->context())
               : *outcome.error;
  if (outcome.stop != CopyStop::kDone)
    return Error(ErrorCode::kIo, "the trial copy ended early");

  TRY(device.Read(trial.range.offset, after.span()));
  for (const CopyPiece& piece : trial.pieces)
    std::memcpy(before.data() + (piece.destination - trial.range.offset),
                before.data() + (piece.source - trial.range.offset), piece.length_bytes);
  for (uint64_t at = 0; at < trial.range.length_bytes; at += kBlockBytes)
    if (std::memcmp(before.data() + at, after.data() + at, kBlockBytes) != 0)
      return Error(ErrorCode::kIo, StrCat("the trial copy gave other bytes, at ",
                                          trial.range.offset + at));
  return OkStatus();
}

// Of one measurement: a few runs, so that a moment of a busy machine does not count; fewer
// where they are slow.
constexpr std::chrono::milliseconds kMeasureBudget{20};
constexpr std::chrono::milliseconds kMeasureBudgetMax{100};
constexpr int kMeasureCountMin = 3;
constexpr int kMeasureCountMax = 8;

// The shortest of a few runs of `once`, in microseconds.
template <typename Once>
Result<double> ShortestRun(Once once) {
  using Clock = std::chrono::steady_clock;
  const auto first = Clock::now();
  double shortest_us = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kMeasureCountMax; ++i) {
    const auto begin = Clock::now();
    TRY(once());
    const auto end = Clock::now();
    shortest_us = std::min(
        shortest_us, std::chrono::duration<double, std::micro>(end - begin).count());
    const auto elapsed = end - first;
    if (elapsed >= kMeasureBudgetMax) break;
    if (elapsed >= kMeasureBudget && i + 1 >= kMeasureCountMin) break;
  }
  return shortest_us;
}

Status CopyOnce(CopyWay& way, CopyPiece piece) {
  const std::function<bool()> not_interrupted;
  const std::function<Status(DeviceOffset, std::span<const char>)> not_checked;
  const CopyOutcome outcome = way.Run({.pieces = {&piece, 1},
                                       .depth = 4,
                                       .interrupted = not_interrupted,
                                       .check_source = not_checked});
  if (outcome.error) return *outcome.error;
  if (outcome.stop != CopyStop::kDone)
    return Error(ErrorCode::kIo, "a copy to be measured ended early");
  return OkStatus();
}

class Finder {
 public:
  Finder(BlockDevice& device, LazyScratch& scratch, std::span<const CopyWayId> known)
      : device_(device), scratch_(scratch), known_(known) {}

  // Whether it was taken. `open` gives a Result of a pointer to a way that has
  // description().
  template <typename Open>
  bool Offer(CopyWayId id, Open open) {
    if (IsKnown(id)) return true;
    WayFinding finding;
    finding.way = id;
    auto way = open();
    if (!way.ok()) {
      finding.reason = way.Is(ErrorCode::kNotSupported) ? way.error().context()
                                                        : way.error().ToString();
      return Note(std::move(finding), nullptr);
    }
    finding.description = (*way)->description();
    finding.limits = (*way)->limits();
    ProveWay(**way, device_, scratch_, finding);
    return Note(std::move(finding), *std::move(way));
  }

  void Absent(CopyWayId id, std::string reason) {
    if (IsKnown(id)) return;
    WayFinding finding;
    finding.way = id;
    finding.is_for_good = true;
    finding.reason = std::move(reason);
    Note(std::move(finding), nullptr);
  }

  std::vector<std::unique_ptr<CopyWay>> ways;
  std::vector<WayFinding> findings;

 private:
  // One finding for each way: a later, better one replaces it.
  bool Note(WayFinding finding, std::unique_ptr<CopyWay> way) {
    const bool taken = finding.state >= WayFinding::State::kFound;
    const auto same =
        std::find_if(findings.begin(), findings.end(),
                     [&](const WayFinding& known) { return known.way == finding.way; });
    if (same == findings.end()) {
      findings.push_back(std::move(finding));
    } else if (finding.state > same->state) {
      *same = std::move(finding);
    }
    if (taken) ways.push_back(std::move(way));
    return taken;
  }

  bool IsKnown(CopyWayId id) const {
    return std::find(known_.begin(), known_.end(), id) != known_.end();
  }

  BlockDevice& device_;
  LazyScratch& scratch_;
  const std::span<const CopyWayId> known_;
};

void FindDriveWays(Finder& finder, BlockNumber number) {
  const std::shared_ptr<StackSource> source = NewSystemStackSource();
  const auto nvme = [&](NvmeTransport transport) {
    return [=] {
      return StackedCopyWay::Open(
          CopyWayId::kNvmeCopy, source, number,
          [=](const DeviceStack& stack) { return OpenNvmeRunner(stack, transport); });
    };
  };
  // The second where the kernel refuses the first, or has no generic device.
  if (!finder.Offer(CopyWayId::kNvmeCopy, nvme(NvmeTransport::kUring)))
    finder.Offer(CopyWayId::kNvmeCopy, nvme(NvmeTransport::kIoctl));
  finder.Offer(CopyWayId::kScsiXcopy, [&] {
    return StackedCopyWay::Open(CopyWayId::kScsiXcopy, source, number, OpenScsiRunner);
  });
}

}  // namespace

std::string_view NameOf(WayFinding::State state) {
  switch (state) {
    case WayFinding::State::kAbsent:
      return "absent";
    case WayFinding::State::kFailed:
      return "failed";
    case WayFinding::State::kFound:
      return "found";
    case WayFinding::State::kProved:
      return "proved";
  }
  return "";
}

Status TryWay(CopyWay& way, BlockDevice& device, DeviceRange scratch) {
  if (scratch.length_bytes < kProbeScratchBytesMin)
    return Error(ErrorCode::kInvalidArgument, "too few scratch blocks for a trial");
  TRY(CheckRange(device.geometry(), scratch.offset, scratch.length_bytes));
  const Status whole = Run(WholeTrial(scratch), way, device);
  if (!whole.Is(ErrorCode::kNotSupported)) return whole;
  // On stripes, source and destination of a copy may be on different drives; close
  // together, inside one chunk, they are on the same somewhere.
  const uint64_t blocks =
      std::min(scratch.length_bytes / kBlockBytes, kSmallTrialsMax + 4);
  for (uint64_t first = 0; first + 5 <= blocks; ++first) {
    const Status small = Run(SmallTrial(scratch, first), way, device);
    if (!small.Is(ErrorCode::kNotSupported)) return small;
  }
  return whole;
}

Result<CopyCost> MeasureWay(CopyWay& way, DeviceRange scratch) {
  const uint64_t half_bytes =
      RoundDown(std::min(scratch.length_bytes, kProbeScratchBytesMax) / 2, kBlockBytes);
  // Each run from a place one block further on or back: a file system that shares blocks
  // has less to do where they are shared already.
  const auto measure = [&](uint64_t bytes) {
    uint64_t run = 0;
    return ShortestRun([&] {
      return CopyOnce(way, {scratch.offset + (run++ % 2) * kBlockBytes,
                            scratch.offset + half_bytes, bytes});
    });
  };
  const uint64_t small_bytes = kBlockBytes, large_bytes = half_bytes - kBlockBytes;
  TRY_ASSIGN(const double small_us, measure(small_bytes));
  TRY_ASSIGN(const double large_us, measure(large_bytes));
  return CostFromMeasurement(small_bytes, small_us, large_bytes, large_us);
}

Result<double> MeasureReadBack(BlockDevice& device, DeviceRange scratch) {
  const uint64_t bytes = RoundDown(std::min<uint64_t>(scratch.length_bytes / 2, 64 << 10),
                                   kBlockBytes);
  AlignedBuffer first(bytes), second(bytes);
  return ShortestRun([&] {
    IoOp reads[2] = {{.offset = scratch.offset, .data = first.data(), .length_bytes = bytes},
                     {.offset = scratch.offset + bytes,
                      .data = second.data(),
                      .length_bytes = bytes}};
    return device.Execute(reads);
  });
}

LazyScratch::LazyScratch(std::optional<DeviceRange> range)
    : is_asked_(true), range_(range) {}

LazyScratch::~LazyScratch() {
  if (source_ != nullptr && range_) source_->Return(*range_);
}

std::optional<DeviceRange> LazyScratch::Get() {
  if (is_asked_ || source_ == nullptr) return range_;
  is_asked_ = true;
  const Result<DeviceRange> borrowed = source_->Borrow(kProbeScratchBytesMax);
  if (borrowed.ok()) {
    range_ = *borrowed;
  } else {
    why_ = borrowed.error().ToString();
  }
  return range_;
}

void LazyScratch::Abandon() {
  range_.reset();
  why_ = "a command may still run in the scratch blocks";
}

void ProveWay(CopyWay& way, BlockDevice& device, LazyScratch& scratch,
              WayFinding& finding) {
  finding.state = WayFinding::State::kFound;
  const std::optional<DeviceRange> range = scratch.Get();
  if (!range) {
    finding.reason = "not tried: " + scratch.why();
    return;
  }
  const Status tried = TryWay(way, device, *range);
  if (!tried.ok()) {
    finding.state = WayFinding::State::kFailed;
    finding.reason = tried.error().context();
    if (tried.Is(ErrorCode::kRetry) || tried.Is(ErrorCode::kTimedOut)) scratch.Abandon();
    return;
  }
  finding.state = WayFinding::State::kProved;
  const Result<CopyCost> cost = MeasureWay(way, *range);
  if (cost.ok()) {
    finding.cost = *cost;
  } else if (cost.Is(ErrorCode::kRetry) || cost.Is(ErrorCode::kTimedOut)) {
    finding.state = WayFinding::State::kFailed;
    finding.reason = cost.error().ToString();
    scratch.Abandon();
  }
}

std::vector<std::unique_ptr<CopyWay>> FindWays(BlockDevice& device,
                                               std::optional<DeviceRange> scratch,
                                               std::vector<WayFinding>* findings) {
  LazyScratch given(scratch);
  return FindWays(device, given, {}, findings);
}

std::vector<std::unique_ptr<CopyWay>> FindWays(BlockDevice& device, LazyScratch& scratch,
                                               std::span<const CopyWayId> known,
                                               std::vector<WayFinding>* findings) {
  Finder finder(device, scratch, known);
  const int fd = device.native_fd();
  struct stat info;
  std::string reason;
  if (fd < 0 || ::fstat(fd, &info) != 0)
    reason = "neither a block device nor an image file";
  else if (device.geometry().is_read_only)
    reason = "open read-only";
  else if (S_ISBLK(info.st_mode) && !device.geometry().is_direct)
    reason = "the device is used through the page cache, which copies by a drive pass by";
  if (!reason.empty()) {
    for (const CopyWayId id :
         {CopyWayId::kNvmeCopy, CopyWayId::kScsiXcopy, CopyWayId::kHostFile})
      finder.Absent(id, reason);
  } else if (S_ISBLK(info.st_mode)) {
    FindDriveWays(finder, {major(info.st_rdev), minor(info.st_rdev)});
    finder.Absent(CopyWayId::kHostFile, "not an image file");
  } else {
    for (const CopyWayId id : {CopyWayId::kNvmeCopy, CopyWayId::kScsiXcopy})
      finder.Absent(id, "an image file, not a drive");
    finder.Offer(CopyWayId::kHostFile, [&] { return HostFileWay::Open(fd); });
  }
  if (findings != nullptr) *findings = std::move(finder.findings);
  return std::move(finder.ways);
}

}  // namespace cofs
