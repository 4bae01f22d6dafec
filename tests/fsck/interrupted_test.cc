// A repair that is interrupted anywhere, by a failing device or a power cut, can be run
// again: then the volume is clean, and has lost no more than with one run.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <iostream>
#include <map>

#include "base/log.h"
#include "device/crash_replay.h"
#include "device/recording_device.h"
#include "fsck/store_blocks.h"
#include "tests/fsck/test_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kB = kBlockBytes;
constexpr uint8_t kFile = S_IFREG >> 12;

// What a failing device is told of in the log is wanted here.
class InterruptedRepair : public testing::Test {
 protected:
  void SetUp() override {
    SetLogSink([](LogLevel, std::string_view) {});
  }
  void TearDown() override { SetLogSink(nullptr); }
};

uint64_t Seed() {
  const char* seed = std::getenv("COFS_SEED");
  const uint64_t value = seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10);
  std::cout << "COFS_SEED=" << value << "\n";
  return value;
}

// Something for every stage of a repair.
void DamageRecords(TestVolume& v) {
  v.RemoveEntry(kRootInode, "a");  // a, b, deep and the rest have no way to them
  v.AddEntry(kInodeB, "ghost", InodeId{95}, kFile);
  v.EditInode(kInodeG, [](InodeRecord& inode) {
    inode.link_count = 9;
    inode.size_bytes = 3 * kB;
    inode.allocated_bytes = 3 * kB;
  });
  v.Edit([&](Batch& batch) {
    auto put_extent = [&](InodeId inode, const Extent& extent) {
      batch.Put(ExtentKey(inode, extent.file_offset), EncodeExtent(extent));
    };
    // A block of f, and one outside of the volume.
    put_extent(kInodeG, {FileOffset{0}, v.Block(2), kB, 0});
    put_extent(kInodeG, {FileOffset{kB}, DeviceOffset{TestVolume::kVolumeBytes}, kB, 0});
    batch.Put(SharedKey(v.Block(0)), EncodeShared({2 * kB, 5}));
    batch.Delete(ChecksumKey(v.Block(3)));
    batch.Put(DentryKey(kInodeB, v.Cookie("zz")), "junk");
    batch.Delete(InodeKey(kInodeDevice));
  });
}

void DamageStore(TestVolume& v) {
  const auto files = salvage::FindStoreFiles(v.device(), v.superblock());
  CHECK(files.ok() && files->from_journal);
  for (const auto& file : files->files)
    if (file.name.starts_with("MANIFEST")) v.Flip(file.blocks.at(0) + 99);
  v.EditSuperblock([](Superblock&) {});
}

// What a user would compare: every inode and what it reads as.
using Contents = std::map<uint64_t, std::string>;
Contents ContentsOf(TestVolume& volume) {
  Contents out;
  const auto slots = std::move(SuperblockSlots::Load(volume.device())).value();
  StoreOptions options;
  options.read_only = true;
  const auto store = std::move(Store::Open(volume.device(), *slots, options)).value();
  const auto cursor = store->NewCursor();
  std::vector<InodeId> files;
  for (cursor->Seek(AllFileRecords().first); cursor->valid(); cursor->Next()) {
    const auto key = ParseKey(cursor->key());
    if (!key.ok() || key->kind != RecordKind::kInode) continue;
    const auto record = DecodeInode(cursor->value());
    CHECK(record.ok());
    if (S_ISREG(record->mode)) files.push_back(key->inode);
    // Times and places don't matter here, lost+found counts its entries.
    out[key->inode.value()] = StrCat(record->mode, " ", record->link_count, " ",
                                     record->size_bytes, " ", record->parent);
  }
  for (const InodeId file : files) {
    const auto bytes = volume.ReadFile(file);
    out[file.value()] += bytes.ok() ? *bytes : bytes.error().ToString();
  }
  return out;
}

struct Subject {
  const char* name;
  void (*damage)(TestVolume&);
};
constexpr Subject kSubjects[] = {{"records", DamageRecords}, {"store", DamageStore}};

