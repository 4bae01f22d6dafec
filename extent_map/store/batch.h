// What a Batch holds.
#pragma once

#include <rocksdb/write_batch.h>

#include "extent_map/store/store.h"

namespace cofs {

struct Batch::Rep {
  rocksdb::WriteBatch batch;
};

}  // namespace cofs
