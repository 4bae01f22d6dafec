// The table of parity_test.cc.
#pragma once

#include <span>

#include "tests/parity/parity_run.h"

namespace cofs {

struct ParityCase {
  const char* name;
  void (*run)(ParityRun& run);
  // Whether the way under test has to move bytes for it.
  bool is_copied_by_way = true;
};
std::span<const ParityCase> ParityCases();

}  // namespace cofs
