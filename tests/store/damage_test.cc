// Flipped bits in every kind of block: an error, or the true value; never an abort, never
// a key that is silently gone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <random>

#include "base/log.h"
#include "device/memory_device.h"
#include "extent_map/store/file_table.h"
#include "tests/store/test_volume.h"
#include "tests/store/workload.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 64 << 20;

// A block of the store and what it is part of.
struct Target {
  std::string name;
  uint64_t place = 0;
  uint64_t index = 0;
  bool may_pass_for_torn = false;  // in the last group that a crash left
};

struct Subject {
  std::unique_ptr<MemoryDevice> device;
  std::vector<Target> targets;
  int committed = 0;
};

std::vector<Target> FindTargets(MemoryDevice& device, bool is_closed) {
  using store::FileTable;
  auto slots = SuperblockSlots::Load(device);
  CHECK(slots.ok());
  const Superblock superblock = (*slots)->current();
  store::FailureLatch latch;
  auto table = FileTable::Load(
      device, {superblock.journal, superblock.journal_generation}, /*read_only=*/true,
      latch, [](DeviceRange, uint64_t) { return OkStatus(); });
  CHECK(table.ok(), table.error().ToString());
  std::vector<Target> targets;
  std::string newest_wal;
  for (const std::string& name : (*table)->Names()) {
    const store::FileLayout layout = (*table)->LayoutOf(*(*table)->Find(name));
    store::ForEachRun(
        layout.extents, 0, layout.block_count, [&](DeviceRange range, uint64_t first) {
          for (uint64_t at = 0; at < range.length_bytes; at += kBlockBytes)
            targets.push_back(
                {name, range.offset.value() + at, first + at / kBlockBytes, false});
        });
    if (name.ends_with(".log") && layout.block_count > 0) newest_wal = name;
  }
  // Of the newest WAL everything behind the last journal record may be the end.
  for (Target& target : targets)
    target.may_pass_for_torn = !is_closed && target.name == newest_wal;
  std::string block(kBlockBytes, '\0');
  for (uint64_t at = 0; at < superblock.journal.length_bytes; at += kBlockBytes) {
    device.Peek(superblock.journal.offset.value() + at, block);
    if (block.starts_with("cJRN"))
      targets.push_back(
          {"journal", superblock.journal.offset.value() + at, at / kBlockBytes, false});
  }
  return targets;
}

Subject MakeSubject(const Workload& workload, bool is_closed) {
  Subject subject;
  subject.device = std::make_unique<MemoryDevice>(kVolumeBytes);
  CHECK(FormatTestVolume(*subject.device).ok());
  // Two mounts: the files of the second stand beside those of the first.
  for (int part = 0; part < 2; ++part) {
    auto volume = OpenTestVolume(*subject.device);
    CHECK(volume.ok(), volume.error().ToString());
    const int end = part == 0 ? workload.batch_count() / 2 : workload.batch_count();
    while (subject.committed < end) {
      CHECK(volume->store->Write(workload.MakeBatch(++subject.committed)).ok());
      if (subject.committed % 5 == 0) CHECK(volume->store->Commit().ok());
    }
    CHECK(volume->store->Commit().ok());
    if (part == 0 || is_closed) CHECK(volume->store->Close().ok());
  }
  subject.targets = FindTargets(*subject.device, is_closed);
  return subject;
}

struct Outcomes {
  int at_open = 0, at_read = 0, at_verify = 0, unseen = 0;
};

