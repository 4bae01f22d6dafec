// Drives the ways of copying on real devices of the guest; cases/copy_ways.sh calls it.
//
//   copy_ways_guest_test find   DEVICE WAY STATE [REASON]
//   copy_ways_guest_test model  DEVICE WAY ROUNDS COPIED_BYTES_MIN
//   copy_ways_guest_test engine DEVICE WAY
//   copy_ways_guest_test fault  DEVICE WAY BAD_BLOCK ONCE_BLOCK
//   copy_ways_guest_test change DEVICE WAY COMMAND
//
// WAY is a name of copy_engine.h, or "nvme-copy-ioctl" for the other transport. Every
// copy is compared byte for byte, and so is everything around it.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>

#include "base/aligned_buffer.h"
#include "copy_engine/copy_probe.h"
#include "copy_engine/nvme_copy_way.h"
#include "copy_engine/ordered_copy_engine.h"
#include "copy_engine/planner.h"
#include "device/file_device.h"

namespace cofs {
namespace {

constexpr uint64_t kB = kBlockBytes;
constexpr uint64_t kRegionBytesMax = 4 << 20;
constexpr uint64_t kScratchBytes = 512 << 10;

#define EXPECT(condition, ...)                                    \
  do {                                                            \
    if (!(condition)) {                                           \
      std::printf("FAIL line %d: %s: %s\n", __LINE__, #condition, \
                  StrCat(__VA_ARGS__).c_str());                   \
      std::exit(1);                                               \
    }                                                             \
  } while (false)

using Bytes = std::vector<char>;
using Pieces = std::vector<CopyPiece>;

void FillRandom(std::mt19937_64& random, char* out, uint64_t length_bytes) {
  for (uint64_t i = 0; i < length_bytes; i += 8) {
    const uint64_t word = random();
    std::memcpy(out + i, &word, 8);
  }
}

CopyPiece Piece(uint64_t source, uint64_t destination, uint64_t blocks) {
  return {DeviceOffset(source * kB), DeviceOffset(destination * kB), blocks * kB};
}

uint64_t BytesOf(const Pieces& pieces) {
  uint64_t bytes = 0;
  for (const CopyPiece& piece : pieces) bytes += piece.length_bytes;
  return bytes;
}

CopyOutcome RunWay(CopyWay& way, const Pieces& pieces, unsigned depth,
                   const std::function<bool()>& interrupted = nullptr) {
  return way.Run({.pieces = pieces,
                  .depth = depth,
                  .interrupted = interrupted,
                  .check_source = nullptr});
}

std::string TextOf(const CopyOutcome& outcome) {
  return StrCat("stop ", int(outcome.stop), ", ", outcome.completed_bytes, " bytes, ",
                outcome.error ? outcome.error->ToString() : "no error");
}

// A device, a model of its first bytes, and a way.
class Bench {
 public:
  Bench(const std::string& path, const std::string& way_name) : way_name_(way_name) {
    auto device = FileDevice::Open(path, OpenMode::kReadWrite);
    EXPECT(device.ok(), device.error().ToString());
    device_ = *std::move(device);
    EXPECT(device_->geometry().is_direct, "not direct");
    region_bytes_ =
        std::min(RoundDown(device_->geometry().size_bytes, kB), kRegionBytesMax);
  }

  // The findings of the probe, with the last part of the region as scratch.
  std::vector<std::unique_ptr<CopyWay>> Find() {
    return FindWays(
        *device_, DeviceRange{DeviceOffset(region_bytes_ - kScratchBytes), kScratchBytes},
        &findings);
  }
  const WayFinding& FindingOf(std::string_view name) {
    for (const WayFinding& finding : findings)
      if (NameOf(finding.way) == name) return finding;
    EXPECT(false, "no finding for ", name);
    std::abort();
  }

  void OpenWay() {
    if (way_name_ == "nvme-copy-ioctl") {
      way_ = OpenIoctlWay();
    } else {
      auto ways = Find();
      for (auto& way : ways)
        if (NameOf(way->id()) == way_name_) way_ = std::move(way);
    }
    EXPECT(way_ != nullptr, way_name_, " not found");
    FillModel();
  }
  std::unique_ptr<CopyWay> TakeWay() { return std::move(way_); }

