#include "copy_engine/planner.h"

#include <algorithm>
#include <bit>

namespace cofs {
namespace {

constexpr size_t kNone = SIZE_MAX;

// `limit` cut down to whole blocks, or, where it is smaller than a block, to what
// the device can address: drives with 512-byte addresses and larger pages are slow
// on parts of a page.
uint64_t CutLimit(uint64_t limit, uint64_t alignment_bytes) {
  const uint64_t unit = std::max(alignment_bytes, kBlockBytes);
  return RoundDown(limit, limit >= unit ? unit : alignment_bytes);
}

Status CheckPieces(std::span<const CopyPiece> pieces, uint64_t size_bytes) {
  const auto inside = [&](DeviceOffset offset, uint64_t length_bytes) {
    return length_bytes <= size_bytes && offset.value() <= size_bytes - length_bytes;
  };
  for (const CopyPiece& piece : pieces) {
    if (piece.length_bytes == 0 || !IsBlockAligned(piece.length_bytes) ||
        !IsBlockAligned(piece.source.value()) ||
        !IsBlockAligned(piece.destination.value()))
      return Error(ErrorCode::kInvalidArgument, "piece of a copy not in whole blocks");
    if (!inside(piece.source, piece.length_bytes) ||
        !inside(piece.destination, piece.length_bytes))
      return Error(ErrorCode::kInvalidArgument, "piece of a copy outside the device");
  }
  if (PiecesOverlap(pieces))
    return Error(ErrorCode::kInvalidArgument, "pieces of a copy overlap");
  return OkStatus();
}

// Appends runs to commands; one command stays open for each leaf.
class CommandBuilder {
 public:
  CommandBuilder(const CopyLimits& limits, uint32_t leaf_count, CopyPlan& plan)
      : segment_bytes_max_(CutLimit(limits.segment_bytes_max, limits.alignment_bytes)),
        command_bytes_max_(CutLimit(limits.command_bytes_max, limits.alignment_bytes)),
        segments_max_(limits.segments_max),
        open_(leaf_count, kNone),
        plan_(plan) {}

  void Append(uint32_t leaf, uint64_t source, uint64_t destination, CopySpan span) {
    while (span.length_bytes > 0) {
      const uint64_t taken = TryExtend(leaf, source, destination, span);
      if (taken == 0) {
        open_[leaf] = plan_.commands.size();
        plan_.commands.push_back({.leaf = leaf,
                                  .destination = destination,
                                  .length_bytes = 0,
                                  .segments = {},
                                  .spans = {}});
        continue;
      }
      source += taken;
      destination += taken;
      span.position += taken;
      span.length_bytes -= taken;
    }
  }

 private:
  // Bytes that the open command of `leaf` could take, 0 when it takes none. A
  // command that was just opened always takes some.
  uint64_t TryExtend(uint32_t leaf, uint64_t source, uint64_t destination,
                     const CopySpan& span) {
    if (open_[leaf] == kNone) return 0;
    CopyCommand& command = plan_.commands[open_[leaf]];
    if (command.destination + command.length_bytes != destination) return 0;
    uint64_t room =
        std::min(span.length_bytes, command_bytes_max_ - command.length_bytes);
    if (room == 0) return 0;
    CopySegment* last = command.segments.empty() ? nullptr : &command.segments.back();
    if (last != nullptr && last->source + last->length_bytes == source &&
        last->length_bytes < segment_bytes_max_) {
      room = std::min(room, segment_bytes_max_ - last->length_bytes);
      last->length_bytes += room;
    } else if (command.segments.size() < segments_max_) {
      room = std::min(room, segment_bytes_max_);
      command.segments.push_back({.source = source, .length_bytes = room});
    } else {
      return 0;
    }
    AddSpan(command, span.position, room);
    return room;
  }

  static void AddSpan(CopyCommand& command, uint64_t position, uint64_t length_bytes) {
    command.length_bytes += length_bytes;
    if (!command.spans.empty()) {
      CopySpan& last = command.spans.back();
      if (last.position + last.length_bytes == position) {
        last.length_bytes += length_bytes;
        return;
      }
    }
    command.spans.push_back({.position = position, .length_bytes = length_bytes});
  }

