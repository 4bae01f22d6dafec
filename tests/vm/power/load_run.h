// The workload, in the guest: carries out plans in threads until the power fails.
#pragma once

#include <cstdint>
#include <string>

namespace cofs {

// Works in `directory`, below which each thread has its own one, made if need be; goes on
// from the files that are there. What it acknowledges goes to `log`, a file or "port:N",
// an I/O port of QEMU's isa-debugcon. One line each, written before anything else happens:
//
//   R                     the threads start
//   S THREAD NUMBER       an operation starts that will make everything before it durable
//   D THREAD NUMBER SUM   operation NUMBER (from 1 on) is done; SUM is its fingerprint
//   E THREAD NUMBER TEXT  it failed, which nothing explains
//
// Ends only with an error.
int RunLoad(const std::string& directory, uint64_t seed, const std::string& log);

}  // namespace cofs
