// Sizing: how large the parts of a store are, for a volume's size.
//
// One memtable is the unit of nearly everything: it is the size of a table at level 0,
// and a compaction is bounded by a number of them. README.md, "Room", adds it up.
#pragma once

#include <cstdint>

namespace cofs::store {

struct Sizing {
  uint64_t memtable_bytes = 0;
  uint64_t chunk_bytes = 0;       // of the pool; what mkfs chose holds
  uint64_t wal_bytes_soft = 0;    // then the memtable is flushed, however small
  uint64_t wal_bytes_hard = 0;    // then commits wait for that
  uint64_t wal_spare_bytes = 0;   // taken in advance by a WAL
  uint64_t staged_bytes_max = 0;  // records in memory that no commit asked for yet
  uint64_t manifest_bytes_max = 0;
  uint64_t level1_bytes = 0;

  // Kept free in the pool for what is not admitted: flushes, compactions, unlinks. Grows
  // with the bytes in tables up to a bound.
  uint64_t ReserveBytes(uint64_t table_bytes) const;
  // Of a pool that has just been made.
  uint64_t InitialPoolBytes() const;

  static Sizing ForVolume(uint64_t volume_bytes);
};

inline constexpr int kMemtableCount = 3;
inline constexpr int kLevel0CompactAt = 4;
inline constexpr int kLevel0SlowAt = 7;
inline constexpr int kLevel0StopAt = 9;
inline constexpr uint64_t kCompactionTablesMax = 10;

}  // namespace cofs::store
