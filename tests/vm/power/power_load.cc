// The workload that the power is cut during, and the look at what is left of it.
//
//   power_load run   DIRECTORY SEED LOG         until the power fails (load_run.h)
//   power_load check DIRECTORY SEED LOG STATE   afterwards (load_check.h)
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/vm/power/load_check.h"
#include "tests/vm/power/load_run.h"

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto seed = [&] { return std::strtoull(words[2].c_str(), nullptr, 10); };
  if (words.size() == 4 && words[0] == "run") return cofs::RunLoad(words[1], seed(), words[3]);
  if (words.size() == 5 && words[0] == "check")
    return cofs::CheckLoad(words[1], seed(), words[3], words[4]);
  std::printf("power_load: see the source\n");
  return 2;
}
