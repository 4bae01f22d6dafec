// Reading back what a way of copying says it has copied.
//
// Thread-safety: pure functions on a device.
#pragma once

#include <cstdint>

#include "copy_engine/copy_way.h"
#include "device/block_device.h"

namespace cofs {

inline constexpr uint64_t kReadBackSampleBytes = 64 << 10;

struct ReadBack {
  Status status = OkStatus();  // kIo: it differs, and where
  bool is_source_bad = false;  // `status` is check_source's
  uint64_t verified_bytes = 0;
};

// Compares the first `claimed_bytes` of a copy with their source: all of them, or, with
// kSample, one sample of each 64 MiB at a place that `random` tells. `is_proved` false:
// all of the first 4 MiB in any case.
ReadBack ReadBackCopy(BlockDevice& device, const CopyTask& task, uint64_t claimed_bytes,
                      CopyVerify verify, bool is_proved, uint64_t random);

}  // namespace cofs
