// cofs scrub: verifies all data and metadata of a mounted volume, in its daemon.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "cli/progress_bar.h"
#include "cli/stats_json.h"

namespace cofs {

enum class ScrubAction { kRun, kStop, kStatus };

struct ScrubCommandOptions {
  ScrubAction action = ScrubAction::kRun;
  bool resume = false;
  bool background = false;  // kRun: returns when it has begun
  bool json = false;
  uint64_t bytes_per_second = 100 << 20;  // 0: no limit
  ProgressMode progress = ProgressMode::kAuto;
};

// Damage has been found.
inline constexpr int kExitDamage = 3;

// The exit code: 0 without damage, kExitDamage with, 2 when it could not be carried out,
// 128 and the signal that has stopped it.
int RunScrub(const std::string& path, const ScrubCommandOptions& options);

// One line for the state of a scrub, and one for a damaged place; of the daemon's JSON.
// Nothing in them commands a terminal.
std::string ScrubLine(const StatsJson& report);
std::string DamageLine(const StatsJson& place);

}  // namespace cofs
