// CopyRange::Copy: copies that move data.
#include "fs/core/copy_range.h"

#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>

#include "base/crc32c.h"
#include "fs/core/block_checksums.h"
#include "fs/core/block_writer.h"
#include "fs/core/copy_range_checks.h"
#include "fs/core/file_data.h"
#include "fs/core/mapping_change.h"

namespace cofs {
namespace {

// One step: one batch, and the time that a destination's range is locked.
constexpr uint64_t kStepBytesMax = 64 << 20;
constexpr uint64_t kMemoryBytesMax = 1 << 20;
// Holes of so much are punched, not written, by a copy through memory.
constexpr uint64_t kHoleBytesMin = 128 << 10;

// What the source maps, pinned.
struct SourceView {
  uint64_t length_bytes = 0;  // 0: at or past the end
  bool reaches_end = false;   // of the file
  std::vector<Extent> extents;
  Space::Pin pin;
};

// Blocks of the destination that hold the copy, not yet mapped.
struct CopiedBlocks {
  std::vector<Extent> extents;
  std::vector<uint32_t> crcs;
  std::vector<CopyPiece> pieces;
  Allocation allocation;
};

CopyPolicy EnginePolicy(CopyRangePolicy policy) {
  switch (policy) {
    case CopyRangePolicy::kDevice:
      return CopyPolicy::kDevice;
    case CopyRangePolicy::kBuffered:
      return CopyPolicy::kBuffered;
    case CopyRangePolicy::kAuto:
    case CopyRangePolicy::kShare:
      break;
  }
  return CopyPolicy::kAuto;
}

// What lies below has changed, or a command may still run: the destination's blocks must
// not be used for anything any more.
bool MustAbandon(const Error& error) {
  return error.code() == ErrorCode::kRetry || error.code() == ErrorCode::kTimedOut;
}

class Copier {
 public:
  Copier(Core& core, const CopyRangeRequest& request)
      : core_(core), request_(request),
        policy_(request.policy.value_or(core.options.copy)), source_(*request.source),
        destination_(*request.destination),
        report_(request.report != nullptr ? *request.report : unwanted_report_) {}

  Result<uint64_t> Run(uint64_t length_bytes);

 private:
  bool IsInterrupted() const { return request_.interrupted && request_.interrupted(); }
  Result<uint64_t> Step(FileOffset from, FileOffset to, uint64_t length_bytes);
  // nullopt: what is there has to go through memory.
  Result<std::optional<uint64_t>> Share(FileOffset from, FileOffset to,
                                        uint64_t length_bytes);
  Result<std::optional<uint64_t>> CopyBlocks(FileOffset from, FileOffset to,
                                             uint64_t length_bytes);
  Result<uint64_t> CopyThroughMemory(FileOffset from, FileOffset to, uint64_t length_bytes);
  Result<uint64_t> CopyUnaligned(FileOffset from, FileOffset to, uint64_t length_bytes);
  Result<uint64_t> CopyHole(FileOffset to, uint64_t length_bytes);
  // How much of the source from `from` on maps nothing.
  Result<uint64_t> UnmappedBytes(FileOffset from, uint64_t length_bytes)
      EXCLUDES(source_.mutex);

  Result<SourceView> Look(FileOffset from, uint64_t length_bytes) EXCLUDES(source_.mutex);
  Result<CopiedBlocks> Prepare(const SourceView& view, FileOffset from, FileOffset to,
                               FileOffset end) EXCLUDES(destination_.mutex);
  // How far the destination is complete; nullopt as above.
  Result<std::optional<FileOffset>> Carry(const CopiedBlocks& copied, FileOffset end,
                                          CopyPolicy policy);
  void NoteFallback(FallbackReason reason, uint64_t bytes, std::string words);
  uint64_t DestinationSize() EXCLUDES(destination_.mutex) {
    SharedLock lock(destination_.mutex);
    return destination_.record.size_bytes;
  }

