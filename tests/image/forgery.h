// Forgery: changes under valid checksums.
#pragma once

#include "tests/image/image_damage.h"

namespace cofs {

DamageResult ForgeImage(MemoryDevice& device, const BaseVolume& base,
                        std::mt19937_64& random);

}  // namespace cofs
