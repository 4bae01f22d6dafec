// What the statistics of a mounted volume say about its ways of copying, for people.
#pragma once

#include <string>
#include <vector>

#include "cli/stats_json.h"
#include "cli/text_table.h"

namespace cofs {

// Counters by way, reasons of fallbacks, and how each way stands.
void CopyFacts(const StatsJson& stats, FactSheet& sheet);
// One line for each way that there is, or that failed: state, limits, from which size on
// it is used.
void WayFacts(const StatsJson& copy, FactSheet& sheet);
// "64 KiB a source, 1.0 MiB and 8 sources a command"
std::string LimitWords(const StatsJson& limits);
// "half within 128 us, 99 % within 1 ms, all within 4 ms"; empty without counts.
std::string LatencyWords(const StatsJson& latency);
// The same of counts: [0] below 1 us, [i] below 2^i us.
std::string LatencyWords(const std::vector<uint64_t>& counts);

}  // namespace cofs
