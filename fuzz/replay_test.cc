// The fuzz targets as ordinary tests: the seeds, every file of the corpus, and some
// thousand inputs made from them by a fixed seed. COFS_SEED=n makes others, COFS_LONG=1
// many more. COFS_FUZZ_WRITE_SEEDS=DIR writes the seeds there, for libFuzzer.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>

#include "fuzz/fuzz_targets.h"

namespace cofs {
namespace {

namespace filesystem = std::filesystem;

std::vector<std::string> Corpus(const std::string& name) {
  std::vector<std::string> inputs;
  const filesystem::path folder = filesystem::path(COFS_FUZZ_CORPUS) / name;
  if (!filesystem::exists(folder)) return inputs;
  for (const auto& entry : filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

std::string Mutate(const std::vector<std::string>& inputs, std::mt19937_64& random) {
  std::string bytes = inputs[random() % inputs.size()];
  for (uint64_t change = 1 + random() % 4; change > 0 && !bytes.empty(); --change) {
    const size_t at = random() % bytes.size();
    switch (random() % 7) {
      case 0:
        bytes[at] ^= static_cast<char>(1u << random() % 8);
        break;
      case 1:
        bytes[at] = static_cast<char>(random());
        break;
      case 2:  // a number of an unusual size
        bytes.replace(at, std::min<size_t>(8, bytes.size() - at),
                      std::string(8, random() % 2 == 0 ? '\xff' : '\0'));
        break;
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.insert(at, std::string(1 + random() % 9, static_cast<char>(random())));
        break;
      case 5:
        bytes.erase(at, 1 + random() % 9);
        break;
      default: {  // a part of another input
        const std::string& other = inputs[random() % inputs.size()];
        if (!other.empty()) bytes.replace(at, 16, other.substr(random() % other.size(), 16));
      }
    }
  }
  return bytes;
}

class FuzzReplay : public ::testing::TestWithParam<size_t> {};

TEST_P(FuzzReplay, AcceptsOnlyWhatIsWritten) {
  const FuzzTarget& target = kFuzzTargets[GetParam()];
  const char* text = std::getenv("COFS_SEED");
  const uint64_t seed = text == nullptr ? 1 : std::strtoull(text, nullptr, 0);
  const char* is_long = std::getenv("COFS_LONG");
  const int count = is_long != nullptr && std::string(is_long) == "1" ? 5'000'000 : 20'000;
  std::vector<std::string> inputs = target.seeds();
  ASSERT_FALSE(inputs.empty());
  if (const char* folder = std::getenv("COFS_FUZZ_WRITE_SEEDS")) {
    const filesystem::path path = filesystem::path(folder) / target.name;
    filesystem::create_directories(path);
    for (size_t i = 0; i < inputs.size(); ++i)
      std::ofstream(path / ("seed-" + std::to_string(i)), std::ios::binary) << inputs[i];
  }
  const std::vector<std::string> corpus = Corpus(target.name);
  inputs.insert(inputs.end(), corpus.begin(), corpus.end());
  for (const std::string& input : inputs) target.run(input);
  std::mt19937_64 random(seed);
  for (int i = 0; i < count; ++i) target.run(Mutate(inputs, random));
  std::cout << "COFS_SEED=" << seed << ": " << inputs.size() << " inputs, " << count
            << " made from them\n";
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzReplay, ::testing::Range(size_t{0}, kFuzzTargetCount),
                         [](const auto& tested) {
                           return std::string(kFuzzTargets[tested.param].name);
                         });

}  // namespace
}  // namespace cofs