  const uint64_t segment_bytes_max_;
  const uint64_t command_bytes_max_;
  const uint32_t segments_max_;
  std::vector<size_t> open_;  // by leaf: its open command
  CopyPlan& plan_;
};

std::optional<Error> ObstacleOf(const StackRun& source, const StackRun& destination,
                                uint64_t length_bytes, uint64_t alignment_bytes) {
  if (source.leaf != destination.leaf)
    return Error(ErrorCode::kNotSupported,
                 "source and destination lie on different drives");
  if ((source.offset | destination.offset | length_bytes) % alignment_bytes != 0)
    return Error(ErrorCode::kNotSupported,
                 StrCat("not aligned to ", alignment_bytes, " bytes below"));
  return std::nullopt;
}

}  // namespace

uint64_t CopyCommand::BytesOfSegments(size_t count) const {
  uint64_t bytes = 0;
  for (size_t i = 0; i < count && i < segments.size(); ++i)
    bytes += segments[i].length_bytes;
  return bytes;
}

bool PiecesOverlap(std::span<const CopyPiece> pieces) {
  struct Interval {
    uint64_t begin;
    uint64_t end;
    bool is_destination;
  };
  std::vector<Interval> intervals;
  intervals.reserve(pieces.size() * 2);
  for (const CopyPiece& piece : pieces) {
    const uint64_t source = piece.source.value(), destination = piece.destination.value();
    intervals.push_back({source, source + piece.length_bytes, false});
    intervals.push_back({destination, destination + piece.length_bytes, true});
  }
  std::sort(intervals.begin(), intervals.end(),
            [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
  uint64_t end_of_all = 0, end_of_destinations = 0;
  for (const Interval& interval : intervals) {
    if (interval.begin < (interval.is_destination ? end_of_all : end_of_destinations))
      return true;
    end_of_all = std::max(end_of_all, interval.end);
    if (interval.is_destination)
      end_of_destinations = std::max(end_of_destinations, interval.end);
  }
  return false;
}

Result<CopyPlan> PlanCopy(std::span<const CopyPiece> pieces, const CopyLimits& limits,
                          const StackMap& map) {
  const uint64_t alignment = limits.alignment_bytes;
  if (!std::has_single_bit(alignment) || limits.segments_max == 0 ||
      limits.segment_bytes_max < alignment || limits.command_bytes_max < alignment)
    return Error(ErrorCode::kInvalidArgument, "limits that allow no copy command");
  TRY(CheckPieces(pieces, map.size_bytes()));

  CopyPlan plan;
  CommandBuilder builder(limits, map.leaf_count(), plan);
  for (const CopyPiece& piece : pieces) {
    for (uint64_t done = 0; done < piece.length_bytes;) {
      const StackRun source = map.RunAt(piece.source.value() + done);
      const StackRun destination = map.RunAt(piece.destination.value() + done);
      const uint64_t length = std::min(
          {source.length_bytes, destination.length_bytes, piece.length_bytes - done});
      plan.obstacle = ObstacleOf(source, destination, length, alignment);
      if (plan.obstacle) return plan;
      builder.Append(source.leaf, source.offset, destination.offset,
                     {.position = plan.planned_bytes, .length_bytes = length});
      done += length;
      plan.planned_bytes += length;
    }
  }
  return plan;
}

void CopyProgress::Add(const CopyCommand& command, uint64_t completed_bytes) {
  for (const CopySpan& span : command.spans) {
    if (completed_bytes == 0) return;
    const uint64_t length = std::min(span.length_bytes, completed_bytes);
    completed_bytes -= length;
    if (!done_.empty() &&
        done_.back().position + done_.back().length_bytes == span.position)
      done_.back().length_bytes += length;
    else
      done_.push_back({.position = span.position, .length_bytes = length});
  }
}

uint64_t CopyProgress::PrefixBytes() const {
  std::vector<CopySpan> spans = done_;
  std::sort(spans.begin(), spans.end(),
            [](const CopySpan& a, const CopySpan& b) { return a.position < b.position; });
  uint64_t prefix = 0;
  for (const CopySpan& span : spans) {
    if (span.position > prefix) break;
    prefix = std::max(prefix, span.position + span.length_bytes);
  }
  return RoundDown(prefix, kBlockBytes);
}

}  // namespace cofs
