#include "tests/crash/crash_checker.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "device/recording_device.h"
#include "fsck/volume_check.h"
#include "tests/core/test_volume.h"
#include "tests/crash/history.h"

namespace cofs {
namespace {

constexpr char kNameAfter[] = "~after the crash";

}  // namespace

Timeline::Timeline(const Model& base, std::vector<ModelDriver::Change> changes,
                   std::function<bool(std::string_view)> is_own)
    : base_(base), changes_(std::move(changes)), is_own_(std::move(is_own)) {
  Model model = base_;
  last_by_fingerprint_[model.Fingerprint()] = 0;
  for (size_t i = 0; i < changes_.size(); ++i) {
    changes_[i].apply(model);
    last_by_fingerprint_[model.Fingerprint()] = i + 1;
    has_torn_ |= changes_[i].torn.has_value();
  }
}

std::optional<size_t> Timeline::Find(const Model& found, size_t from) const {
  const auto known = last_by_fingerprint_.find(found.Fingerprint());
  if (known != last_by_fingerprint_.end())
    return known->second >= from ? std::optional(known->second) : std::nullopt;
  if (!has_torn_) return std::nullopt;
  Model reached = base_;
  return FindPrefix(base_, changes_, from, found, reached);
}

Model Timeline::After(size_t count) const {
  Model model = base_;
  for (size_t i = 0; i < count; ++i) changes_[i].apply(model);
  return model;
}

size_t Timeline::Nearest(const Model& found) const {
  Model model = base_;
  size_t best = 0, least = model.DifferenceCount(found);
  for (size_t i = 0; i < changes_.size(); ++i) {
    changes_[i].apply(model);
    const size_t count = model.DifferenceCount(found);
    if (count < least) best = i + 1;
    least = std::min(least, count);
  }
  return best;
}

Status CheckSound(MemoryDevice& image) {
  CheckOptions options;
  options.data = true;
  TRY_ASSIGN(const Report report, CheckVolume(image, options));
  if (report.error_count() == 0) return OkStatus();
  std::string text = "fsck:";
  for (const Finding& finding : report.findings()) text += "\n  " + Describe(finding);
  return Error(ErrorCode::kCorrupt, text);
}

CrashChecker::CrashChecker(std::vector<const Timeline*> timelines, const Options& options)
    : timelines_(std::move(timelines)), options_(options), random_(options.seed) {
  SetLogLevel(LogLevel::kError);  // every mount has something to say
}

Status CrashChecker::Check(CrashState& state) {
  if (state.is_repeated) {
    ++counts_.repeated;
    return OkStatus();
  }
  ++counts_.states;
  std::vector<size_t> durable(timelines_.size());
  for (const uint64_t mark : state.marks) {
    size_t& count = durable.at(mark >> 48);
    count = std::max<size_t>(count, mark & ((uint64_t{1} << 48) - 1));
  }
  const auto one_of = [this](unsigned count) {
    return count != 0 && random_() % count == 0;
  };
  const bool interrupts = one_of(options_.interrupt_one_of);
  const bool goes_on = !interrupts && one_of(options_.go_on_one_of);

  TRY(CheckSound(*state.image));
  std::unique_ptr<MemoryDevice> initial;
  if (interrupts) initial = state.image->Fork();
  std::vector<uint64_t> fingerprints;
  RecordingDevice recorder(*state.image);
  {
    BlockDevice& device = interrupts ? static_cast<BlockDevice&>(recorder) : *state.image;
    TRY_ASSIGN(auto volume, Volume::Mount(Borrow(device), options_.volume));
    TRY(CheckTrees(*volume, durable, &fingerprints));
    if (goes_on) TRY(GoOn(*volume));
    TRY(volume->DrainRemoved());
    TRY(volume->Unmount());
  }
  if (goes_on || interrupts) TRY(CheckSound(*state.image));
  if (!interrupts) return OkStatus();
  ++counts_.interrupted_recoveries;
  return CheckRecoveryStates(std::move(initial), recorder.TakeLog(), fingerprints);
}

Status CrashChecker::CheckTrees(Volume& volume, const std::vector<size_t>& durable,
                                std::vector<uint64_t>* fingerprints) {
  for (size_t i = 0; i < timelines_.size(); ++i) {
    const Timeline& timeline = *timelines_[i];
    const Model found = ReadTree(volume, timeline.base().root(), timeline.base().shared(),
                                 timeline.is_own());
    if (::testing::Test::HasFailure())
      return Error(ErrorCode::kCorrupt, "the tree can't be read");
    fingerprints->push_back(found.Fingerprint());
    if (timeline.Find(found, durable[i])) continue;
    const std::optional<size_t> lost = timeline.Find(found, 0);
    if (!lost) {
      const size_t nearest = timeline.Nearest(found);
      ExpectSame(timeline.After(nearest), found);
      return Error(ErrorCode::kCorrupt,
                   StrCat("timeline ", i, ": ", durable[i], " operations are durable of ",
                          timeline.changes().size(), ", but the tree is that after none, if ",
                          "most like that after ", nearest, ", before \"",
                          nearest < timeline.changes().size()
                              ? timeline.changes()[nearest].what
                              : "the end",
                          "\""));
    }
    return Error(ErrorCode::kCorrupt,
                 StrCat("timeline ", i, ": ", durable[i], " operations are durable of ",
                        timeline.changes().size(), ", but the tree is that after ", *lost));
  }
  return OkStatus();
}

Status CrashChecker::GoOn(Volume& volume) {
  TRY_ASSIGN(const InodeStat made, volume.Create(kRootInode, kNameAfter, File()));
  const std::string bytes = CrashBytes(random_(), 300'000);
  TRY(volume.Write(made.id, FileOffset{0}, bytes, {}));
  TRY(volume.SyncAll());
  AlignedBuffer buffer;
  TRY_ASSIGN(const auto read,
             volume.Read(made.id, FileOffset{0}, bytes.size() + 1, buffer));
  if (std::string_view(read.data(), read.size()) != bytes)
    return Error(ErrorCode::kCorrupt, "a file that was written after the crash");
  volume.Forget(made.id, 1);
  return OkStatus();
}

// Whatever a second crash leaves of a recovery, the tree is what the first crash left.
Status CrashChecker::CheckRecoveryStates(std::unique_ptr<MemoryDevice> initial, IoLog log,
                                         const std::vector<uint64_t>& fingerprints) {
  CrashReplay replay(std::move(initial), std::move(log),
                     {.seed = random_(), .random_state_count = 1, .at_fua_writes = true});
  return replay.ForEachState([&](CrashState& state) -> Status {
    // A recovery has many, most of them alike.
    if (state.is_repeated || random_() % 3 != 0) return OkStatus();
    ++counts_.states_of_recoveries;
    TRY(CheckSound(*state.image));
    TRY_ASSIGN(auto volume, Volume::Mount(std::move(state.image), options_.volume));
    for (size_t i = 0; i < timelines_.size(); ++i) {
      const Model& base = timelines_[i]->base();
      const Model found =
          ReadTree(*volume, base.root(), base.shared(), timelines_[i]->is_own());
      if (::testing::Test::HasFailure() || found.Fingerprint() != fingerprints[i])
        return Error(ErrorCode::kCorrupt, "a recovery that was cut off changed the tree");
    }
    return volume->Unmount();
  });
}

}  // namespace cofs
