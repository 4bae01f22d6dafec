// What goes in and out of a scrub: the verification of all data and metadata of a volume
// while it is mounted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/types.h"

namespace cofs {

struct ScrubRequest {
  // At most so much is read; 0: no limit. Foreground I/O goes first with any limit.
  uint64_t bytes_per_second = 100 << 20;
  // Goes on where the last one stopped, if it did; else from the start.
  bool resumes = false;
};

enum class ScrubState : uint8_t {
  kNone,      // there never was one
  kRunning,
  kStopped,   // can be resumed
  kFinished,
  kFailed,    // could not go on; can be resumed
};

// One damaged place: blocks of a file that follow each other, or a place of the metadata.
struct ScrubDamage {
  InodeId inode;  // 0: of the metadata
  // From the root, each beginning with a slash; a file without a name, or one whose name
  // has not been looked up yet, has none. At most kScrubPathsMax of a file with many.
  std::vector<std::string> paths;
  FileOffset file_offset;
  DeviceOffset device_offset;
  uint64_t length_bytes = 0;
  std::string reason;
};
inline constexpr size_t kScrubPathsMax = 8;

struct ScrubReport {
  ScrubState state = ScrubState::kNone;
  bool in_metadata = false;  // running: not at the files yet
  uint64_t bytes_per_second = 0;
  uint64_t done_bytes = 0, total_bytes = 0;  // the total is an estimate until it ends
  uint64_t run_bytes = 0;                    // of those done, since it was started or resumed
  double run_seconds = 0;
  int64_t started_s = 0, ended_s = 0;  // since 1970; ended: 0 while it runs
  // Places found, also before it was resumed; the list has those found since, and at most
  // a thousand of them.
  uint64_t damage_count = 0;
  std::vector<ScrubDamage> damage;
  std::string error;  // of kFailed
};

}  // namespace cofs
