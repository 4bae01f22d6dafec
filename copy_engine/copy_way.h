// CopyWay: one way of carrying out a copy. Each way is one pair of files in this
// folder; the engine orders them, falls back from one to the next for the rest of
// the range, sets failing ways aside and keeps the totals.
//
// Thread-safety: Run() may be called from many threads at once.
// Invariants that every way keeps:
//  1. Run() returns only when every command it sent has completed, well or badly.
//     A timeout is not a completion: the blocks of a copy are free for other use,
//     and for the next way, as soon as Run() returns.
//  2. `completed_bytes` counts a prefix of the pieces in their order, in whole
//     blocks, and counts a block only after the command that copies it succeeded.
//     Commands may complete in any order; a hole ends the prefix.
//  3. A source is never written. Nothing outside the destinations is written.
//     Destinations beyond the prefix are undefined.
//  4. A way says what happened and does not fall back, retry later or log by
//     itself: that is the engine's part.
//  5. `interrupted` and `check_source` are called on the thread that called Run().
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "base/types.h"
#include "copy_engine/copy_engine.h"

namespace cofs {

// One call of Run(): the rest of a request that no earlier way has done.
struct CopyTask {
  // Not empty; block-aligned, inside the device, and free of overlaps: the engine
  // has checked it.
  std::span<const CopyPiece> pieces;
  // Commands (or chunks) in flight, at least 1.
  unsigned depth = 1;
  // May be empty. Polled before each command is sent; true: send no more, wait for
  // those in flight, answer kInterrupted.
  const std::function<bool()>& interrupted;
  // May be empty. For ways through whose memory the data passes: called for every
  // block of source before it is written. Its error ends the copy (kCopyFailed).
  const std::function<Status(DeviceOffset, std::span<const char>)>& check_source;
  // May be null. How long each command took, those that failed too.
  LatencyHistogram* latency = nullptr;
};

enum class CopyStop : uint8_t {
  kDone,           // all pieces
  kInterrupted,    // as asked for, with the prefix that is complete
  kNotApplicable,  // this way can't do these pieces (a border of what lies below, an
                   // alignment); says nothing about the next request
  kWayFailed,      // a command failed: the engine does the rest in another way, and
                   // sets this way aside for a while
  kCopyFailed,     // the copy itself is over: bad source data, or mapping changed below
                   // so that the destination must be abandoned. No other way is tried
};

struct CopyOutcome {
  CopyStop stop = CopyStop::kDone;
  uint64_t completed_bytes = 0;  // invariant 2
  uint64_t command_count = 0;    // sent, failed ones too
  // Set for kNotApplicable, kWayFailed and kCopyFailed; its text becomes the
  // fallback reason, or its code the error of the copy.
  std::optional<Error> error;
};

class CopyWay {
 public:
  virtual ~CopyWay() = default;
  virtual CopyWayId id() const = 0;
  // Constant over the life of the way.
  virtual const CopyLimits& limits() const = 0;
  virtual CopyOutcome Run(const CopyTask& task) = 0;
};

}  // namespace cofs