  void FillModel() {
    model_.resize(region_bytes_);
    FillRandom(random_, model_.data(), region_bytes_);
    const Status written = device_->Write(DeviceOffset(0), model_);
    EXPECT(written.ok(), written.error().ToString());
  }

  // Carries out one copy, and compares [window_begin, window_end) with the model.
  CopyOutcome CopyAndCompare(const Pieces& pieces, unsigned depth, uint64_t window_begin,
                             uint64_t window_end,
                             const std::function<bool()>& interrupted = nullptr) {
    const CopyOutcome outcome = RunWay(*way_, pieces, depth, interrupted);
    EXPECT(
        outcome.completed_bytes % kB == 0 && outcome.completed_bytes <= BytesOf(pieces),
        TextOf(outcome));
    EXPECT(outcome.stop != CopyStop::kDone || outcome.completed_bytes == BytesOf(pieces),
           TextOf(outcome));
    command_count += outcome.command_count;
    copied_bytes += outcome.completed_bytes;
    for (const CopyPiece& piece : pieces)
      if (piece.source.value() >= model_.size())
        EXPECT(outcome.stop != CopyStop::kDone, "a source that can't be read was copied");
    Compare(pieces, outcome.completed_bytes, window_begin, window_end);
    return outcome;
  }

  // `completed_bytes` of the copy are in place, the rest of its destinations is
  // undefined, and nothing else has changed.
  void Compare(const Pieces& pieces, uint64_t completed_bytes, uint64_t window_begin,
               uint64_t window_end) {
    AlignedBuffer now(window_end - window_begin);
    const Status read = device_->Read(DeviceOffset(window_begin), now.span());
    EXPECT(read.ok(), read.error().ToString());
    for (const CopyPiece& piece : pieces) {
      const uint64_t done = std::min(completed_bytes, piece.length_bytes);
      char* to = model_.data() + piece.destination.value();
      std::memcpy(to, model_.data() + piece.source.value(), done);
      std::memcpy(to + done,
                  now.data() + (piece.destination.value() - window_begin) + done,
                  piece.length_bytes - done);
      completed_bytes -= done;
    }
    for (uint64_t at = window_begin; at < window_end; at += kB)
      EXPECT(std::memcmp(model_.data() + at, now.data() + (at - window_begin), kB) == 0,
             "block at ", at, " differs");
  }

  FileDevice& device() { return *device_; }
  CopyWay& way() { return *way_; }
  uint64_t region_bytes() const { return region_bytes_; }
  // Without the scratch.
  uint64_t used_bytes() const { return region_bytes_ - kScratchBytes; }

  std::vector<WayFinding> findings;
  std::atomic<uint64_t> command_count = 0;
  std::atomic<uint64_t> copied_bytes = 0;

 private:
  std::unique_ptr<CopyWay> OpenIoctlWay() {
    struct stat info;
    EXPECT(::fstat(device_->native_fd(), &info) == 0, "stat");
    auto way = StackedCopyWay::Open(CopyWayId::kNvmeCopy, NewSystemStackSource(),
                                    {major(info.st_rdev), minor(info.st_rdev)},
                                    [](const DeviceStack& stack) {
                                      return OpenNvmeRunner(stack, NvmeTransport::kIoctl);
                                    });
    EXPECT(way.ok(), way.error().ToString());
    std::printf("  %s\n", (*way)->description().c_str());
    return *std::move(way);
  }

