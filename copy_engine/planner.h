// Planner: turns the pieces of a copy into commands for the drives below.
//
// A pure function. Cuts come from the limits of a command and from the borders of
// what lies below (partition, linear, stripes); pieces that land next to each other
// on one drive are joined into one command of many sources.
//
// Positions: byte p of a copy is the p-th byte of its pieces laid end to end. Each
// command knows the positions it covers, so that whatever has completed, in any
// order, maps to a prefix of the copy.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "copy_engine/copy_way.h"
#include "copy_engine/stack_map.h"

namespace cofs {

// One source range of a command, in bytes of the leaf.
struct CopySegment {
  uint64_t source = 0;
  uint64_t length_bytes = 0;
};

// A run of positions.
struct CopySpan {
  uint64_t position = 0;
  uint64_t length_bytes = 0;
};

// `segments` one after another to `destination`, all on one leaf.
struct CopyCommand {
  uint32_t leaf = 0;
  uint64_t destination = 0;
  uint64_t length_bytes = 0;
  std::vector<CopySegment> segments;
  // The positions of the command's bytes, in the order of its segments. Not one for
  // each segment: on stripes, one segment can hold bytes from far apart.
  std::vector<CopySpan> spans;

  // Bytes of the first `count` segments.
  uint64_t BytesOfSegments(size_t count) const;
};

struct CopyPlan {
  std::vector<CopyCommand> commands;
  // The commands cover exactly the positions [0, planned_bytes).
  uint64_t planned_bytes = 0;
  // Why the plan ends before the pieces do (kNotSupported): source and destination
  // on different drives, or a place that is not aligned.
  std::optional<Error> obstacle;
};

// kInvalidArgument for pieces that are empty, not block-aligned, outside the map or
// that overlap, and for limits that allow no command at all.
Result<CopyPlan> PlanCopy(std::span<const CopyPiece> pieces, const CopyLimits& limits,
                          const StackMap& map);

// Whether any destination shares a byte with a source or with another destination.
// Commands run in any order, so such pieces are never handed to a device.
bool PiecesOverlap(std::span<const CopyPiece> pieces);

// What has completed of a plan. Not thread-safe.
class CopyProgress {
 public:
  // The first `completed_bytes` bytes of `command` are in place.
  void Add(const CopyCommand& command, uint64_t completed_bytes);
  void AddAll(const CopyCommand& command) { Add(command, command.length_bytes); }
  // The longest prefix that is complete, in whole blocks.
  uint64_t PrefixBytes() const;

 private:
  std::vector<CopySpan> done_;
};

}  // namespace cofs