  Core& core_;
  const CopyRangeRequest& request_;
  const CopyRangePolicy policy_;
  Inode& source_;
  Inode& destination_;
  CopyRangeReport unwanted_report_;
  CopyRangeReport& report_;
  AlignedBuffer buffer_;
};

Result<SourceView> Copier::Look(FileOffset from, uint64_t length_bytes) {
  SourceView view;
  SharedLock lock(source_.mutex);
  const uint64_t size_bytes = source_.record.size_bytes;
  if (from.value() >= size_bytes) return view;
  const FileOffset wanted_end = from + std::min(length_bytes, size_bytes - from.value());
  const FileOffset block_end{RoundUp(wanted_end.value(), kBlockBytes)};
  TRY_ASSIGN(const ExtentCache::Found found,
             FindExtents(core_, source_, from, block_end, kBatchExtentCountMax, false));
  const FileOffset end = std::min(wanted_end, found.complete_to);
  view.length_bytes = end - from;
  view.reaches_end = end.value() == size_bytes;
  std::vector<DeviceRange> pinned;
  for (const Extent& extent : found.extents) {
    const Extent piece = Clip(extent, from, std::min(block_end, found.complete_to));
    if (piece.length_bytes == 0) continue;
    view.extents.push_back(piece);
    if (!piece.unwritten()) pinned.push_back({piece.device_offset, piece.length_bytes});
  }
  // Nothing that is pinned is written in place or reused: no lock is needed on the
  // source while the copy runs.
  view.pin = core_.space->PinRanges(std::move(pinned));
  return view;
}

Result<CopiedBlocks> Copier::Prepare(const SourceView& view, FileOffset from, FileOffset to,
                                     FileOffset end) {
  CopiedBlocks copied;
  const FileOffset source_end = from + (end - to);
  std::vector<Extent> old;
  std::optional<DeviceOffset> goal;
  {
    SharedLock lock(destination_.mutex);
    TRY_ASSIGN(ExtentCache::Found found,
               FindExtents(core_, destination_, to, end, SIZE_MAX, /*neighbours=*/true));
    old = std::move(found.extents);
    goal = GoalFor(destination_, old, to);
  }
  const SpacePurpose purpose =
      IsOverwrite(old, to, end) ? SpacePurpose::kOverwrite : SpacePurpose::kGrowth;
  TRY_ASSIGN(copied.allocation,
             Allocation::Take(*core_.space, MappedBytes(view.extents, from, source_end),
                              goal, purpose));
  copied.crcs.resize((end - to) / kBlockBytes);
  ChecksumReader checksums(*core_.store);
  for (const Extent& extent : view.extents) {
    const Extent piece = Clip(extent, from, source_end);
    for (uint64_t at = 0; at < piece.length_bytes;) {
      const DeviceRange run = copied.allocation.Next(piece.length_bytes - at);
      const DeviceOffset source = piece.device_offset + at;
      const FileOffset place = to + (piece.file_offset + at - from);
      const uint8_t flags = piece.unwritten() ? kExtentUnwritten : 0;
      copied.extents.push_back({place, run.offset, run.length_bytes, flags});
      at += run.length_bytes;
      if (piece.unwritten()) continue;
      copied.pieces.push_back({source, run.offset, run.length_bytes});
      std::vector<uint32_t> crcs;
      TRY(checksums.Append({source, run.length_bytes}, crcs));
      std::ranges::copy(crcs, copied.crcs.begin() +
                                  static_cast<std::ptrdiff_t>((place - to) / kBlockBytes));
    }
    if (piece.length_bytes > 0)
      destination_.placement.Note(copied.extents.back().file_end(),
                                  copied.extents.back().device_end());
  }
  return copied;
}

void Copier::NoteFallback(FallbackReason reason, uint64_t bytes, std::string words) {
  FallbackCount& count = report_.engine.fallbacks[static_cast<size_t>(reason)];
  ++count.count;
  count.bytes += bytes;
  ++report_.engine.fallback_count;
  report_.engine.fallback_reason = count.last_words = std::move(words);
}

Result<std::optional<FileOffset>> Copier::Carry(const CopiedBlocks& copied, FileOffset end,
                                                CopyPolicy policy) {
  if (copied.pieces.empty()) return std::optional(end);
  ChecksumReader checksums(*core_.store);
  CopyRequest request;
  request.pieces = copied.pieces;
  request.policy = policy;
  request.verify = core_.options.verify_copy.get();
  request.interrupted = request_.interrupted;
  request.check_source = [&](DeviceOffset source, std::span<const char> data) -> Status {
    for (uint64_t at = 0; at < data.size(); at += kBlockBytes) {
      TRY_ASSIGN(const uint32_t crc, checksums.Get(source + at));
      if (Crc32c(data.data() + at, kBlockBytes) != crc)
        return Error(ErrorCode::kChecksum, StrCat("copy of the block at ", source + at));
    }
    return OkStatus();
  };
  const Result<CopyReport> report = core_.copies->Copy(request);
  if (!report.ok()) {
    // Bad blocks are read again one by one on the way through memory, which brings what
    // is good before them and says which is bad.
    const bool is_bad_source =
        report.Is(ErrorCode::kChecksum) || report.Is(ErrorCode::kIo);
    if (is_bad_source && policy_ != CopyRangePolicy::kDevice) {
      core_.counters.bad_source_count.fetch_add(1, std::memory_order_relaxed);
      NoteFallback(FallbackReason::kBadSource, MappedBytes(copied.extents, FileOffset{}, end),
                   report.error().ToString());
      return std::optional<FileOffset>{};
    }
    return report.error();
  }
  report_.engine.Add(*report);
  uint64_t left_bytes = report->completed_bytes;
  for (const Extent& extent : copied.extents) {
    if (extent.unwritten()) continue;
    if (left_bytes < extent.length_bytes) {
      const FileOffset complete = extent.file_offset + RoundDown(left_bytes, kBlockBytes);
      if (complete == copied.extents.front().file_offset && IsInterrupted())
        return Error(ErrorCode::kInterrupted, "copy");
      return std::optional(complete);
    }
    left_bytes -= extent.length_bytes;
  }
  return std::optional(end);
}

Result<std::optional<uint64_t>> Copier::CopyBlocks(FileOffset from, FileOffset to,
                                                   uint64_t length_bytes) {
  const auto hold = destination_.data_lock.Acquire(
      to.value(), RoundUp(to.value() + length_bytes, kBlockBytes));
  TRY_ASSIGN(const SourceView view, Look(from, length_bytes));
  length_bytes = view.length_bytes;
  if (length_bytes == 0) return std::optional<uint64_t>(0);
  // The last block of a file holds zeros behind its end: it can be copied as a whole when
  // it becomes the last block of the destination.
  if (!view.reaches_end || to.value() + length_bytes < DestinationSize())
    length_bytes = RoundDown(length_bytes, kBlockBytes);
  if (length_bytes == 0) return std::optional<uint64_t>{};

  const FileOffset end{RoundUp(to.value() + length_bytes, kBlockBytes)};
  TRY_ASSIGN(CopiedBlocks copied, Prepare(view, from, to, end));
  Result<std::optional<FileOffset>> carried = Carry(copied, end, EnginePolicy(policy_));
  if (!carried.ok() && MustAbandon(carried.error())) {
    copied.allocation.Abandon();
    if (policy_ == CopyRangePolicy::kDevice)
      return Error(ErrorCode::kNotSupported, carried.error().ToString());
    NoteFallback(FallbackReason::kChangedBelow, length_bytes, carried.error().ToString());
    TRY_ASSIGN(copied, Prepare(view, from, to, end));
    carried = Carry(copied, end, CopyPolicy::kBuffered);
  }
  TRY_ASSIGN(const std::optional<FileOffset> complete, std::move(carried));
  if (!complete || *complete == to) {
    if (policy_ == CopyRangePolicy::kDevice)
      return Error(ErrorCode::kIo, "the device copied nothing");
    return std::optional<uint64_t>{};
  }
  if (*complete < end) {
    length_bytes = *complete - to;
    std::vector<Extent> kept;
    for (const Extent& extent : copied.extents)
      if (const Extent piece = Clip(extent, to, *complete); piece.length_bytes > 0)
        kept.push_back(piece);
    copied.extents = std::move(kept);
    copied.allocation.CutUsed(MappedBytes(copied.extents, to, *complete));
  }
  ExclusiveLock lock(destination_.mutex);
  TRY(ApplyMapping(core_, destination_,
                   {.begin = to,
                    .end = *complete,
                    .replacement = copied.extents,
                    .crcs = copied.crcs,
                    .allocation = &copied.allocation,
                    .kill_privileges = request_.kill_privileges,
                    .edit = [&](InodeRecord& record) {
                      record.size_bytes =
                          std::max(record.size_bytes, to.value() + length_bytes);
                      record.mtime = record.ctime = Now();
                    }}));
  report_.hole_bytes += *complete - to;
  for (const Extent& extent : copied.extents)
    if (!extent.unwritten()) report_.hole_bytes -= extent.length_bytes;
  return std::optional(length_bytes);
}

Result<uint64_t> Copier::CopyHole(FileOffset to, uint64_t length_bytes) {
  TRY(FileData(core_).Allocate(request_.destination,
                               FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, to,
                               length_bytes));
  ExclusiveLock lock(destination_.mutex);
  TRY(ApplyMapping(core_, destination_,
                   {.kill_privileges = request_.kill_privileges,
                    .edit = [&](InodeRecord& record) {
                      record.size_bytes =
                          std::max(record.size_bytes, to.value() + length_bytes);
                      record.mtime = record.ctime = Now();
                    }}));
  report_.hole_bytes += length_bytes;
  return length_bytes;
}

Result<uint64_t> Copier::UnmappedBytes(FileOffset from, uint64_t length_bytes) {
  SharedLock lock(source_.mutex);
  const uint64_t size_bytes = source_.record.size_bytes;
  if (from.value() >= size_bytes) return uint64_t{0};
  const FileOffset end = from + std::min(length_bytes, size_bytes - from.value());
  TRY_ASSIGN(const ExtentCache::Found found,
             FindExtents(core_, source_, from, end, 1, false));
  const FileOffset mapped = found.extents.empty() ? end : found.extents.front().file_offset;
  return mapped > from ? mapped - from : 0;
}

Result<uint64_t> Copier::CopyThroughMemory(FileOffset from, FileOffset to,
                                           uint64_t length_bytes) {
  FileData data(core_);
  const auto next_data = data.Seek(request_.source, from, SEEK_DATA);
  if (!next_data.ok() && !next_data.Is(ErrorCode::kSeekPastEnd)) return next_data.error();
  uint64_t hole_bytes = next_data.ok() ? *next_data - from : length_bytes;
  if (!next_data.ok()) {
    SharedLock lock(source_.mutex);
    const uint64_t size_bytes = source_.record.size_bytes;
    hole_bytes = size_bytes > from.value() ? size_bytes - from.value() : 0;
  }
  hole_bytes = std::min(hole_bytes, length_bytes);
  if (hole_bytes >= kHoleBytesMin) return CopyHole(to, hole_bytes);
  const auto read = data.Read(request_.source, from, std::min(length_bytes, kMemoryBytesMax),
                              buffer_);
  if (!read.ok()) {
    // A bad block does not take those before it along.
    if (!read.Is(ErrorCode::kChecksum) && !read.Is(ErrorCode::kIo)) return read.error();
    const uint64_t to_block_end = kBlockBytes - from.value() % kBlockBytes;
    if (length_bytes <= to_block_end) return read.error();
    const uint64_t half =
        std::max(RoundDown(std::min(length_bytes, kMemoryBytesMax) / 2, kBlockBytes),
                 to_block_end);
    return CopyThroughMemory(from, to, half);
  }
  if (read->empty()) return uint64_t{0};
  TRY(data.Write(request_.destination, to, *read,
                 {.kill_privileges = request_.kill_privileges}));
  report_.memory_bytes += read->size();
  core_.counters.copied_by_memory_bytes.fetch_add(read->size(), std::memory_order_relaxed);
  return uint64_t{read->size()};
}

Result<std::optional<uint64_t>> Copier::Share(FileOffset from, FileOffset to,
                                              uint64_t length_bytes) {
  CopyRangeRequest request = request_;
  request.source_offset = from;
  request.destination_offset = to;
  CopyRange copies(core_);
  for (const uint64_t bytes : {length_bytes, RoundDown(length_bytes, kBlockBytes)}) {
    if (bytes == 0) break;
    request.length_bytes = bytes;
    const Status cloned = copies.Clone(request);
    if (cloned.ok()) return std::optional(bytes);
    if (!cloned.Is(ErrorCode::kInvalidArgument)) return cloned.error();
  }
  return std::optional<uint64_t>{};
}

Result<uint64_t> Copier::CopyUnaligned(FileOffset from, FileOffset to,
                                       uint64_t length_bytes) {
  TRY_ASSIGN(const uint64_t copied_bytes, CopyThroughMemory(from, to, length_bytes));
  FallbackCount& count =
      report_.engine.fallbacks[static_cast<size_t>(FallbackReason::kUnaligned)];
  if (count.count == 0) {
    count.count = 1;
    count.last_words = "source and destination are not aligned alike";
    core_.counters.unaligned_copy_count.fetch_add(1, std::memory_order_relaxed);
  }
  count.bytes += copied_bytes;
  return copied_bytes;
}

Result<uint64_t> Copier::Step(FileOffset from, FileOffset to, uint64_t length_bytes) {
  const uint64_t to_block_end = kBlockBytes - from.value() % kBlockBytes;
  if (from.value() % kBlockBytes != to.value() % kBlockBytes) {
    if (policy_ == CopyRangePolicy::kDevice)
      return Error(ErrorCode::kNotSupported, "a device copies whole blocks");
    return CopyUnaligned(from, to, length_bytes);
  }
  if (to_block_end < kBlockBytes)
    return CopyThroughMemory(from, to, std::min(length_bytes, to_block_end));
  if (policy_ == CopyRangePolicy::kShare) {
    TRY_ASSIGN(const auto shared, Share(from, to, length_bytes));
    if (shared) return *shared;
  }
  if (length_bytes > kStepBytesMax) {
    TRY_ASSIGN(const uint64_t hole_bytes, UnmappedBytes(from, length_bytes));
    if (hole_bytes > kStepBytesMax) return CopyHole(to, hole_bytes);
  }
  const uint64_t step_bytes = std::min(length_bytes, kStepBytesMax);
  TRY(core_.store->AdmitGrowth(BatchBytesMax(kBatchExtentCountMax, step_bytes)));
  TRY_ASSIGN(const auto copied, CopyBlocks(from, to, step_bytes));
  if (copied) return *copied;
  return CopyThroughMemory(from, to, step_bytes);
}

Result<uint64_t> Copier::Run(uint64_t length_bytes) {
  uint64_t done_bytes = 0;
  while (done_bytes < length_bytes) {
    const bool is_interrupted = IsInterrupted();
    if (is_interrupted && done_bytes > 0) break;
    if (is_interrupted) return Error(ErrorCode::kInterrupted, "copy");
    const auto step = Step(request_.source_offset + done_bytes,
                           request_.destination_offset + done_bytes,
                           length_bytes - done_bytes);
    if (!step.ok() && done_bytes == 0) return step.error();
    if (!step.ok() || *step == 0) break;
    done_bytes += *step;
  }
  return done_bytes;
}

}  // namespace

void AddReport(const CopyRangeReport& report, CopyRangeReport& sum) {
  sum.engine.Add(report.engine);
  sum.memory_bytes += report.memory_bytes;
  sum.shared_bytes += report.shared_bytes;
  sum.hole_bytes += report.hole_bytes;
}

Result<uint64_t> CopyRange::Copy(const CopyRangeRequest& request) {
  TRY(CheckCopyFiles(core_, *request.source, *request.destination));
  if (request.destination_offset.value() > kFileBytesMax ||
      request.source_offset.value() > kFileBytesMax)
    return Error(ErrorCode::kFileTooLarge, "copy");
  uint64_t length_bytes = request.length_bytes;
  {
    SharedLock lock(request.source->mutex);
    const uint64_t size_bytes = request.source->record.size_bytes;
    if (request.source_offset.value() >= size_bytes) return uint64_t{0};
    length_bytes = std::min(length_bytes, size_bytes - request.source_offset.value());
  }
  if (length_bytes == 0) return uint64_t{0};
  const uint64_t room_bytes = kFileBytesMax - request.destination_offset.value();
  if (room_bytes == 0) return Error(ErrorCode::kFileTooLarge, "copy");
  length_bytes = std::min(length_bytes, room_bytes);
  if (request.source == request.destination &&
      Overlap(request.source_offset, request.destination_offset, length_bytes))
    return Error(ErrorCode::kInvalidArgument, "a copy onto itself");

  const Result<uint64_t> copied = Copier(core_, request).Run(length_bytes);
  if (!copied.ok()) return copied;
  core_.counters.copied_bytes.fetch_add(*copied, std::memory_order_relaxed);
  core_.counters.copy_count.fetch_add(1, std::memory_order_relaxed);
  TRY(core_.committer->CommitIfSync());
  return copied;
}

}  // namespace cofs
