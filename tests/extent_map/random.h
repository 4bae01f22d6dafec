// Random numbers of a test: the same ones in every run, unless COFS_SEED says others.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>

namespace cofs {

class TestRandom {
 public:
  TestRandom() {
    const char* text = std::getenv("COFS_SEED");
    const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 0) : 20250301;
    std::cout << "COFS_SEED=" << seed << "\n";
    engine_.seed(seed);
  }
  // In [0, bound).
  uint64_t Below(uint64_t bound) { return engine_() % bound; }
  bool OneIn(uint64_t count) { return Below(count) == 0; }

 private:
  std::mt19937_64 engine_;
};

}  // namespace cofs
