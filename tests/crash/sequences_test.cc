// All sequences of one and of two operations, each followed by something that makes it
// durable, with a power cut at every flush and between flushes (after CrashMonkey's ACE:
// Mohan et al., "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing",
// OSDI 2018; most of the bugs that they know of need no more operations than that).
//
// COFS_SEED=n chooses the states, and in the short form the pairs; COFS_LONG=1 takes all
// pairs. COFS_SEQUENCE="rename,fsync" runs that one alone and prints its operations.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "base/check.h"
#include "mkfs/format.h"
#include "tests/core/test_volume.h"
#include "tests/crash/crash_checker.h"
#include "tests/crash/scene.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 64 << 20;
constexpr size_t kSequencesInABatch = 24;
constexpr size_t kPairsOfTheShortForm = 48;

using Sequence = std::vector<const SceneOperation*>;

std::string NameOf(const Sequence& sequence) {
  std::string name;
  for (const SceneOperation* operation : sequence)
    name += (name.empty() ? "" : ",") + std::string(operation->name);
  return name;
}

struct Totals {
  uint64_t sequences = 0, device_copies = 0, ios = 0;
  CrashChecker::Counts counts;
};

// Runs the sequences on one volume, each in a scene of its own, and checks every state
// of the whole run.
class BatchRun {
 public:
  BatchRun(std::vector<Sequence> sequences, uint64_t number, uint64_t seed)
      : sequences_(std::move(sequences)), number_(number), random_(seed) {
    options_ = QuietOptions();
    options_.discard = random_() % 2 == 0;
    options_.copy =
        number % 2 == 1 ? CopyRangePolicy::kDevice : CopyRangePolicy::kBuffered;
  }

  void Run(bool is_long, Totals& totals) {
    MemoryDevice::Options memory_options;
    memory_options.copy_limits = DeviceCopyLimits{
        .segment_bytes_max = 8192, .command_bytes_max = 16384, .segments_max = 4};
    MemoryDevice memory(kVolumeBytes, memory_options);
    ASSERT_OK(FormatDevice(memory, {}));
    auto initial = memory.Fork();
    RecordingDevice recorder(memory, random_());
    auto volume = Volume::Mount(Borrow(recorder), options_).value();
    History history(*volume, {.recorder = &recorder});
    RunSequences(history);
    ASSERT_OK(volume->Unmount());
    history.Durable();
    volume.reset();
    // The first change after a clean unmount.
    volume = Volume::Mount(Borrow(recorder), options_).value();
    history.Continue(*volume);
    history.Create(kRootInode, "later", File());
    history.SyncAll();
    ASSERT_OK(volume->Unmount());
    volume.reset();
    if (::testing::Test::HasFailure()) return;

    IoLog log = recorder.TakeLog();
    totals.sequences += sequences_.size();
    totals.ios += log.ios.size();
    for (const LoggedIo& io : log.ios) totals.device_copies += io.is_copy;
    const Timeline timeline(history.base(), history.changes(),
                            [](std::string_view name) { return name[0] != '~'; });
    CrashChecker checker({&timeline},
                         {.volume = options_,
                          .seed = random_(),
                          .go_on_one_of = 4,
                          .interrupt_one_of = is_long ? 200u : 60u});
    CrashReplay replay(std::move(initial), std::move(log),
                       {.seed = random_(),
                        .random_state_count = is_long ? 3u : 1u,
                        .at_fua_writes = true});
    const Status status =
        replay.ForEachState([&](CrashState& state) { return checker.Check(state); });
    EXPECT_TRUE(status.ok()) << status.error().ToString() << "\n" << Journal(history);
    Add(checker.counts(), totals.counts);
  }

 private:
  void RunSequences(History& history) {
    std::vector<Scene> scenes;
    for (size_t i = 0; i < sequences_.size(); ++i)
      scenes.push_back(Scene::Make(history, Numbered("s", static_cast<int64_t>(i))));
    history.SyncAll();
    for (size_t i = 0; i < sequences_.size(); ++i) {
      SCOPED_TRACE(NameOf(sequences_[i]));
      for (const SceneOperation* operation : sequences_[i])
        operation->run(history, scenes[i]);
      Persist(history, scenes[i], number_ + i);
      scenes[i].Leave(history);
    }
  }
  std::string Journal(const History& history) const {
    std::string text = "sequences:";
    for (const Sequence& sequence : sequences_) text += " " + NameOf(sequence) + ";";
    for (size_t i = 0; i < history.changes().size(); ++i)
      text += StrCat("\n", i + 1, ": ", history.changes()[i].what);
    return text;
  }
  static void Add(const CrashChecker::Counts& counts, CrashChecker::Counts& sum) {
    sum.states += counts.states;
    sum.repeated += counts.repeated;
    sum.interrupted_recoveries += counts.interrupted_recoveries;
    sum.states_of_recoveries += counts.states_of_recoveries;
  }

  const std::vector<Sequence> sequences_;
  const uint64_t number_;
  std::mt19937_64 random_;
  VolumeOptions options_;
};

void RunAll(std::vector<Sequence> sequences, uint64_t seed) {
  Totals totals;
  for (size_t first = 0, batch = 0; first < sequences.size(); ++batch) {
    const size_t end = std::min(first + kSequencesInABatch, sequences.size());
    SCOPED_TRACE(StrCat("batch ", batch));
    BatchRun run({sequences.begin() + static_cast<std::ptrdiff_t>(first),
                  sequences.begin() + static_cast<std::ptrdiff_t>(end)},
                 batch, seed + batch);
    run.Run(IsLongRun(), totals);
    if (::testing::Test::HasFailure()) return;
    first = end;
  }
  std::cout << totals.sequences << " sequences, " << totals.ios << " changes of the device ("
            << totals.device_copies << " copies by it), " << totals.counts.states
            << " states, " << totals.counts.interrupted_recoveries
            << " recoveries cut off with " << totals.counts.states_of_recoveries
            << " states\n";
  EXPECT_GT(totals.counts.states, totals.sequences);
}

std::vector<Sequence> Pairs() {
  std::vector<Sequence> pairs;
  for (const SceneOperation& first : SceneOperations())
    for (const SceneOperation& second : SceneOperations())
      pairs.push_back({&first, &second});
  return pairs;
}

TEST(CrashSequences, OfOneOperation) {
  if (std::getenv("COFS_SEQUENCE") != nullptr) return;
  const uint64_t seed = TestSeed(1);
  std::vector<Sequence> sequences;
  for (const SceneOperation& operation : SceneOperations())
    sequences.push_back({&operation});
  RunAll(sequences, seed);
}

TEST(CrashSequences, OfTwoOperations) {
  const uint64_t seed = TestSeed(2);
  std::vector<Sequence> pairs = Pairs();
  if (const char* wanted = std::getenv("COFS_SEQUENCE")) {
    std::erase_if(pairs, [&](const Sequence& pair) { return NameOf(pair) != wanted; });
    ASSERT_EQ(1u, pairs.size()) << "no such pair";
  } else if (!IsLongRun()) {
    std::mt19937_64 random(seed);
    std::ranges::shuffle(pairs, random);
    pairs.resize(kPairsOfTheShortForm);
  }
  RunAll(pairs, seed);
}

}  // namespace
}  // namespace cofs
