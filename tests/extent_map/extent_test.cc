// ReplaceRange and ApplyChange by cases and against a map of single blocks.
#include "extent_map/extent.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>

#include "tests/extent_map/random.h"

namespace cofs {

// For messages of failed expectations.
void PrintTo(const Extent& e, std::ostream* out) {
  *out << e.file_offset.value() / kBlockBytes << "->"
       << e.device_offset.value() / kBlockBytes << "+" << e.length_bytes / kBlockBytes
       << "/" << int{e.flags};
}

namespace {

Extent E(uint64_t file, uint64_t device, uint64_t length, uint8_t flags = 0) {
  return {FileOffset{file * kBlockBytes}, DeviceOffset{device * kBlockBytes},
          length * kBlockBytes, flags};
}
FileOffset At(uint64_t block) { return FileOffset{block * kBlockBytes}; }

TEST(Extent, Clip) {
  const Extent extent = E(10, 100, 5, kExtentShared);
  EXPECT_EQ(Clip(extent, At(0), At(20)), extent);
  EXPECT_EQ(Clip(extent, At(12), At(14)), E(12, 102, 2, kExtentShared));
  EXPECT_EQ(Clip(extent, At(14), At(30)), E(14, 104, 1, kExtentShared));
  EXPECT_EQ(Clip(extent, At(0), At(10)).length_bytes, 0u);
  EXPECT_EQ(Clip(extent, At(15), At(30)).length_bytes, 0u);
  EXPECT_EQ(Clip(extent, At(12), At(12)).length_bytes, 0u);
}

TEST(Extent, CanMerge) {
  EXPECT_TRUE(CanMerge(E(0, 10, 2), E(2, 12, 3)));
  EXPECT_FALSE(CanMerge(E(0, 10, 2), E(3, 12, 3)));                    // hole
  EXPECT_FALSE(CanMerge(E(0, 10, 2), E(2, 13, 3)));                    // elsewhere
  EXPECT_FALSE(CanMerge(E(0, 10, 2), E(2, 12, 3, kExtentUnwritten)));  // flags
  EXPECT_FALSE(CanMerge(E(2, 12, 3), E(0, 10, 2)));                    // order
}

struct ReplaceCase {
  const char* what;
  std::vector<Extent> existing;
  uint64_t begin, end;
  std::vector<Extent> replacement;
  std::vector<uint64_t> erased;
  std::vector<Extent> written, dropped;
};

TEST(Extent, ReplaceRange) {
  const ReplaceCase cases[] = {
      {"first extent", {}, 0, 4, {E(0, 50, 4)}, {}, {E(0, 50, 4)}, {}},
      {"hole of nothing", {}, 0, 4, {}, {}, {}, {}},
      {"append that continues", {E(0, 50, 4)}, 4, 6, {E(4, 54, 2)}, {}, {E(0, 50, 6)}, {}},
      {"append elsewhere", {E(0, 50, 4)}, 4, 6, {E(4, 80, 2)}, {}, {E(4, 80, 2)}, {}},
      {"fills a gap and joins both", {E(0, 50, 2), E(4, 54, 2)}, 2, 4, {E(2, 52, 2)},
       {4}, {E(0, 50, 6)}, {}},
      {"overwrites the middle", {E(0, 50, 6)}, 2, 4, {E(2, 90, 2)}, {},
       {E(0, 50, 2), E(2, 90, 2), E(4, 54, 2)}, {E(2, 52, 2)}},
      {"overwrites the front", {E(0, 50, 6)}, 0, 2, {E(0, 90, 2)}, {},
       {E(0, 90, 2), E(2, 52, 4)}, {E(0, 50, 2)}},
      {"overwrites the end", {E(0, 50, 6)}, 4, 6, {E(4, 90, 2)}, {},
       {E(0, 50, 4), E(4, 90, 2)}, {E(4, 54, 2)}},
      {"punches a hole over several", {E(0, 50, 3), E(3, 70, 2), E(6, 80, 3)}, 1, 7, {},
       {3, 6}, {E(0, 50, 1), E(7, 81, 2)}, {E(1, 51, 2), E(3, 70, 2), E(6, 80, 1)}},
      {"truncates", {E(0, 50, 3), E(3, 70, 2)}, 2, 1000, {}, {3}, {E(0, 50, 2)},
       {E(2, 52, 1), E(3, 70, 2)}},
      {"unwritten becomes written in place", {E(0, 50, 6, kExtentUnwritten)}, 2, 4,
       {E(2, 52, 2)}, {},
       {E(0, 50, 2, kExtentUnwritten), E(2, 52, 2), E(4, 54, 2, kExtentUnwritten)}, {}},
      {"only a flag changes", {E(0, 50, 6)}, 0, 6, {E(0, 50, 6, kExtentShared)}, {},
       {E(0, 50, 6, kExtentShared)}, {}},
      {"half is the same", {E(0, 50, 6)}, 0, 6, {E(0, 50, 3), E(3, 90, 3)}, {},
       {E(0, 50, 3), E(3, 90, 3)}, {E(3, 53, 3)}},
      {"nothing changes", {E(0, 50, 6)}, 2, 4, {E(2, 52, 2)}, {}, {}, {}},
      {"a neighbour that does not continue is left alone", {E(0, 50, 2), E(4, 60, 2)}, 2, 4,
       {E(2, 70, 2)}, {}, {E(2, 70, 2)}, {}},
  };
  for (const ReplaceCase& test : cases) {
    SCOPED_TRACE(test.what);
    const ExtentChange change =
        ReplaceRange(test.existing, At(test.begin), At(test.end), test.replacement);
    std::vector<FileOffset> erased;
    for (uint64_t block : test.erased) erased.push_back(At(block));
    EXPECT_EQ(change.erased, erased);
    EXPECT_EQ(change.written, test.written);
    EXPECT_EQ(change.dropped, test.dropped);
  }
}

// What each block of a file maps to.
struct Mapping {
  uint64_t device_block;
  uint8_t flags;
  bool operator==(const Mapping&) const = default;
};
using BlockMap = std::map<uint64_t, Mapping>;

BlockMap BlocksOf(const std::vector<Extent>& extents) {
  BlockMap map;
  for (const Extent& extent : extents)
    for (uint64_t i = 0; i < extent.length_bytes / kBlockBytes; ++i) {
      const bool added = map.emplace(extent.file_offset.value() / kBlockBytes + i,
                                     Mapping{extent.device_offset.value() / kBlockBytes + i,
                                             extent.flags})
                             .second;
      EXPECT_TRUE(added) << "overlap";
    }
  return map;
}

// Random extents in [begin, end) blocks. Few places, so that they often continue others.
std::vector<Extent> RandomExtents(TestRandom& random, uint64_t begin, uint64_t end) {
  std::vector<Extent> out;
  for (uint64_t at = begin + random.Below(3); at < end;) {
    const uint64_t length = std::min(1 + random.Below(6), end - at);
    const uint8_t flags = static_cast<uint8_t>(random.OneIn(3) ? random.Below(3) : 0);
    const uint64_t device = random.OneIn(2) ? 1000 + at : random.Below(40);
    out.push_back(E(at, device, length, flags));
    at += length + (random.OneIn(2) ? random.Below(3) : 0);
  }
  return out;
}

TEST(Extent, AgreesWithAMapOfBlocks) {
  constexpr uint64_t kFileBlocks = 60;
  TestRandom random;
  std::vector<Extent> extents;
  for (int step = 0; step < 20000; ++step) {
    const uint64_t begin = random.Below(kFileBlocks - 1);
    const uint64_t end = begin + 1 + random.Below(std::min<uint64_t>(20, kFileBlocks - begin));
    std::vector<Extent> replacement;
    if (!random.OneIn(4)) replacement = RandomExtents(random, begin, end);

    // What the caller passes: the overlapping ones and the neighbours that touch.
    std::vector<Extent> existing;
    for (const Extent& extent : extents)
      if (extent.file_end() >= At(begin) && extent.file_offset <= At(end))
        existing.push_back(extent);

    const BlockMap before = BlocksOf(extents);
    BlockMap want = before;
    std::erase_if(want, [&](const auto& e) { return e.first >= begin && e.first < end; });
    for (const auto& [block, mapping] : BlocksOf(replacement)) want[block] = mapping;

    const ExtentChange change = ReplaceRange(existing, At(begin), At(end), replacement);
    const std::vector<Extent> old_extents = extents;
    ApplyChange(extents, change);

    ASSERT_EQ(BlocksOf(extents), want) << "step " << step;
    ASSERT_TRUE(std::ranges::is_sorted(extents, {}, &Extent::file_offset));

    // Exactly the blocks that no longer are where they were.
    BlockMap dropped;
    for (const auto& [block, mapping] : before) {
      const auto now = want.find(block);
      if (now == want.end() || now->second.device_block != mapping.device_block)
        dropped.emplace(block, mapping);
    }
    ASSERT_EQ(BlocksOf(change.dropped), dropped) << "step " << step;
    ASSERT_TRUE(std::ranges::is_sorted(change.dropped, {}, &Extent::file_offset));

    // In and around the range no two extents are left that could be one.
    for (size_t i = 0; i + 1 < extents.size(); ++i)
      if (extents[i].file_end() >= At(begin) && extents[i].file_end() <= At(end)) {
        ASSERT_FALSE(CanMerge(extents[i], extents[i + 1])) << "step " << step;
      }

    // Only the difference: no record is written as it was, or erased and written.
    for (const Extent& extent : change.written) {
      ASSERT_EQ(std::ranges::count(old_extents, extent), 0);
      ASSERT_EQ(std::ranges::count(change.erased, extent.file_offset), 0);
    }
    for (FileOffset offset : change.erased)
      ASSERT_EQ(std::ranges::count(old_extents, offset, &Extent::file_offset), 1);
  }
}

TEST(Extent, DamagedListsDoNotCrash) {
  TestRandom random;
  for (int step = 0; step < 5000; ++step) {
    std::vector<Extent> existing;  // unsorted and overlapping
    for (uint64_t count = random.Below(6); count > 0; --count)
      existing.push_back(E(random.Below(20), random.Below(20), random.Below(6)));
    const ExtentChange change =
        ReplaceRange(existing, At(4), At(12), std::vector{E(5, 70, 3)});
    ApplyChange(existing, change);
  }
}

}  // namespace
}  // namespace cofs
