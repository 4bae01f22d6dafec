// What is fed with bytes that nobody vouches for. Each target aborts on a defect: a
// crash, a report of a sanitizer, or a decoder that accepts what its encoder would not
// have written.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace cofs {

struct FuzzTarget {
  const char* name;  // of its corpus folder and its program
  void (*run)(std::span<const char> input);
  // Well-formed inputs to start from, made by the encoders.
  std::vector<std::string> (*seeds)();
};

extern const FuzzTarget kFuzzTargets[];
extern const size_t kFuzzTargetCount;
const FuzzTarget* FindFuzzTarget(const std::string& name);

}  // namespace cofs