  const std::string way_name_;
  std::mt19937_64 random_{4711};
  std::unique_ptr<FileDevice> device_;
  std::unique_ptr<CopyWay> way_;
  uint64_t region_bytes_ = 0;
  Bytes model_;
};

int Find(const std::string& path, const std::string& way, const std::string& state,
         const std::string& reason) {
  Bench bench(path, way);
  bench.Find();
  const WayFinding& finding = bench.FindingOf(way);
  std::printf("  %s: %s %s%s\n", way.c_str(), std::string(NameOf(finding.state)).c_str(),
              finding.description.c_str(), finding.reason.c_str());
  if (finding.state == WayFinding::State::kProved)
    std::printf("  limits: segment %ju, command %ju, segments %u, alignment %ju\n",
                uintmax_t{finding.limits.segment_bytes_max},
                uintmax_t{finding.limits.command_bytes_max}, finding.limits.segments_max,
                uintmax_t{finding.limits.alignment_bytes});
  EXPECT(NameOf(finding.state) == state, "expected ", state);
  EXPECT(finding.reason.find(reason) != std::string::npos, "expected ", reason);
  return 0;
}

// Pieces at random inside the window; many land next to the one before.
Pieces RandomPieces(std::mt19937_64& random, uint64_t window_begin, uint64_t window_end) {
  const uint64_t first = window_begin / kB, blocks = (window_end - window_begin) / kB;
  Pieces pieces;
  const uint64_t count = 1 + random() % 6;
  for (int tries = 0; tries < 40 && pieces.size() < count; ++tries) {
    const uint64_t length = 1 + random() % 48;
    uint64_t destination = first + random() % (blocks - length);
    if (!pieces.empty() && random() % 2 == 0)
      destination = (pieces.back().destination.value() + pieces.back().length_bytes) / kB;
    if (destination + length > first + blocks) continue;
    uint64_t source = first + random() % (blocks - length);
    // Often in step with the stripes of the guest, two chunks of 32 KiB.
    if (random() % 2 == 0) source = first + (source - first) / 16 * 16 + destination % 16;
    if (source + length > first + blocks) continue;
    pieces.push_back(Piece(source, destination, length));
    if (PiecesOverlap(pieces)) pieces.pop_back();
  }
  return pieces;
}

void RunRounds(Bench& bench, uint64_t seed, int rounds, uint64_t begin, uint64_t end) {
  std::mt19937_64 random(seed);
  for (int round = 0; round < rounds; ++round) {
    const Pieces pieces = RandomPieces(random, begin, end);
    if (pieces.empty()) continue;
    const unsigned depth = 1 + random() % 32;
    int polls_left = random() % 4 == 0 ? static_cast<int>(random() % 4) : -1;
    const CopyOutcome outcome = bench.CopyAndCompare(pieces, depth, begin, end,
                                                     [&] { return polls_left-- == 0; });
    EXPECT(outcome.stop == CopyStop::kDone || outcome.stop == CopyStop::kInterrupted ||
               (outcome.stop == CopyStop::kNotApplicable &&
                outcome.error->code() == ErrorCode::kNotSupported),
           TextOf(outcome));
  }
}

int Model(const std::string& path, const std::string& way, int rounds,
          uint64_t copied_bytes_min) {
  const char* text = std::getenv("COFS_SEED");
  const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 0) : 1;
  Bench bench(path, way);
  bench.OpenWay();
  RunRounds(bench, seed, rounds, 0, bench.used_bytes());
  // Four at once, each in a part of its own.
  std::vector<std::thread> threads;
  const uint64_t part = RoundDown(bench.used_bytes() / 4, kB);
  for (uint64_t i = 0; i < 4; ++i)
    threads.emplace_back([&bench, seed, rounds, part, i] {
      RunRounds(bench, seed + 1 + i, rounds / 4, i * part, (i + 1) * part);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT(bench.device().Flush().ok(), "flush");
  std::printf("  COPIED %s %s bytes=%ju commands=%ju seed=%ju\n", path.c_str(),
              way.c_str(), uintmax_t{bench.copied_bytes}, uintmax_t{bench.command_count},
              uintmax_t{seed});
  EXPECT(bench.copied_bytes >= copied_bytes_min, "copied too little to prove anything");
  return 0;
}

// The whole engine, with the ways that were proved: all bytes go by `way`.
int Engine(const std::string& path, const std::string& way) {
  Bench bench(path, way);
  OrderedCopyEngine engine(bench.device(), CopyEngine::Options(),
                           {.ways = bench.Find(), .findings = {}});
  bench.FillModel();
  const Pieces pieces = {Piece(0, 512, 100), Piece(200, 612, 156)};
  const auto report = engine.Copy({.pieces = pieces,
                                   .policy = CopyPolicy::kAuto,
                                   .interrupted = nullptr,
                                   .check_source = nullptr});
  EXPECT(report.ok(), report.error().ToString());
  EXPECT(report->completed_bytes == BytesOf(pieces), report->completed_bytes);
  for (size_t i = 0; i < kCopyWayCount; ++i)
    if (report->bytes_by_way[i] > 0)
      std::printf("  ENGINE %s %s bytes=%ju fallbacks=%ju\n", path.c_str(),
                  std::string(NameOf(static_cast<CopyWayId>(i))).c_str(),
                  uintmax_t{report->bytes_by_way[i]}, uintmax_t{report->fallback_count});
  for (size_t i = 0; i < kCopyWayCount; ++i)
    EXPECT(report->bytes_by_way[i] ==
               (NameOf(static_cast<CopyWayId>(i)) == way ? BytesOf(pieces) : 0),
           "way ", i);
  bench.Compare(pieces, report->completed_bytes, 0, bench.used_bytes());
  return 0;
}

// Reading `bad_block` fails for ever, `once_block` for the first time only.
int Fault(const std::string& path, const std::string& way, uint64_t bad_block,
          uint64_t once_block) {
  Bench bench(path, way);
  bench.OpenWay();
  const uint64_t window = bad_block * kB;
  EXPECT(window > 300 * kB, "bad block too early");

  // The third source is bad: the first two count.
  const Pieces three = {Piece(10, 100, 4), Piece(30, 104, 3), Piece(bad_block, 107, 1),
                        Piece(60, 108, 5)};
  const CopyOutcome outcome = bench.CopyAndCompare(three, 8, 0, 200 * kB);
  EXPECT(outcome.stop == CopyStop::kWayFailed, TextOf(outcome));
  std::printf("  FAULT %s\n", TextOf(outcome).c_str());
  EXPECT(outcome.command_count == 1, outcome.command_count);
  EXPECT(outcome.completed_bytes == 7 * kB, TextOf(outcome));

  // Through the engine a source that fails once is done by another way.
  std::vector<std::unique_ptr<CopyWay>> ways;
  ways.push_back(bench.TakeWay());
  OrderedCopyEngine engine(bench.device(), CopyEngine::Options(),
                           {.ways = std::move(ways), .findings = {}});
  const Pieces once = {Piece(once_block, 150, 1)};
  const auto copy = [&](CopyPolicy policy) {
    return engine.Copy({.pieces = once,
                        .policy = policy,
                        .interrupted = nullptr,
                        .check_source = nullptr});
  };
  const auto report = copy(CopyPolicy::kAuto);
  EXPECT(report.ok(), report.error().ToString());
  EXPECT(report->fallback_count == 1, report->fallback_count);
  std::printf("  FALLBACK %s\n", report->fallback_reason.c_str());
  EXPECT(report->bytes_by_way[size_t(CopyWayId::kBuffered)] == kB, "not buffered");
  return 0;
}

// COMMAND changes the stack while a copy runs: it counts for nothing. The next one
// works, on what lies below then.
int Change(const std::string& path, const std::string& way, const std::string& command) {
  Bench bench(path, way);
  bench.OpenWay();
  const Pieces pieces = {Piece(0, 500, 300)};
  int polls = 0;
  const CopyOutcome outcome = RunWay(bench.way(), pieces, 1, [&] {
    if (++polls == 2) EXPECT(std::system(command.c_str()) == 0, command);
    return false;
  });
  std::printf("  CHANGED %s\n", TextOf(outcome).c_str());
  EXPECT(polls > 2, "too few commands to change anything in between");
  EXPECT(outcome.stop == CopyStop::kCopyFailed && outcome.completed_bytes == 0 &&
             outcome.error->code() == ErrorCode::kRetry,
         TextOf(outcome));
  bench.FillModel();
  const CopyOutcome next = bench.CopyAndCompare(pieces, 4, 0, bench.used_bytes());
  EXPECT(next.stop == CopyStop::kDone, TextOf(next));
  return 0;
}

int Main(const std::vector<std::string>& arguments) {
  const auto argument = [&](size_t i) {
    return i < arguments.size() ? arguments[i] : "";
  };
  const auto number = [&](size_t i) {
    return std::strtoull(argument(i).c_str(), nullptr, 0);
  };
  const std::string mode = argument(0), path = argument(1), way = argument(2);
  if (mode == "find") return Find(path, way, argument(3), argument(4));
  if (mode == "model") return Model(path, way, static_cast<int>(number(3)), number(4));
  if (mode == "engine") return Engine(path, way);
  if (mode == "fault") return Fault(path, way, number(3), number(4));
  if (mode == "change") return Change(path, way, argument(3));
  std::printf("unknown mode\n");
  return 2;
}

}  // namespace
}  // namespace cofs

int main(int argc, char** argv) {
  return cofs::Main(std::vector<std::string>(argv + 1, argv + argc));
}
