// A drive that answers flushes and forgets them: after a power cut any of its writes may
// be missing or torn, whatever it has acknowledged. Nobody can promise then that what was
// synced is there; cofs promises that it notices: what can be read is what was written
// once, and the rest is an error. Nothing crashes and nothing hangs.
//
// COFS_SEED=n chooses the states; COFS_LONG=1 takes many more.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <iostream>
#include <map>
#include <set>

#include "base/check.h"
#include "base/log.h"
#include "device/crash_replay.h"
#include "fsck/volume_check.h"
#include "mkfs/format.h"
#include "tests/core/test_volume.h"
#include "tests/crash/history.h"
#include "tests/crash/scene.h"

namespace cofs {
namespace {

// Every contents that a file has had, by its hash.
using PastContents = std::map<InodeId, std::set<uint64_t>>;

PastContents ContentsOf(const History& history) {
  PastContents past;
  Model model = history.base();
  const auto note = [&] {
    for (const auto& [id, node] : model.nodes())
      if (node.is_file()) past[id].insert(node.size_bytes() == 0 ? 0 : node.data_hash);
  };
  for (const History::Change& change : history.changes()) {
    change.apply(model);
    note();
  }
  return past;
}

struct LieCounts {
  uint64_t states = 0, refused = 0, found_by_fsck = 0, files_read = 0, read_errors = 0;
};

// Reads all that can be reached; what can't is counted.
class Reader {
 public:
  Reader(Volume& volume, const PastContents& past, LieCounts& counts)
      : volume_(volume), past_(past), counts_(counts) {}

  void ReadDirectory(InodeId directory, int depth) {
    std::vector<std::string> names;
    const Status read =
        volume_.ReadDirectory(directory, 0, [&](const DirectoryEntry& entry) {
          if (entry.name != "." && entry.name != "..") names.emplace_back(entry.name);
          return true;
        });
    if (!read.ok()) ++counts_.read_errors;
    for (const std::string& name : names) {
      const auto found = volume_.Lookup(directory, name);
      if (!found.ok()) {
        ++counts_.read_errors;
        continue;
      }
      if (S_ISDIR(found->record.mode) && depth < 8) ReadDirectory(found->id, depth + 1);
      if (S_ISREG(found->record.mode)) ReadFile(*found);
      volume_.Forget(found->id, 1);
    }
  }

 private:
  void ReadFile(const InodeStat& file) {
    AlignedBuffer buffer;
    const auto data = volume_.Read(file.id, FileOffset{0},
                                   std::min<uint64_t>(file.record.size_bytes + 1, 1 << 20),
                                   buffer);
    if (!data.ok()) {
      ++counts_.read_errors;
      return;
    }
    ++counts_.files_read;
    const auto past = past_.find(file.id);
    ASSERT_TRUE(past != past_.end()) << "a file that never was: " << file.id;
    const uint64_t hash =
        data->empty() ? 0 : HashOf(std::string_view(data->data(), data->size()));
    EXPECT_TRUE(past->second.contains(hash))
        << "inode " << file.id << " has contents that it never had, and no error";
  }

  Volume& volume_;
  const PastContents& past_;
  LieCounts& counts_;
};

Status CheckState(CrashState& state, const PastContents& past, LieCounts& counts) {
  SCOPED_TRACE(StrCat(state.event, " ", state.how));
  ++counts.states;
  CheckOptions options;
  options.data = true;
  const auto report = CheckVolume(*state.image, options);
  if (!report.ok() || report->error_count() != 0) ++counts.found_by_fsck;
  auto mounted = Volume::Mount(Borrow(*state.image), QuietOptions());
  if (!mounted.ok()) {
    ++counts.refused;
    EXPECT_TRUE(!report.ok() || report->error_count() != 0)
        << "fsck finds nothing, but: " << mounted.error().ToString();
    return OkStatus();
  }
  Reader(**mounted, past, counts).ReadDirectory(kRootInode, 0);
  (*mounted)->Unmount().IgnoreError("the drive has lied");
  if (::testing::Test::HasFailure()) return Error(ErrorCode::kCorrupt, "wrong data");
  return OkStatus();
}

TEST(LyingDrive, WrongDataIsNeverTakenForRight) {
  SetLogSink([](LogLevel, std::string_view) {});
  std::mt19937_64 random(TestSeed(1));
  const auto memory = FormattedMemory(64 << 20);
  auto initial = memory->Fork();
  RecordingDevice recorder(*memory);
  auto volume = Volume::Mount(Borrow(recorder), QuietOptions()).value();
  History history(*volume, {.recorder = &recorder});
  const auto& operations = SceneOperations();
  for (size_t i = 0; i < operations.size(); i += 4) {
    const Scene scene = Scene::Make(history, Numbered("s", static_cast<int64_t>(i)));
    for (size_t k = i; k < std::min(i + 4, operations.size()); ++k)
      operations[k].run(history, scene);
    Persist(history, scene, i);
    scene.Leave(history);
  }
  ASSERT_OK(volume->Unmount());
  volume.reset();
  const PastContents past = ContentsOf(history);

  const IoLog log = recorder.TakeLog();
  LieCounts counts;
  for (int round = 0; round < (IsLongRun() ? 400 : 30) && !HasFailure(); ++round) {
    // Honest up to some moment, and from then on not.
    const EventNumber first_lie = random() % log.event_count;
    IoLog lied = log;
    for (LoggedIo& io : lied.ios) {
      if (io.completed < first_lie) continue;
      if (io.kind == IoKind::kFlush) io.failed = true;
      io.fua = false;
    }
    CrashReplay replay(initial->Fork(), std::move(lied),
                       {.seed = random(), .random_state_count = 6});
    const Status status = replay.ForEachState([&](CrashState& state) {
      return state.event > first_lie && !state.is_repeated
                 ? CheckState(state, past, counts)
                 : OkStatus();
    });
    EXPECT_TRUE(status.ok()) << "round " << round << ": " << status.error().ToString();
  }
  SetLogSink(nullptr);
  std::cout << counts.states << " states: " << counts.refused << " not mounted, "
            << counts.found_by_fsck << " with findings of fsck; " << counts.files_read
            << " files read, " << counts.read_errors << " errors\n";
  EXPECT_GT(counts.files_read, 0u);
  EXPECT_GT(counts.states, counts.refused);
  EXPECT_GT(counts.found_by_fsck, 0u) << "the lies were harmless";
}

}  // namespace
}  // namespace cofs
