// What can happen to the bytes of a volume, by chance and by malice.
//
// Random damage is what drives do: bits flip, blocks are lost, stale, misplaced, torn.
// Forged damage is what only somebody who knows the format does: records, superblocks,
// journal and images are changed and their checksums made right again.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "tests/image/base_volume.h"

namespace cofs {

struct DamageCounts {
  uint64_t bits_flipped = 0;
  uint64_t blocks_changed = 0;  // overwritten, swapped, zeroed, torn
  uint64_t forged = 0;          // fields and records
};

struct DamageResult {
  std::string words;  // what was done, for a person
  bool is_forged = false;
  DamageCounts counts;
};

enum class DamageStyle : uint8_t { kRandom, kForged };

// The same changes for the same state of `random` and the same bytes of `device`. Forged
// damage opens the store, which starts RocksDB's threads.
DamageResult DamageImage(MemoryDevice& device, const BaseVolume& base, DamageStyle style,
                         std::mt19937_64& random);

}  // namespace cofs
