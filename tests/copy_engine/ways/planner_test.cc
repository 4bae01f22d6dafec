// Planner: tables of cuts and joins, then random plans carried out on a naive model
// of drives, sector by sector.
#include "copy_engine/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>
#include <string>

namespace cofs {
namespace {

constexpr uint64_t kB = kBlockBytes;
constexpr uint64_t kSector = 512;

CopyPiece Piece(uint64_t source, uint64_t destination, uint64_t length) {
  return {DeviceOffset(source * kB), DeviceOffset(destination * kB), length * kB};
}

// "leaf:destination<-source+length,source+length@position+length,..." in blocks;
// a part of a block as sectors, "7s".
std::string Blocks(uint64_t bytes) {
  return bytes % kB == 0 ? StrCat(bytes / kB) : StrCat(bytes / kSector, "s");
}
std::string Describe(const CopyPlan& plan) {
  std::string out;
  for (const CopyCommand& command : plan.commands) {
    out += StrCat(out.empty() ? "" : " ", command.leaf, ":", Blocks(command.destination));
    for (const CopySegment& s : command.segments)
      out += StrCat(&s == &command.segments[0] ? "<-" : ",", Blocks(s.source), "+",
                    Blocks(s.length_bytes));
    for (const CopySpan& s : command.spans)
      out += StrCat(&s == &command.spans[0] ? "@" : ",", Blocks(s.position), "+",
                    Blocks(s.length_bytes));
  }
  return out;
}

CopyLimits Limits(uint64_t segment, uint64_t command, uint32_t segments,
                  uint64_t alignment = kSector) {
  return {.alignment_bytes = alignment,
          .segment_bytes_max = segment,
          .command_bytes_max = command,
          .segments_max = segments,
          .request_bytes_min = 0};
}

struct PlanCase {
  const char* name;
  std::vector<CopyPiece> pieces;
  CopyLimits limits;
  const char* commands;
};

TEST(PlannerTest, CutsAndJoins) {
  const uint64_t kAny = UINT64_MAX;
  const PlanCase cases[] = {
      {"one piece", {Piece(0, 100, 8)}, Limits(kAny, kAny, 1), "0:100<-0+8@0+8"},
      {"cut by the segment",
       {Piece(0, 100, 8)},
       Limits(3 * kB, kAny, 1),
       "0:100<-0+3@0+3 0:103<-3+3@3+3 0:106<-6+2@6+2"},
      {"cut segments fill one command",
       {Piece(0, 100, 8)},
       Limits(3 * kB, kAny, 4),
       "0:100<-0+3,3+3,6+2@0+8"},
      {"cut by the command",
       {Piece(0, 100, 8)},
       Limits(3 * kB, 5 * kB, 4),
       "0:100<-0+3,3+2@0+5 0:105<-5+3@5+3"},
      {"cut by the number of segments",
       {Piece(0, 100, 8)},
       Limits(2 * kB, kAny, 3),
       "0:100<-0+2,2+2,4+2@0+6 0:106<-6+2@6+2"},
      {"destinations join",
       {Piece(10, 100, 2), Piece(50, 102, 1), Piece(30, 103, 3)},
       Limits(kAny, kAny, 8),
       "0:100<-10+2,50+1,30+3@0+6"},
      {"destinations that don't join",
       {Piece(10, 100, 2), Piece(50, 103, 1)},
       Limits(kAny, kAny, 8),
       "0:100<-10+2@0+2 0:103<-50+1@2+1"},
      {"neighbours on both sides are one segment",
       {Piece(10, 100, 2), Piece(12, 102, 2)},
       Limits(kAny, kAny, 8),
       "0:100<-10+4@0+4"},
      {"limits that are not whole blocks are cut to blocks",
       {Piece(0, 100, 4)},
       Limits(2 * kB + 3 * kSector, 3 * kB + kSector, 8),
       "0:100<-0+2,2+1@0+3 0:103<-3+1@3+1"},
      {"limits below a block cut by sectors",
       {Piece(0, 100, 1)},
       Limits(3 * kSector, kAny, 8),
       "0:100<-0+3s,3s+3s,6s+2s@0+1"},
      {"a source may be read twice",
       {Piece(0, 100, 1), Piece(0, 101, 1)},
       Limits(kAny, kAny, 8),
       "0:100<-0+1,0+1@0+2"},
  };
  const StackMap map = StackMap::Identity(1000 * kB);
  for (const PlanCase& c : cases) {
    const auto plan = PlanCopy(c.pieces, c.limits, map);
    ASSERT_TRUE(plan.ok()) << c.name;
    EXPECT_EQ(Describe(*plan), c.commands) << c.name;
    EXPECT_FALSE(plan->obstacle) << c.name;
  }
}

TEST(PlannerTest, Refusals) {
  const StackMap map = StackMap::Identity(100 * kB);
  const CopyLimits any = Limits(UINT64_MAX, UINT64_MAX, 1);
  const std::vector<std::vector<CopyPiece>> bad = {
      {Piece(0, 50, 0)},
      {Piece(0, 1, 2)},                     // onto itself, forward
      {Piece(1, 0, 2)},                     // onto itself, backward
      {Piece(5, 5, 1)},                     // the same place
      {Piece(0, 50, 2), Piece(4, 51, 2)},   // two destinations
      {Piece(0, 50, 2), Piece(51, 60, 1)},  // one piece's source is another's destination
      {Piece(51, 60, 1), Piece(0, 50, 2)},
      {Piece(99, 0, 2)},
      {Piece(0, 99, 2)},
      {Piece(0, UINT64_MAX / kB, 1)},
      {{DeviceOffset(kSector), DeviceOffset(50 * kB), kB}},
      {{DeviceOffset(0), DeviceOffset(50 * kB + kSector), kB}},
      {{DeviceOffset(0), DeviceOffset(50 * kB), kSector}},
  };
  for (size_t i = 0; i < bad.size(); ++i)
    EXPECT_TRUE(PlanCopy(bad[i], any, map).Is(ErrorCode::kInvalidArgument))
        << "case " << i;
  const std::vector<CopyPiece> good = {Piece(0, 50, 2)};
  for (const CopyLimits& limits :
       {Limits(0, kB, 1), Limits(kB, 0, 1), Limits(kB, kB, 0),
        Limits(kB, kB, 1, 3 * kSector), Limits(kB, kB, 1, 0), Limits(kB, kB, 1, 8 * kB)})
    EXPECT_TRUE(PlanCopy(good, limits, map).Is(ErrorCode::kInvalidArgument));
  EXPECT_TRUE(PlanCopy(good, any, map).ok());
}

TEST(PlannerTest, StripesJoinAcrossChunks) {
  StackMap map;
  const auto a = map.AddLeaf(100 * kB);
  const auto b = map.AddLeaf(100 * kB);
  ASSERT_TRUE(map.AddTable({{.offset = 0,
                             .length_bytes = 80 * kB,
                             .chunk_bytes = 2 * kB,
                             .children = {{a, 10 * kB}, {b, 20 * kB}}}})
                  .ok());
  const std::vector<CopyPiece> pieces = {Piece(0, 40, 8)};
  const auto plan = PlanCopy(pieces, Limits(UINT64_MAX, UINT64_MAX, 1), map);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(Describe(*plan), "0:30<-10+4@0+2,4+2 1:40<-20+4@2+2,6+2");

  // Half a chunk out of step, half of each chunk would have to change drives.
  const std::vector<CopyPiece> crossing = {Piece(0, 41, 4)};
  const auto refused = PlanCopy(crossing, Limits(UINT64_MAX, UINT64_MAX, 1), map);
  ASSERT_TRUE(refused.ok());
  EXPECT_EQ(refused->planned_bytes, kB);
  ASSERT_TRUE(refused->obstacle);
  EXPECT_EQ(refused->obstacle->code(), ErrorCode::kNotSupported);
}

TEST(PlannerTest, PartitionOffTheDrivesAlignment) {
  StackMap map;
  const auto drive = map.AddLeaf(100 * kB);
  ASSERT_TRUE(map.AddTable({{.offset = 0,
                             .length_bytes = 50 * kB,
                             .chunk_bytes = 0,
                             .children = {{drive, kSector}}}})
                  .ok());
  const std::vector<CopyPiece> pieces = {Piece(0, 40, 1)};
  const auto plan = PlanCopy(pieces, Limits(kB, kB, 1, kSector), map);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(Describe(*plan), "0:321s<-1s+1@0+1");
  const auto refused = PlanCopy(pieces, Limits(kB, kB, 1, kB), map);
  ASSERT_TRUE(refused.ok());
  EXPECT_TRUE(refused->obstacle);
  EXPECT_EQ(refused->planned_bytes, 0u);
}

TEST(StackMapTest, RefusesBadTables) {
  const auto table = [](std::vector<StackMap::Segment> segments) {
    StackMap map;
    map.AddLeaf(100);
    map.AddLeaf(10);
    return map.AddTable(std::move(segments));
  };
  EXPECT_TRUE(table({{0, 50, 0, {{0, 50}}}}).ok());
  EXPECT_FALSE(table({}).ok());
  EXPECT_FALSE(table({{0, 0, 0, {{0, 0}}}}).ok());
  EXPECT_FALSE(table({{0, 51, 0, {{0, 50}}}}).ok());         // past the end
  EXPECT_FALSE(table({{0, 1, 0, {{0, UINT64_MAX}}}}).ok());  // overflow
  EXPECT_FALSE(table({{1, 5, 0, {{0, 0}}}}).ok());           // does not start at 0
  EXPECT_FALSE(table({{0, 5, 0, {{0, 0}}}, {6, 5, 0, {{0, 50}}}}).ok());  // gap
  EXPECT_FALSE(table({{0, 5, 0, {{0, 0}}}, {4, 5, 0, {{0, 50}}}}).ok());  // overlap
  EXPECT_FALSE(table({{0, 5, 0, {}}}).ok());
  EXPECT_TRUE(table({{0, 20, 5, {{0, 0}, {1, 0}}}}).ok());
  EXPECT_FALSE(table({{0, 20, 0, {{0, 0}, {1, 0}}}}).ok());  // chunk of nothing
  EXPECT_FALSE(table({{0, 20, 3, {{0, 0}, {1, 0}}}}).ok());  // parts of chunks
  EXPECT_FALSE(table({{0, 40, 5, {{0, 0}, {1, 0}}}}).ok());  // second child too small
}

TEST(StackMapTest, FindsAliases) {
  StackMap map;
  const auto drive = map.AddLeaf(100);
  const auto part = map.AddTable({{0, 50, 0, {{drive, 10}}}});
  ASSERT_TRUE(part.ok());
  ASSERT_TRUE(map.CheckNoAliases().ok());
  StackMap twice = map;
  ASSERT_TRUE(twice.AddTable({{0, 50, 0, {{*part, 0}}}, {50, 10, 0, {{*part, 45}}}})
                  .Is(ErrorCode::kNotSupported));  // past the end of the part
  ASSERT_TRUE(twice.AddTable({{0, 50, 0, {{*part, 0}}}, {50, 5, 0, {{*part, 45}}}}).ok());
  EXPECT_TRUE(twice.CheckNoAliases().Is(ErrorCode::kNotSupported));
  StackMap beside = map;
  ASSERT_TRUE(
      beside.AddTable({{0, 50, 0, {{*part, 0}}}, {50, 5, 0, {{drive, 59}}}}).ok());
  EXPECT_TRUE(beside.CheckNoAliases().Is(ErrorCode::kNotSupported));
}

// --- Random plans against a model ---

uint64_t Seed() {
  const char* text = std::getenv("COFS_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 0) : 20240611;
}

class Model {
 public:
  explicit Model(uint64_t seed) : random_(seed) {}

  uint64_t Pick(uint64_t low, uint64_t high) {
    return std::uniform_int_distribution<uint64_t>(low, high)(random_);
  }

  // A device of `kDeviceBlocks` blocks on one to three drives, laid out at random.
  void BuildStack() {
    map_ = StackMap();
    const int drives = static_cast<int>(Pick(1, 3));
    std::vector<StackMap::NodeId> nodes;
    drives_.assign(drives, {});
    for (int i = 0; i < drives; ++i) {
      const uint64_t sectors = kDeviceBlocks * 8 * 2 + 64;
      nodes.push_back(map_.AddLeaf(sectors * kSector));
      drives_[i].resize(sectors);
    }
    switch (Pick(0, 3)) {
      case 0:
        BuildLinear(nodes);
        break;
      case 1:
        BuildStriped(nodes);
        break;
      case 2:
        BuildLinearOnStriped(nodes);
        break;
      default:
        BuildLinear({nodes[0]});
        break;
    }
    ASSERT_TRUE(map_.CheckNoAliases().ok());
    ASSERT_EQ(map_.size_bytes(), kDeviceBlocks * kB);
    // What each sector of the device is, by the drive's sector: asked one sector at a
    // time, so that the length of a run is checked as well.
    for (uint64_t i = 0; i < kDeviceBlocks * 8; ++i) SectorOf(i) = i + 1;
  }

  uint64_t& SectorOf(uint64_t sector) {
    const StackRun run = map_.RunAt(sector * kSector);
    return drives_[run.leaf][run.offset / kSector];
  }

  std::vector<CopyPiece> BuildPieces() {
    // Blocks are sources or destinations by turns of random length.
    std::vector<CopyPiece> pieces;
    const uint64_t half = kDeviceBlocks / 2;
    uint64_t destination = half + Pick(0, 10);
    while (destination < kDeviceBlocks && pieces.size() < 12) {
      const uint64_t length = std::min(Pick(1, 20), kDeviceBlocks - destination);
      uint64_t source = Pick(0, half - length);
      if (!pieces.empty() && Pick(0, 2) == 0)
        source =
            std::min(pieces.back().source.value() / kB + pieces.back().length_bytes / kB,
                     half - length);
      pieces.push_back(Piece(source, destination, length));
      destination += length + (Pick(0, 2) == 0 ? Pick(1, 4) : 0);
    }
    std::shuffle(pieces.begin() + pieces.size() / 2, pieces.end(), random_);
    return pieces;
  }

  CopyLimits PickLimits() {
    const uint64_t alignment = Pick(0, 3) == 0 ? kB : kSector;
    return Limits(alignment * Pick(1, 40), alignment * Pick(1, 200),
                  static_cast<uint32_t>(Pick(1, 9)), alignment);
  }

  // The sector that the copy puts at device sector `i` after `bytes` of it.
  std::vector<uint64_t> Expected(const std::vector<CopyPiece>& pieces, uint64_t bytes) {
    std::vector<uint64_t> sectors(kDeviceBlocks * 8);
    for (size_t i = 0; i < sectors.size(); ++i) sectors[i] = i + 1;
    for (const CopyPiece& piece : pieces) {
      const uint64_t length = std::min(bytes, piece.length_bytes);
      for (uint64_t i = 0; i < length / kSector; ++i)
        sectors[piece.destination.value() / kSector + i] =
            piece.source.value() / kSector + i + 1;
      bytes -= length;
    }
    return sectors;
  }

  void CheckLimits(const CopyCommand& command, const CopyLimits& limits) {
    ASSERT_LE(command.segments.size(), limits.segments_max);
    ASSERT_LE(command.length_bytes, limits.command_bytes_max);
    ASSERT_EQ(command.length_bytes, command.BytesOfSegments(command.segments.size()));
    ASSERT_EQ(command.destination % limits.alignment_bytes, 0u);
    uint64_t span_bytes = 0;
    for (const CopySpan& span : command.spans) span_bytes += span.length_bytes;
    ASSERT_EQ(span_bytes, command.length_bytes);
    for (const CopySegment& segment : command.segments) {
      ASSERT_GT(segment.length_bytes, 0u);
      ASSERT_LE(segment.length_bytes, limits.segment_bytes_max);
      ASSERT_EQ((segment.source | segment.length_bytes) % limits.alignment_bytes, 0u);
    }
  }

  // Carries out the first `bytes` of a command, as a drive would.
  void Carry(const CopyCommand& command, uint64_t bytes) {
    std::vector<uint64_t>& drive = drives_[command.leaf];
    uint64_t destination = command.destination / kSector, left = bytes / kSector;
    for (const CopySegment& segment : command.segments)
      for (uint64_t i = 0; i < segment.length_bytes / kSector && left > 0; ++i, --left)
        drive[destination++] = drive[segment.source / kSector + i];
  }

  void Run() {
    BuildStack();
    const std::vector<CopyPiece> pieces = BuildPieces();
    const CopyLimits limits = PickLimits();
    auto result = PlanCopy(pieces, limits, map_);
    ASSERT_TRUE(result.ok()) << result.error().ToString();
    CopyPlan& plan = *result;
    uint64_t total = 0;
    for (const CopyPiece& piece : pieces) total += piece.length_bytes;
    ASSERT_EQ(plan.obstacle.has_value(), plan.planned_bytes < total);

    std::shuffle(plan.commands.begin(), plan.commands.end(), random_);
    CopyProgress progress;
    std::vector<bool> done(plan.planned_bytes / kSector);
    const bool may_fail = Pick(0, 1) == 0;
    for (const CopyCommand& command : plan.commands) {
      CheckLimits(command, limits);
      uint64_t bytes = command.length_bytes;
      if (may_fail && Pick(0, 5) == 0)
        bytes = command.BytesOfSegments(Pick(0, command.segments.size() - 1));
      Carry(command, bytes);
      progress.Add(command, bytes);
      MarkDone(command, bytes, done);
    }
    uint64_t prefix = 0;
    while (prefix < done.size() && done[prefix]) ++prefix;
    prefix = prefix / 8 * kB;
    ASSERT_EQ(progress.PrefixBytes(), prefix);
    if (!may_fail) {
      ASSERT_EQ(prefix, RoundDown(plan.planned_bytes, kB));
    }

    const std::vector<uint64_t> expected = Expected(pieces, prefix);
    for (const CopyPiece& piece : pieces) {
      const uint64_t length = std::min(prefix, piece.length_bytes) / kSector;
      for (uint64_t i = 0; i < length; ++i) {
        const uint64_t sector = piece.destination.value() / kSector + i;
        ASSERT_EQ(SectorOf(sector), expected[sector]);
      }
      prefix -= length * kSector;
    }
    // Nothing outside the destinations has changed.
    const std::vector<uint64_t> whole = Expected(pieces, total);
    for (uint64_t i = 0; i < whole.size(); ++i)
      if (whole[i] == i + 1) {
        ASSERT_EQ(SectorOf(i), i + 1);
      }
  }

 private:
  static constexpr uint64_t kDeviceBlocks = 240;

  static void MarkDone(const CopyCommand& command, uint64_t bytes,
                       std::vector<bool>& done) {
    for (const CopySpan& span : command.spans)
      for (uint64_t i = 0; i < span.length_bytes && bytes > 0; i += kSector) {
        const uint64_t sector = (span.position + i) / kSector;
        ASSERT_LT(sector, done.size());
        ASSERT_FALSE(done[sector]) << "a position in two commands";
        done[sector] = true;
        bytes -= kSector;
      }
  }

  // Pieces of random length from the drives by turns, each drive's in order.
  void BuildLinear(const std::vector<StackMap::NodeId>& nodes) {
    std::vector<StackMap::Segment> segments;
    std::vector<uint64_t> next(nodes.size());
    const uint64_t unit = Pick(0, 1) == 0 ? kB : kSector;
    for (uint64_t at = 0; at < kDeviceBlocks * kB;) {
      const size_t n = Pick(0, nodes.size() - 1);
      const uint64_t length = std::min(unit * Pick(1, 500), kDeviceBlocks * kB - at);
      if (Pick(0, 1) == 0) next[n] += unit * Pick(0, 2);
      next[n] = std::min(next[n], map_.size_bytes(nodes[n]) - (kDeviceBlocks * kB - at));
      next[n] = std::max(next[n], used_[nodes[n]]);
      segments.push_back({at, length, 0, {{nodes[n], next[n]}}});
      next[n] += length;
      used_[nodes[n]] = next[n];
      at += length;
    }
    used_.clear();
    ASSERT_TRUE(map_.AddTable(segments).ok());
  }

  Result<StackMap::NodeId> AddStripes(const std::vector<StackMap::NodeId>& nodes) {
    StackMap::Segment segment{0, kDeviceBlocks * kB, 0, {}};
    const uint64_t chunk_blocks[] = {1, 2, 4, 8, 20};
    segment.chunk_bytes = chunk_blocks[Pick(0, 4)] * kB;
    for (const auto node : nodes)
      segment.children.push_back({node, kSector * 8 * Pick(0, 3)});
    return map_.AddTable({segment});
  }
  void BuildStriped(const std::vector<StackMap::NodeId>& nodes) {
    ASSERT_TRUE(AddStripes(nodes).ok());
  }
  void BuildLinearOnStriped(const std::vector<StackMap::NodeId>& nodes) {
    const auto stripes = AddStripes(nodes);
    ASSERT_TRUE(stripes.ok());
    const uint64_t cut = Pick(1, kDeviceBlocks - 1) * kB, size = kDeviceBlocks * kB;
    ASSERT_TRUE(map_.AddTable({{0, size - cut, 0, {{*stripes, cut}}},
                               {size - cut, cut, 0, {{*stripes, 0}}}})
                    .ok());
  }

  std::mt19937_64 random_;
  StackMap map_;
  std::map<StackMap::NodeId, uint64_t> used_;
  std::vector<std::vector<uint64_t>> drives_;
};

TEST(PlannerTest, RandomPlansMatchTheModel) {
  const uint64_t seed = Seed();
  RecordProperty("seed", std::to_string(seed));
  for (uint64_t i = 0; i < 1500; ++i) {
    SCOPED_TRACE("COFS_SEED=" + std::to_string(seed + i));
    Model(seed + i).Run();
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace cofs
