// SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash, so that nobody can
// choose names that collide in a directory of a volume whose key they don't know.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace cofs {

using SipHashKey = std::array<uint64_t, 2>;

uint64_t SipHash24(const SipHashKey& key, std::string_view data);

}  // namespace cofs
