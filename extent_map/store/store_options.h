// How RocksDB is set up for a store.
#pragma once

#include <rocksdb/options.h>

#include <cstdint>

#include "extent_map/store/sizing.h"

namespace cofs::store {

rocksdb::Options MakeRocksOptions(const Sizing& sizing, uint64_t cache_bytes,
                                  rocksdb::Env* env);

}  // namespace cofs::store
