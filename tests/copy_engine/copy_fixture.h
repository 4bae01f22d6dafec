// What the tests of the copy engine share: random piece lists, and a device under them
// whose bytes say where they came from.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "copy_engine/copy_engine.h"
#include "device/memory_device.h"

namespace cofs {

// COFS_SEED, else 1. Printed once.
uint64_t CopyTestSeed();

// Sources anywhere in the lower half, destinations without overlap in the upper half;
// some of them next to each other, with sources that are not, and the other way round.
std::vector<CopyPiece> RandomPieces(std::mt19937_64& random, uint64_t device_bytes,
                                    size_t piece_count_max);
uint64_t TotalBytes(const std::vector<CopyPiece>& pieces);

// Fills the device: each block begins with its own offset.
void FillDevice(MemoryDevice& device, uint64_t seed);
std::string Contents(const MemoryDevice& device);
// What the device's contents become when the first `bytes` of `pieces` are copied.
std::string AfterCopy(std::string contents, const std::vector<CopyPiece>& pieces,
                      uint64_t bytes);
// Whether the first `bytes` of the copy are right and everything outside of the
// destinations is as it was in `before`. Beyond the prefix they may hold anything.
::testing::AssertionResult IsCopied(const MemoryDevice& device, const std::string& before,
                                    const std::vector<CopyPiece>& pieces, uint64_t bytes);

}  // namespace cofs
