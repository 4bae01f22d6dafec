#include "extent_map/store/sizing.h"

#include <algorithm>
#include <bit>

namespace cofs::store {

Sizing Sizing::ForVolume(uint64_t volume_bytes) {
  constexpr uint64_t kMemtableMin = 128 << 10;
  constexpr uint64_t kMemtableMax = 16 << 20;
  Sizing sizing;
  const uint64_t memtable =
      std::clamp(std::bit_floor(std::max<uint64_t>(volume_bytes / 4096, 1)), kMemtableMin,
                 kMemtableMax);
  sizing.memtable_bytes = memtable;
  sizing.chunk_bytes = std::clamp<uint64_t>(memtable / 16, 8 << 10, 1 << 20);
  sizing.wal_bytes_soft = 4 * memtable;
  sizing.wal_bytes_hard = 8 * memtable;
  sizing.wal_spare_bytes = std::min<uint64_t>(memtable / 2, 1 << 20);
  sizing.staged_bytes_max = std::min<uint64_t>(memtable, 4 << 20);
  sizing.manifest_bytes_max = std::clamp<uint64_t>(memtable / 16, 16 << 10, 1 << 20);
  sizing.level1_bytes = 4 * memtable;
  return sizing;
}

uint64_t Sizing::ReserveBytes(uint64_t table_bytes) const {
  const uint64_t memtables = kMemtableCount * memtable_bytes;
  const uint64_t level0 = kLevel0StopAt * memtable_bytes;
  // The inputs of a compaction stay until its outputs are durable.
  const uint64_t largest_compaction =
      std::max(level0 + 2 * level1_bytes, 2 * kCompactionTablesMax * memtable_bytes);
  const uint64_t compaction = std::min(table_bytes + level0, largest_compaction);
  // A record of the MANIFEST takes a block, whatever its size; two MANIFESTs exist for
  // a moment.
  const uint64_t manifest = 32 * manifest_bytes_max;
  const uint64_t small_files = 8 * std::max<uint64_t>(chunk_bytes, 32 << 10);
  // Deletions that lie far apart become many tables with little in them: RocksDB ends one
  // where it has enough of the next level below it. A chunk each, before a compaction and
  // after it.
  const uint64_t sparse_tables =
      2 * chunk_bytes * (table_bytes / (kCompactionTablesMax * memtable_bytes));
  const uint64_t journal = 2 * std::max<uint64_t>(chunk_bytes, 512 << 10);
  // A fifth for partly filled chunks and for indices and filters of tables.
  return (memtables + level0 + level1_bytes + compaction) * 6 / 5 + wal_bytes_hard +
         memtable_bytes + manifest + small_files + sparse_tables + journal;
}

uint64_t Sizing::InitialPoolBytes() const {
  const uint64_t bytes = ReserveBytes(level1_bytes) + 4 * memtable_bytes;
  return (bytes + chunk_bytes - 1) / chunk_bytes * chunk_bytes;
}

}  // namespace cofs::store
