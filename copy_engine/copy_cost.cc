#include "copy_engine/copy_cost.h"

#include <algorithm>
#include <cmath>

#include "base/types.h"

namespace cofs {
namespace {

// Faster than any memory: keeps the arithmetic finite.
constexpr double kBytesPerUsMax = 1e6;

}  // namespace

CopyCost CostFromMeasurement(uint64_t small_bytes, double small_us, uint64_t large_bytes,
                             double large_us) {
  const auto between = static_cast<double>(large_bytes - small_bytes);
  const double us = std::max(large_us - small_us, between / kBytesPerUsMax);
  CopyCost cost;
  cost.bytes_per_us = between / us;
  cost.setup_us =
      std::max(small_us - static_cast<double>(small_bytes) / cost.bytes_per_us, 0.0);
  return cost;
}

uint64_t DeviceCopyBytesMin(const CopyCost& device, const CopyCost& buffered,
                            double verify_us) {
  // Worth it where setup + s / rate <= allowed_setup + s / allowed_rate.
  const double setup_us =
      device.setup_us + verify_us - kDeviceCopyTimeFactor * buffered.setup_us;
  const double gain_us_per_byte =
      kDeviceCopyTimeFactor / buffered.bytes_per_us - 1 / device.bytes_per_us;
  if (gain_us_per_byte <= 0) return UINT64_MAX;
  const double bytes = std::ceil(std::max(setup_us, 0.0) / gain_us_per_byte);
  if (bytes >= 0x1p62) return UINT64_MAX;
  return RoundUp(static_cast<uint64_t>(bytes), kBlockBytes);
}

}  // namespace cofs