// The bit is flipped in `device`. Empty: as it should be.
std::string Judge(const Workload& workload, const Subject& subject, const Target& target,
                  MemoryDevice& device, Outcomes& outcomes) {
  auto volume = OpenTestVolume(device);
  if (!volume.ok()) {
    ++outcomes.at_open;
    return volume.error().code() == ErrorCode::kCorrupt ? "" : volume.error().ToString();
  }
  const auto count = workload.CountBatches(*volume->store);
  if (count.Is(Workload::kDifference)) {
    const auto c = volume->store->NewCursor();
    int k = 0;
    for (c->Seek(""); c->valid(); c->Next()) ++k;
    printf("again: %d keys, %s\n", k,
           c->status().ok() ? "ok" : c->status().error().ToString().c_str());
    const auto again = workload.CountBatches(*volume->store);
    printf("again: %s\n", again.ok() ? "ok" : again.error().ToString().c_str());
    printf("w %s\n", volume->store->Write(workload.MakeBatch(1)).ok() ? "ok" : "failed");
    return count.error().ToString();
  }
  if (count.ok() && count.value() < subject.committed && !target.may_pass_for_torn)
    return StrCat("only ", count.value(), " of ", subject.committed, " batches");
  int reported = 0;
  const Status verified = volume->store->VerifyAll([&](const Error&) { ++reported; });
  if (!verified.ok()) return verified.error().ToString();
  if (!count.ok()) {
    ++outcomes.at_read;
    return count.Is(ErrorCode::kCorrupt) ? "" : count.error().ToString();
  }
  ++(reported > 0 ? outcomes.at_verify : outcomes.unseen);
  return "";
}

void FlipBits(const Workload& workload, const Subject& subject, uint64_t seed,
              uint64_t flip_count) {
  std::mt19937_64 random(seed);
  // Every file gets its share, however short it is.
  std::map<std::string, std::vector<const Target*>> by_name;
  for (const Target& target : subject.targets) by_name[target.name].push_back(&target);
  std::vector<std::string> names;
  for (const auto& [name, targets] : by_name) names.push_back(name);
  std::map<std::string, Outcomes> outcomes;
  SetLogSink([](LogLevel, std::string_view) {});
  for (uint64_t i = 0; i < flip_count; ++i) {
    const std::string& name = names[i % names.size()];
    const auto& blocks = by_name[name];
    // Ends of files more often than by chance: footers, last groups.
    const Target& target =
        *blocks[random() % 4 == 0 ? blocks.size() - 1 : random() % blocks.size()];
    const uint64_t bit = random() % (kBlockBytes * 8);
    const auto device = subject.device->Fork();
    char byte;
    device->Peek(target.place + bit / 8, {&byte, 1});
    byte = static_cast<char>(byte ^ 1 << bit % 8);
    device->Poke(target.place + bit / 8, {&byte, 1});
    const std::string kind = name.ends_with(".sst")          ? "tables"
                             : name.ends_with(".log")        ? "WALs"
                             : name.starts_with("MANIFEST-") ? "MANIFEST"
                             : name.starts_with("OPTIONS-")  ? "OPTIONS"
                                                             : name;
    const std::string wrong = Judge(workload, subject, target, *device, outcomes[kind]);
    ASSERT_EQ(wrong, "") << "flip " << i << ": bit " << bit << " of block "
                         << target.index << " of " << name;
  }
  SetLogSink(nullptr);
  for (const auto& [kind, seen] : outcomes)
    std::printf("%-10s %4d at open, %4d at read, %4d by VerifyAll, %4d harmless\n",
                kind.c_str(), seen.at_open, seen.at_read, seen.at_verify, seen.unseen);
}

Workload::Options SmallWorkload(uint64_t seed) {
  Workload::Options options;
  options.seed = seed;
  options.batch_count = 160;
  options.has_large_batches = false;
  return options;
}

TEST(StoreDamageTest, FlippedBitsAfterAClose) {
  const uint64_t seed = TestSeed(21);
  const Workload workload(SmallWorkload(seed));
  const Subject subject = MakeSubject(workload, /*is_closed=*/true);
  FlipBits(workload, subject, seed, TestCount("COFS_FLIP_COUNT", 250));
}

TEST(StoreDamageTest, FlippedBitsAfterACrash) {
  const uint64_t seed = TestSeed(22);
  const Workload workload(SmallWorkload(seed));
  const Subject subject = MakeSubject(workload, /*is_closed=*/false);
  FlipBits(workload, subject, seed, TestCount("COFS_FLIP_COUNT", 250));
}

TEST(StoreDamageTest, AnUndamagedStoreIsVerified) {
  const Workload workload(SmallWorkload(23));
  for (const bool is_closed : {true, false}) {
    const Subject subject = MakeSubject(workload, is_closed);
    Outcomes outcomes;
    EXPECT_EQ(Judge(workload, subject, subject.targets[0], *subject.device, outcomes),
              "");
    EXPECT_EQ(outcomes.unseen, 1);
  }
}

}  // namespace
}  // namespace cofs
