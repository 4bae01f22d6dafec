// CopyCost: what a copy costs by one way, from measurement, and from which size on a
// copy by the device is worth it.
//
// A straight line through two measured points: `setup` for a copy of nothing, and the
// rate. Pure functions.
#pragma once

#include <cstdint>

namespace cofs {

struct CopyCost {
  double setup_us = 0;
  double bytes_per_us = 0;  // positive

  double MicrosecondsFor(double bytes) const { return setup_us + bytes / bytes_per_us; }
};

// The line through copies of `small_bytes` < `large_bytes` that took so long. Never
// negative, never without end.
CopyCost CostFromMeasurement(uint64_t small_bytes, double small_us, uint64_t large_bytes,
                             double large_us);

// How much longer than through memory a copy by the device may take: it costs the host
// neither processor time nor memory and bus bandwidth.
inline constexpr double kDeviceCopyTimeFactor = 2.0;

// The fewest bytes from which on copies by the device, which take `verify_us` longer to
// be read back in samples, are worth it at every size; in whole blocks. UINT64_MAX: none.
uint64_t DeviceCopyBytesMin(const CopyCost& device, const CopyCost& buffered,
                            double verify_us);

}  // namespace cofs
