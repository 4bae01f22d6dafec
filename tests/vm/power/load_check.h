// The workload, on the host after a power cut: what is on the volume must be what the
// operations left that were done, up to some moment.
#pragma once

#include <cstdint>
#include <string>

namespace cofs {

// Compares `directory`, where RunLoad has worked with `seed` from the files that are in
// `state` on, with what `log` tells. Each thread's directory must be as it was after one
// of its operations: not before the last one that was made durable, by whichever thread,
// and not after the one that the power cut met. Of an operation that may be done by
// pieces, each block may be there or not.
//
// When all is well puts what it has found into `state`, for the next round, and prints a
// line. Returns 0, else 1 after saying what differs. `state` need not exist.
int CheckLoad(const std::string& directory, uint64_t seed, const std::string& log,
              const std::string& state);

}  // namespace cofs
