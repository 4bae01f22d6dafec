// The trial copy of the probe against ways that lie.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/aligned_buffer.h"
#include "copy_engine/copy_probe.h"
#include "device/memory_device.h"

namespace cofs {
namespace {

using testing::HasSubstr;
constexpr uint64_t kB = kBlockBytes;

enum class Lie {
  kNone,
  kNothing,       // says done, copies nothing
  kOneBlockLess,  // leaves the last block out
  kOneBlockMore,  // writes behind the destination
  kOtherOrder,    // takes the pieces in another order
  kWritesSource,  // swaps instead of copying
  kFails,         // answers an error
  kStopsEarly,    // stops, and says so
  kDeclines,      // can't do any piece
  kDeclinesFar,   // only what stays within a chunk of eight blocks
};

class LyingWay : public CopyWay {
 public:
  LyingWay(BlockDevice& device, Lie lie) : device_(device), lie_(lie) {}
  CopyWayId id() const override { return CopyWayId::kNvmeCopy; }
  const CopyLimits& limits() const override { return limits_; }

  CopyOutcome Run(const CopyTask& task) override {
    ++run_count;
    CopyOutcome outcome;
    if (Declines(task)) {
      outcome.stop = CopyStop::kNotApplicable;
      outcome.error = Error(ErrorCode::kNotSupported, "on different drives");
      return outcome;
    }
    if (lie_ == Lie::kFails) {
      outcome.stop = CopyStop::kWayFailed;
      outcome.error = Error(ErrorCode::kNotSupported, "no such command");
      return outcome;
    }
    uint64_t total = 0;
    for (const CopyPiece& piece : task.pieces) total += piece.length_bytes;
    outcome.completed_bytes = total;
    if (lie_ == Lie::kStopsEarly) {
      outcome.stop = CopyStop::kInterrupted;
      outcome.completed_bytes = 0;
    }
    if (lie_ == Lie::kNothing || lie_ == Lie::kStopsEarly) return outcome;
    CopyPieces(task.pieces);
    return outcome;
  }

  int run_count = 0;

 private:
  bool Declines(const CopyTask& task) const {
    if (lie_ == Lie::kDeclines) return true;
    if (lie_ != Lie::kDeclinesFar) return false;
    for (const CopyPiece& piece : task.pieces)
      if (piece.source.value() / (8 * kB) != piece.destination.value() / (8 * kB))
        return true;
    return false;
  }

  void CopyPieces(std::span<const CopyPiece> pieces) {
    for (size_t i = 0; i < pieces.size(); ++i) {
      const CopyPiece& piece = pieces[i];
      const bool is_last = i + 1 == pieces.size();
      DeviceOffset source = piece.source;
      if (lie_ == Lie::kOtherOrder) source = pieces[pieces.size() - 1 - i].source;
      uint64_t length = piece.length_bytes;
      if (lie_ == Lie::kOneBlockLess && is_last) length -= kB;
      if (lie_ == Lie::kOneBlockMore && is_last) length += kB;
      AlignedBuffer from(length), to(length);
      ASSERT_TRUE(device_.Read(source, from.span()).ok());
      ASSERT_TRUE(device_.Read(piece.destination, to.span()).ok());
      ASSERT_TRUE(device_.Write(piece.destination, from.span()).ok());
      if (lie_ == Lie::kWritesSource) {
        ASSERT_TRUE(device_.Write(source, to.span()).ok());
      }
    }
  }

  BlockDevice& device_;
  const Lie lie_;
  const CopyLimits limits_;
};

TEST(CopyProbeTest, BelievesOnlyTheBytes) {
  struct Case {
    Lie lie;
    const char* reason;  // empty: proved
  };
  const Case cases[] = {
      {Lie::kNone, ""},
      {Lie::kNothing, "other bytes"},
      {Lie::kOneBlockLess, "other bytes"},
      {Lie::kOneBlockMore, "other bytes"},
      {Lie::kOtherOrder, "other bytes"},
      {Lie::kWritesSource, "other bytes"},
      {Lie::kFails, "no such command"},
      {Lie::kStopsEarly, "ended early"},
      {Lie::kDeclines, "on different drives"},
      {Lie::kDeclinesFar, ""},
  };
  for (const uint64_t scratch_blocks : {8, 9, 64, 1000}) {
    MemoryDevice device(1200 * kB);
    const DeviceRange scratch = {DeviceOffset(100 * kB), scratch_blocks * kB};
    for (const Case& c : cases) {
      LyingWay way(device, c.lie);
      const Status tried = TryWay(way, device, scratch);
      const std::string where =
          StrCat("lie ", static_cast<int>(c.lie), ", scratch of ", scratch_blocks);
      EXPECT_EQ(tried.ok(), *c.reason == '\0') << where;
      if (!tried.ok()) {
        EXPECT_THAT(tried.error().ToString(), HasSubstr(c.reason)) << where;
      }
    }
    // All of it stayed inside the scratch, and the block behind it.
    AlignedBuffer around(1200 * kB);
    ASSERT_TRUE(device.Read(DeviceOffset(0), around.span()).ok());
    for (uint64_t i = 0; i < around.size_bytes(); ++i)
      if (i / kB < 100 || i / kB >= 100 + scratch_blocks) {
        ASSERT_EQ(around.data()[i], 0) << "byte " << i;
      }
  }
}

TEST(CopyProbeTest, DevicesWithoutWays) {
  MemoryDevice device(100 * kB);
  std::vector<WayFinding> findings;
  EXPECT_TRUE(FindWays(device, DeviceRange{DeviceOffset(0), 64 * kB}, &findings).empty());
  ASSERT_EQ(findings.size(), 3u);
  for (const WayFinding& finding : findings) {
    EXPECT_EQ(finding.state, WayFinding::State::kAbsent);
    EXPECT_THAT(finding.reason, HasSubstr("neither a block device nor an image"));
  }
  EXPECT_TRUE(FindWays(device, std::nullopt, nullptr).empty());
}

}  // namespace
}  // namespace cofs