// The volume in `device` is repaired by a whole run, and is what `expected` says.
void ExpectRepairable(std::unique_ptr<MemoryDevice> device, const Contents& expected) {
  TestVolume volume;
  volume.ReplaceDevice(std::move(device));
  const RepairOutcome outcome = volume.Repair(RepairMode::kAll);
  ASSERT_FALSE(outcome.error) << outcome.error->ToString();
  EXPECT_EQ(outcome.report.error_count(), 0u);
  const Report second = volume.Check();
  for (const Finding& finding : second.findings())
    ADD_FAILURE() << Describe(finding);
  EXPECT_TRUE(ContentsOf(volume) == expected);
}

// What says that it has repaired everything has: the last I/Os (the second copy of the
// superblock) may have failed, and no others.
void ExpectRepaired(std::unique_ptr<MemoryDevice> device, const Contents& expected) {
  TestVolume volume;
  volume.ReplaceDevice(std::move(device));
  const Report report = volume.Check();
  EXPECT_EQ(report.error_count(), 0u) << "a repair that failed says that it has succeeded";
  for (const Finding& finding : report.findings()) std::cout << Describe(finding) << "\n";
  EXPECT_TRUE(ContentsOf(volume) == expected);
}

TEST_F(InterruptedRepair, CanBeRunAgainAfterAnyIoThatFailed) {
  for (const Subject& subject : kSubjects) {
    TestVolume damaged, direct;
    subject.damage(damaged);
    direct.ReplaceDevice(damaged.device().Fork());
    FaultDevice counting(direct.device());
    ASSERT_TRUE(RepairVolume(counting, RepairMode::kAll, {}).ok());
    const Contents expected = ContentsOf(direct);
    const uint64_t io_count = counting.io_count();
    uint64_t tried = 0;
    for (uint64_t n = 1; n <= io_count; ++n) {
      for (const bool fails_for_good : {false, true}) {
        SCOPED_TRACE(StrCat(subject.name, ", I/O ", n, " of ", io_count,
                            fails_for_good ? " and all that follow" : ""));
        auto image = damaged.device().Fork();
        {
          FaultDevice faulty(*image);
          if (fails_for_good)
            faulty.FailFrom(n);
          else
            faulty.FailNth(n, /*torn_sector_count=*/3);
          const auto outcome = RepairVolume(faulty, RepairMode::kAll, {});
          if (outcome.ok() && !outcome->error && outcome->report.error_count() == 0)
            ExpectRepaired(image->Fork(), expected);
        }
        ExpectRepairable(std::move(image), expected);
        ++tried;
      }
    }
    std::cout << subject.name << ": " << tried << " runs of " << io_count << " I/Os\n";
    EXPECT_GT(tried, 20u);
  }
}

TEST_F(InterruptedRepair, CanBeRunAgainAfterAPowerCut) {
  for (const Subject& subject : kSubjects) {
    TestVolume damaged, direct;
    subject.damage(damaged);
    direct.ReplaceDevice(damaged.device().Fork());
    RecordingDevice recorder(direct.device());
    ASSERT_TRUE(RepairVolume(recorder, RepairMode::kAll, {}).ok());
    const Contents expected = ContentsOf(direct);
    CrashReplay::Options options;
    options.seed = Seed();
    options.random_state_count = 1;
    options.at_fua_writes = false;
    CrashReplay replay(damaged.device().Fork(), recorder.TakeLog(), options);
    uint64_t count = 0, tried = 0;
    ASSERT_TRUE(replay
                    .ForEachState([&](CrashState& state) {
                      if (count++ % 3 != 0) return OkStatus();
                      SCOPED_TRACE(StrCat(subject.name, ", event ", state.event, ", ",
                                          state.how));
                      ++tried;
                      ExpectRepairable(std::move(state.image), expected);
                      return OkStatus();
                    })
                    .ok());
    std::cout << subject.name << ": " << tried << " of " << count << " states\n";
    EXPECT_GT(tried, 10u);
  }
}

}  // namespace
}  // namespace cofs
