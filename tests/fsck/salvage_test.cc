// A damaged store is rebuilt from what is left of it, with no more loss than the damage.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>

#include "base/log.h"
#include "fsck/store_blocks.h"
#include "tests/fsck/test_volume.h"

namespace cofs {
namespace {

constexpr uint8_t kFile = S_IFREG >> 12;
using Records = std::map<std::string, std::string>;

Records Dump(TestVolume& volume) {
  Records records;
  const auto slots = std::move(SuperblockSlots::Load(volume.device())).value();
  StoreOptions options;
  options.read_only = true;
  const auto store = std::move(Store::Open(volume.device(), *slots, options)).value();
  const auto cursor = store->NewCursor();
  for (cursor->Seek(""); cursor->valid(); cursor->Next())
    records.emplace(cursor->key(), cursor->value());
  EXPECT_TRUE(cursor->status().ok());
  return records;
}

InodeRecord SmallFile() {
  InodeRecord file;
  file.mode = S_IFREG | 0644;
  file.link_count = 1;
  return file;
}

// Adds files [first, first + count) to the root directory in one batch.
void AddFiles(TestVolume& volume, uint64_t first, uint64_t count, bool closes = true) {
  InodeRecord root = *DecodeInode(volume.Get(InodeKey(kRootInode)));
  root.size_bytes += count;
  volume.Edit(
      [&](Batch& batch) {
        batch.Put(InodeKey(kRootInode), EncodeInode(root));
        batch.Put(InodeCounterKey(), EncodeInodeCounter(InodeId{100000}));
        for (uint64_t i = first; i < first + count; ++i) {
          const std::string name = "file" + std::to_string(i);
          batch.Put(InodeKey(InodeId{1000 + i}), EncodeInode(SmallFile()));
          batch.Put(DentryKey(kRootInode, volume.Cookie(name)),
                    EncodeDentry({name, InodeId{1000 + i}, kFile}));
        }
      },
      closes);
}

void RemoveFiles(TestVolume& volume, uint64_t first, uint64_t count) {
  InodeRecord root = *DecodeInode(volume.Get(InodeKey(kRootInode)));
  root.size_bytes -= count;
  volume.Edit([&](Batch& batch) {
    batch.Put(InodeKey(kRootInode), EncodeInode(root));
    for (uint64_t i = first; i < first + count; ++i) {
      batch.Delete(InodeKey(InodeId{1000 + i}));
      batch.Delete(
          DentryKey(kRootInode, volume.Cookie("file" + std::to_string(i))));
    }
  });
}

// Many tables that came and went, deletions, and changes that are only in a WAL.
void Age(TestVolume& volume) {
  for (uint64_t i = 0; i < 8; ++i) AddFiles(volume, i * 300, 300);
  for (uint64_t i = 0; i < 4; ++i) RemoveFiles(volume, i * 500, 400);
  for (uint64_t i = 8; i < 10; ++i) AddFiles(volume, i * 300, 300);
  AddFiles(volume, 3000, 20, /*closes=*/false);
}

void DestroyJournal(TestVolume& volume) {
  const DeviceRange journal = volume.superblock().journal;
  for (uint64_t at = 0; at < journal.length_bytes; at += 512)
    volume.Flip(journal.offset + at);
}

void ExpectSound(TestVolume& volume) {
  const Report second = volume.Check();
  for (const Finding& finding : second.findings()) ADD_FAILURE() << Describe(finding);
}

std::string Lines(const RepairOutcome& outcome) {
  std::string lines = outcome.error ? outcome.error->ToString() + "\n" : "";
  for (const Finding& finding : outcome.report.findings()) lines += Describe(finding) + "\n";
  for (const Loss& loss : outcome.report.losses()) lines += Describe(loss) + "\n";
  return lines;
}

TEST(Salvage, WithoutAJournalNothingIsLostAndNothingComesBack) {
  TestVolume volume;
  Age(volume);
  const Records before = Dump(volume);
  DestroyJournal(volume);
  ASSERT_GE(volume.Check().error_count(), 1u);
  const RepairOutcome outcome = volume.Repair(RepairMode::kAll);
  ASSERT_FALSE(outcome.error) << Lines(outcome);
  EXPECT_EQ(outcome.report.error_count(), 0u) << Lines(outcome);
  ExpectSound(volume);
  EXPECT_EQ(Dump(volume), before) << Lines(outcome);
}

// Every file of the store, by its blocks, when its journal is whole.
std::vector<salvage::StoreFile> StoreFilesOf(TestVolume& volume) {
  auto files = salvage::FindStoreFiles(volume.device(), volume.superblock());
  CHECK(files.ok() && files->from_journal);
  return std::move(files->files);
}

size_t CountLost(const Records& before, const Records& after) {
  size_t lost = 0;
  for (const auto& [key, value] : before) lost += after.contains(key) ? 0 : 1;
  return lost;
}

TEST(Salvage, OneDamagedBlockLosesNoMoreThanWhatLiesInIt) {
  // Three data blocks of 8 KiB can touch a block; a record of this volume has 40 bytes.
  constexpr size_t kLostMax = 700;
  constexpr size_t kStep = 9;  // of the blocks that are tried
  TestVolume aged;
  Age(aged);
  const Records before = Dump(aged);
  size_t number = 0, tried = 0, with_loss = 0;
  for (const salvage::StoreFile& file : StoreFilesOf(aged)) {
    const bool is_table = file.name.ends_with(".sst");
    for (const auto& [index, place] : file.blocks) {
      if (is_table && number++ % kStep != 0) continue;
      // A log has chunks ahead of its end.
      if (!is_table && index > 2) continue;
      SCOPED_TRACE(file.name + ", block " + std::to_string(index));
      TestVolume volume;
      volume.ReplaceDevice(aged.device().Fork());
      volume.Flip(place + 17);
      if (volume.Check().error_count() == 0) continue;  // the torn end of a log
      ++tried;
      const RepairOutcome outcome = volume.Repair(RepairMode::kAll);
      ASSERT_FALSE(outcome.error) << Lines(outcome);
      EXPECT_EQ(outcome.report.error_count(), 0u) << Lines(outcome);
      ExpectSound(volume);
      const Records after = Dump(volume);
      const size_t lost = CountLost(before, after);
      EXPECT_LE(lost, is_table ? kLostMax : 100u) << Lines(outcome);
      if (lost > 0) {
        ++with_loss;
        EXPECT_GT(outcome.report.loss_count(), 0u) << "nothing is said of the loss";
      }
      if (file.name == "CURRENT" || file.name.starts_with("MANIFEST") ||
          file.name.starts_with("OPTIONS")) {
        EXPECT_TRUE(after == before) << Lines(outcome);
      }
    }
  }
  EXPECT_GE(tried, 10u);
  EXPECT_GE(with_loss, 3u);
}

TEST(Salvage, WithoutAnyReadableBlockTheVolumeStaysAsItIs) {
  TestVolume volume;
  std::string block(kBlockBytes, '\0');
  for (DeviceOffset at = volume.pool().offset; at < volume.pool().end();
       at += kBlockBytes)
    volume.Flip(at + 100);
  const auto before = volume.device().Fork();
  bool is_write_free = false;
  const RepairOutcome outcome = volume.Repair(RepairMode::kAll, {}, &is_write_free);
  EXPECT_TRUE(outcome.error);
  EXPECT_GE(outcome.report.error_count(), 1u);
  EXPECT_TRUE(is_write_free);
}

}  // namespace
}  // namespace cofs
