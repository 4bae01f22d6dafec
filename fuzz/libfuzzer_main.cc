// The entry point of libFuzzer for one target, COFS_FUZZ_TARGET.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "fuzz/fuzz_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const cofs::FuzzTarget* const target = cofs::FindFuzzTarget(COFS_FUZZ_TARGET);
  CHECK(target != nullptr, COFS_FUZZ_TARGET);
  target->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
