// Each way of copying gives the same bytes, the same checksums, the same errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/log.h"
#include "tests/parity/parity_cases.h"

namespace cofs {
namespace {

using Notes = std::vector<std::string>;

// What the way through memory gives; run once for each case.
const Notes& ReferenceNotes(const ParityCase& row) {
  static std::map<std::string, Notes> all;
  const auto [found, is_new] = all.try_emplace(row.name);
  if (!is_new) return found->second;
  std::string why_not;
  const auto run = ParityRun::Start(ReferenceWay(), &why_not);
  run->TakeNotesOnly();
  row.run(*run);
  return found->second = run->Finish();
}

class Parity : public ::testing::TestWithParam<std::tuple<ParityWay, ParityCase>> {};

TEST_P(Parity, SameAsThroughMemory) {
  SetLogLevel(LogLevel::kWarning);
  const auto& [way, row] = GetParam();
  std::string why_not;
  const auto run = ParityRun::Start(way, &why_not);
  if (run == nullptr) GTEST_SKIP() << way.name << ": " << why_not;
  row.run(*run);
  const Notes notes = run->Finish();
  EXPECT_THAT(notes, ::testing::ElementsAreArray(ReferenceNotes(row)));
  EXPECT_EQ(row.is_copied_by_way, run->bytes_by_way() > 0);
  if (way.policy == CopyRangePolicy::kDevice) {
    EXPECT_EQ(0u, run->bytes_by_others());
  }
  RecordProperty("bytes_by_way", std::to_string(run->bytes_by_way()));
  std::printf("%s by %s: %ju bytes\n", row.name, way.name.c_str(),
              uintmax_t{run->bytes_by_way()});
}

INSTANTIATE_TEST_SUITE_P(
    Ways, Parity,
    ::testing::Combine(::testing::ValuesIn(WaysOfThisMachine()),
                       ::testing::ValuesIn(ParityCases().begin(), ParityCases().end())),
    [](const auto& tested) {
      return std::get<0>(tested.param).name + std::string(std::get<1>(tested.param).name);
    });

}  // namespace
}  // namespace cofs
