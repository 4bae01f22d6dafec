// cofs top: what a mounted volume does, once a second.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cofs {

struct TopOptions {
  double interval_s = 1;
  uint64_t count = 0;  // lines; 0: until interrupted
};

// Counters that only grow, and what is free, of one statistics text.
struct TopSample {
  uint64_t reads = 0, read_bytes = 0, writes = 0, written_bytes = 0;
  uint64_t device_bytes = 0;  // copied by ways of the device
  uint64_t memory_bytes = 0;  // copied through memory
  uint64_t cloned_bytes = 0;
  uint64_t fallbacks = 0, commits = 0, requests = 0;
  uint64_t free_bytes = 0;
};
// kCorrupt when it is no JSON object.
Result<TopSample> ParseTopSample(std::string_view json_text);
// The header, and the line of what happened between two samples.
std::string TopHeader();
std::string TopLine(const TopSample& before, const TopSample& now, double seconds);

// Exit codes as RunStat(); Ctrl-C is a good end.
int RunTop(const std::string& path, const TopOptions& options);

}  // namespace cofs
