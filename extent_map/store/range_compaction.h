// Compacts a store as a whole, in pieces whose size is bounded.
#pragma once

#include <rocksdb/db.h>

#include <cstdint>

namespace cofs::store {

// All that was deleted or written over gives its space back. The keys are walked in ranges
// that hold about `range_bytes` of tables each. RocksDB's own walk over all keys takes
// neighbouring tables together, and between the keys of two neighbours the whole next level
// may lie: its outputs would need as much room as there is. The status is Incomplete or
// ManualCompactionPaused when the store is being closed.
rocksdb::Status CompactByRanges(rocksdb::DB& db, uint64_t range_bytes);

}  // namespace cofs::store
