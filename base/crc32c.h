// CRC-32C (Castagnoli, RFC 3720 appendix B.4), by ISA-L.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cofs {

// Of `length_bytes` at `data`; `seed` is an earlier result to go on from.
// Crc32c("123456789", 9) == 0xe3069283.
uint32_t Crc32c(const void* data, size_t length_bytes, uint32_t seed = 0);

}  // namespace cofs
