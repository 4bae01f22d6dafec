// A sequence of batches that follows from a seed, and what a store must hold after any
// number of them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "extent_map/store/store.h"

namespace cofs {

class Workload {
 public:
  struct Options {
    uint64_t seed = 1;
    int batch_count = 100;
    int key_count = 60;
    size_t value_bytes_max = 6000;
    bool has_large_batches = true;  // some of several hundred KiB
  };
  explicit Workload(Options options);

  // Batch `n`, from 1. It puts, deletes and merges, and sets a counter to n.
  Batch MakeBatch(int n) const;
  int batch_count() const { return options_.batch_count; }

  // How many batches `store` holds: exactly those, in its counter and in every other
  // record. kDifference when it is not a prefix of all batches; the store's own errors as
  // they are.
  static constexpr ErrorCode kDifference = ErrorCode::kStale;
  Result<int> CountBatches(const Store& store) const;

 private:
  // Every record after the batch: the value of a put is made from (key, n).
  struct Put {
    int key;
    int n;
  };
  struct Step {
    std::vector<int> puts;
    std::vector<int> deletes;
    std::vector<int> merged_blocks;
    bool is_large = false;
  };
  using Records = std::map<std::string, std::string>;
  Records RecordsAfter(int n) const;
  std::string ValueOf(int key, int n, bool is_large) const;

  const Options options_;
  std::vector<Step> steps_;  // of batch n at n-1
};

// The seed of a test: COFS_SEED, or `fixed` when that is not set. Printed.
uint64_t TestSeed(uint64_t fixed);
// An integer of the environment, to make a test longer than in CI.
uint64_t TestCount(const char* variable, uint64_t fixed);

}  // namespace cofs
