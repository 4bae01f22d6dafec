// Sizes as people write and read them: "10G", "512 MiB".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cofs {

// A number with an optional binary suffix K, M, G, T, P, also written KiB and so on, in
// either case. nullopt for anything else and for what is more than INT64_MAX.
// `unit_bytes` is what a number without a suffix counts.
std::optional<uint64_t> ParseByteSize(std::string_view text, uint64_t unit_bytes = 1);

// "4.0 KiB", "1.5 GiB", "512 bytes".
std::string FormatByteSize(uint64_t bytes);

}  // namespace cofs
