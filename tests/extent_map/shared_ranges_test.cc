// Reference counts by cases and against one counter for each block.
#include "extent_map/shared_ranges.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/extent_map/random.h"

namespace cofs {

void PrintTo(const SharedRange& s, std::ostream* out) {
  *out << s.offset.value() / kBlockBytes << "+" << s.record.length_bytes / kBlockBytes
       << " x" << s.record.reference_count;
}

namespace {

SharedRange S(uint64_t block, uint64_t length, uint32_t count) {
  return {DeviceOffset{block * kBlockBytes}, {length * kBlockBytes, count}};
}
DeviceRange R(uint64_t block, uint64_t length) {
  return {DeviceOffset{block * kBlockBytes}, length * kBlockBytes};
}

struct SharedCase {
  const char* what;
  bool add;
  std::vector<SharedRange> existing;
  DeviceRange range;
  std::vector<uint64_t> erased;
  std::vector<SharedRange> written;
  std::vector<DeviceRange> freed;
};

TEST(SharedRanges, Cases) {
  const uint32_t max = kReferenceCountMax;
  const SharedCase cases[] = {
      {"first sharing", true, {}, R(10, 4), {}, {S(10, 4, 2)}, {}},
      {"a third owner", true, {S(10, 4, 2)}, R(10, 4), {}, {S(10, 4, 3)}, {}},
      {"a third owner of a part", true, {S(10, 4, 2)}, R(11, 2), {},
       {S(10, 1, 2), S(11, 2, 3), S(13, 1, 2)}, {}},
      {"joins what it touches", true, {S(10, 4, 2), S(16, 2, 2)}, R(14, 2), {16},
       {S(10, 8, 2)}, {}},
      {"does not join another count", true, {S(10, 4, 3)}, R(14, 2), {}, {S(14, 2, 2)}, {}},
      {"over a gap", true, {S(10, 2, 2), S(14, 2, 2)}, R(10, 6), {},
       {S(10, 2, 3), S(12, 2, 2), S(14, 2, 3)}, {}},
      {"the only owner goes", false, {}, R(10, 4), {}, {}, {R(10, 4)}},
      {"one of two goes", false, {S(10, 4, 2)}, R(10, 4), {10}, {}, {}},
      {"one of two goes, in the middle", false, {S(10, 4, 2)}, R(11, 2), {},
       {S(10, 1, 2), S(13, 1, 2)}, {}},
      {"one of three goes and joins", false, {S(10, 4, 2), S(14, 2, 3)}, R(14, 2), {14},
       {S(10, 6, 2)}, {}},
      {"partly shared", false, {S(12, 2, 2)}, R(10, 6), {12}, {}, {R(10, 2), R(14, 2)}},
      {"a full count stays", true, {S(10, 4, max)}, R(10, 4), {}, {}, {}},
      {"a full count is for ever", false, {S(10, 4, max)}, R(9, 6), {}, {},
       {R(9, 1), R(14, 1)}},
      {"the last step to a full count", true, {S(10, 4, max - 1)}, R(10, 4), {},
       {S(10, 4, max)}, {}},
  };
  for (const SharedCase& test : cases) {
    SCOPED_TRACE(test.what);
    const SharedChange change = test.add ? AddReference(test.existing, test.range)
                                         : RemoveReference(test.existing, test.range);
    std::vector<DeviceOffset> erased;
    for (uint64_t block : test.erased) erased.push_back(DeviceOffset{block * kBlockBytes});
    EXPECT_EQ(change.erased, erased);
    EXPECT_EQ(change.written, test.written);
    EXPECT_EQ(change.freed, test.freed);
  }
}

void Apply(std::vector<SharedRange>& records, const SharedChange& change) {
  for (DeviceOffset offset : change.erased)
    ASSERT_EQ(std::erase_if(records, [&](const auto& r) { return r.offset == offset; }), 1u);
  for (const SharedRange& written : change.written) {
    std::erase_if(records, [&](const auto& r) { return r.offset == written.offset; });
    records.push_back(written);
  }
  std::ranges::sort(records, {}, &SharedRange::offset);
}

TEST(SharedRanges, AgreeWithACounterForEachBlock) {
  constexpr uint64_t kBlocks = 50;
  TestRandom random;
  std::vector<uint32_t> owners(kBlocks, 1);
  std::vector<SharedRange> records;
  for (int step = 0; step < 20000; ++step) {
    const uint64_t first = random.Below(kBlocks);
    const uint64_t count = 1 + random.Below(std::min<uint64_t>(15, kBlocks - first));
    const DeviceRange range = R(first, count);
    std::vector<SharedRange> existing;
    for (const SharedRange& record : records)
      if (record.offset + record.record.length_bytes >= range.offset &&
          record.offset <= range.end())
        existing.push_back(record);

    // Counts stay small: more removals the more owners there are.
    const bool add = random.Below(8) >= owners[first];
    std::vector<DeviceRange> want_freed;
    for (uint64_t block = first; block < first + count; ++block) {
      owners[block] += add ? 1 : -1;
      if (owners[block] != 0) continue;
      if (!want_freed.empty() && want_freed.back().end() == R(block, 1).offset)
        want_freed.back().length_bytes += kBlockBytes;
      else
        want_freed.push_back(R(block, 1));
    }
    const SharedChange change =
        add ? AddReference(existing, range) : RemoveReference(existing, range);
    ASSERT_EQ(change.freed, want_freed) << "step " << step;
    ASSERT_NO_FATAL_FAILURE(Apply(records, change));

    std::vector<SharedRange> want;  // maximal runs of two and more
    for (uint64_t block = 0; block < kBlocks; ++block) {
      if (owners[block] < 2) continue;
      if (!want.empty() && want.back().record.reference_count == owners[block] &&
          want.back().offset + want.back().record.length_bytes == R(block, 1).offset)
        want.back().record.length_bytes += kBlockBytes;
      else
        want.push_back(S(block, 1, owners[block]));
    }
    ASSERT_EQ(records, want) << "step " << step;
    for (uint32_t& count_of_block : owners)
      if (count_of_block == 0) count_of_block = 1;  // somebody allocates it
  }
}

}  // namespace
}  // namespace cofs
