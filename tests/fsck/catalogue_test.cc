// One corruption for each entry of the catalogue: the check finds it, and nothing else.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>

#include "extent_map/allocator.h"
#include "tests/fsck/test_volume.h"

namespace cofs {
namespace {

constexpr uint8_t kDirectory = S_IFDIR >> 12;
constexpr uint8_t kFile = S_IFREG >> 12;
constexpr uint64_t kB = kBlockBytes;

using Damage = std::function<void(TestVolume&)>;

Damage Put(std::function<std::string(TestVolume&)> key, std::string value) {
  return [=](TestVolume& v) {
    const std::string name = key(v);
    v.Edit([&](Batch& batch) { batch.Put(name, value); });
  };
}
Damage PutAt(std::string key, std::string value) {
  return Put([=](TestVolume&) { return key; }, std::move(value));
}
Damage Remove(std::function<std::string(TestVolume&)> key) {
  return [=](TestVolume& v) {
    const std::string name = key(v);
    v.Edit([&](Batch& batch) { batch.Delete(name); });
  };
}
Damage WithInode(InodeId inode, std::function<void(InodeRecord&)> change) {
  return [=](TestVolume& v) { v.EditInode(inode, change); };
}

void DamageStoreFiles(TestVolume& v) {
  const DeviceRange journal = v.superblock().journal;
  std::string block(kB, '\0');
  for (DeviceOffset at = v.pool().offset; at < v.pool().end(); at += kB) {
    if (at >= journal.offset && at < journal.end()) continue;
    v.device().Peek(at.value(), block);
    if (block.find_first_not_of('\0') != std::string::npos) v.Flip(at + 100);
  }
}

struct Case {
  FindingId id;
  const char* what;
  Damage damage;
  bool is_hopeless = false;  // nothing is left to repair it from
};

std::vector<Case> SuperblockCases() {
  return {
      {FindingId::kSuperblockBehind, "a crash between the two writes",
       [](TestVolume& v) {
         Superblock next = v.superblock();
         ++next.sequence;
         next.clean = false;
         v.device().Poke(kSuperblockOffsets[1].value(), EncodeSuperblock(next));
       }},
      {FindingId::kSuperblockLost, "the first",
       [](TestVolume& v) { v.Flip(kSuperblockOffsets[0] + 60); }},
      {FindingId::kSuperblockLost, "the second, and not even its magic",
       [](TestVolume& v) { v.Flip(kSuperblockOffsets[1]); }},
      {FindingId::kSuperblockLost, "unreadable",
       [](TestVolume& v) { v.unreadable = kSuperblockOffsets[1]; }},
      {FindingId::kSuperblockBothLost, "both damaged",
       [](TestVolume& v) {
         for (DeviceOffset place : kSuperblockOffsets) v.Flip(place + 60);
       }},
      {FindingId::kSuperblockDisagree, "of two ages",
       [](TestVolume& v) {
         Superblock next = v.superblock();
         ++next.sequence;
         ++next.created_s;
         v.device().Poke(kSuperblockOffsets[0].value(), EncodeSuperblock(next));
       }},
      {FindingId::kSuperblockDisagree, "one sequence number, two contents",
       [](TestVolume& v) {
         Superblock next = v.superblock();
         next.label = "other";
         v.device().Poke(kSuperblockOffsets[0].value(), EncodeSuperblock(next));
       }},
      {FindingId::kSuperblockDisagree, "a gap in the sequence",
       [](TestVolume& v) {
         Superblock next = v.superblock();
         next.sequence += 2;
         v.device().Poke(kSuperblockOffsets[1].value(), EncodeSuperblock(next));
       }},
      {FindingId::kVolumeTruncated, "the volume is longer than the device",
       [](TestVolume& v) {
         v.EditSuperblock([](Superblock& s) {
           s.volume_bytes = TestVolume::kVolumeBytes + kB;
         });
       }},
  };
}

std::vector<Case> RecordCases() {
  return {
      {FindingId::kStoreDamaged, "every block of every file", DamageStoreFiles, true},
      {FindingId::kStoreDamaged, "the journal",
       [](TestVolume& v) {
         for (uint64_t at = 0; at < v.superblock().journal.length_bytes; at += 512)
           v.Flip(v.superblock().journal.offset + at);
       }},
      {FindingId::kUnknownRecord, "a space of its own", PutAt("\x50zzz", "x")},
      {FindingId::kUnknownRecord, "among the files",
       PutAt(InodeKey(kInodeF) + "z", "x")},
      {FindingId::kUnknownRecord, "among the checksums", PutAt("\x30z", "x")},
      {FindingId::kUnknownRecord, "before all", PutAt(std::string(1, '\0'), "x")},
      {FindingId::kInodeDamaged, "of a file", PutAt(InodeKey(kInodeF), "short")},
      {FindingId::kInodeDamaged, "of a directory", PutAt(InodeKey(kInodeB), "short")},
      {FindingId::kDentryDamaged, "one more entry",
       [](TestVolume& v) {
         v.EditInode(kInodeB, [](InodeRecord& inode) { ++inode.size_bytes; });
         PutAt(DentryKey(kInodeB, v.Cookie("zz")), "junk")(v);
       }},
      {FindingId::kExtentDamaged, "one more extent",
       PutAt(ExtentKey(kInodeDeep, FileOffset{1 << 20}), "junk junk")},
      {FindingId::kXattrDamaged, "a value too long",
       PutAt(XattrKey(kInodeF, "user.big"), std::string(kXattrValueBytesMax + 1, 'x'))},
      {FindingId::kOrphanDamaged, "with a value", PutAt(OrphanKey(kInodeOrphan), "x")},
      {FindingId::kChecksumDamaged, "a chunk in use",
       Put([](TestVolume& v) { return ChecksumKey(v.Block(0)); }, "junk")},
      {FindingId::kSharedDamaged, "one more range",
       Put([](TestVolume& v) { return SharedKey(v.Block(100)); }, "\x01")},
      {FindingId::kCounterDamaged, "missing",
       Remove([](TestVolume&) { return InodeCounterKey(); })},
      {FindingId::kCounterDamaged, "too small", PutAt(InodeCounterKey(), "short")},
      {FindingId::kScrubDamaged, "too long",
       PutAt(ScrubKey(), EncodeScrub(ScrubRecord{}) + "x")},
      {FindingId::kScrubDamaged, "an unknown state",
       PutAt(ScrubKey(), "\x02" + EncodeScrub(ScrubRecord{}).substr(1))},
      {FindingId::kCounterDamaged, "at the end of the numbers",
       PutAt(InodeCounterKey(), EncodeInodeCounter(InodeId{UINT64_MAX}))},
      {FindingId::kCounterLow, "at an inode in use",
       PutAt(InodeCounterKey(), EncodeInodeCounter(kInodeOrphanDirectory))},
      {FindingId::kRecordsWithoutInode, "an attribute",
       PutAt(XattrKey(InodeId{90}, "user.x"), "v")},
      {FindingId::kRecordsWithoutInode, "a lost inode record",
       Remove([](TestVolume&) { return InodeKey(kInodeF); })},
      {FindingId::kEntriesOfNoDirectory, "in a file",
       [](TestVolume& v) {
         PutAt(DentryKey(kInodeDeep, v.Cookie("x")), EncodeDentry({"x", kInodeG, kFile}))(v);
         v.EditInode(kInodeG, [](InodeRecord& inode) { ++inode.link_count; });
       }},
      {FindingId::kExtentsOfNoFile, "on a symlink",
       [](TestVolume& v) { v.AddUnwritten(kInodeSymlink, 0, v.Block(100)); }},
      {FindingId::kXattrFlag, "cleared",
       WithInode(kInodeF, [](InodeRecord& inode) { inode.flags = 0; })},
  };
}

std::vector<Case> TreeCases() {
  return {
      {FindingId::kRootMissing, "its parent is another",
       WithInode(kRootInode, [](InodeRecord& inode) { inode.parent = kInodeA; })},
      {FindingId::kRootMissing, "it has an entry",
       [](TestVolume& v) {
         v.AddEntry(kInodeB, "root", kRootInode, kDirectory);
         v.EditInode(kInodeB, [](InodeRecord& inode) { ++inode.link_count; });
       }},
      {FindingId::kEntryCount, "one too many",
       WithInode(kInodeA, [](InodeRecord& inode) { ++inode.size_bytes; })},
      {FindingId::kEntryCookie, "another hash",
       [](TestVolume& v) {
         v.RemoveEntry(kInodeB, "deep");
         v.EditInode(kInodeB, [](InodeRecord& inode) { ++inode.size_bytes; });
         PutAt(DentryKey(kInodeB, v.Cookie("other")),
               EncodeDentry({"deep", kInodeDeep, kFile}))(v);
       }},
      {FindingId::kEntryDuplicate, "the same name at the next index",
       [](TestVolume& v) {
         v.AddEntry(kInodeB, "deep", kInodeDeep, kFile, 1);
         v.EditInode(kInodeDeep, [](InodeRecord& inode) { ++inode.link_count; });
       }},
      {FindingId::kEntryDangling, "to nowhere",
       [](TestVolume& v) { v.AddEntry(kInodeB, "ghost", InodeId{95}, kFile); }},
      {FindingId::kEntryType, "a device as a file",
       [](TestVolume& v) {
         PutAt(DentryKey(kInodeA, v.Cookie("dev")),
               EncodeDentry({"dev", kInodeDevice, kFile}))(v);
       }},
      {FindingId::kLinkCount, "of a file",
       WithInode(kInodeG, [](InodeRecord& inode) { ++inode.link_count; })},
      {FindingId::kLinkCount, "of a directory",
       WithInode(kInodeA, [](InodeRecord& inode) { --inode.link_count; })},
      {FindingId::kUnreachable, "a file",
       [](TestVolume& v) {
         v.RemoveEntry(kInodeB, "deep");
       }},
      {FindingId::kUnreachable, "a directory and what is in it",
       [](TestVolume& v) {
         v.RemoveEntry(kRootInode, "a");
         v.EditInode(kRootInode, [](InodeRecord& inode) { --inode.link_count; });
       }},
      {FindingId::kDirectoryParents, "a hard link",
       [](TestVolume& v) {
         v.AddEntry(kRootInode, "b2", kInodeB, kDirectory);
         v.EditInode(kRootInode, [](InodeRecord& inode) { ++inode.link_count; });
         v.EditInode(kInodeB, [](InodeRecord& inode) { inode.parent = kRootInode; });
       }},
      {FindingId::kDirectoryParent, "another one",
       WithInode(kInodeB, [](InodeRecord& inode) { inode.parent = kRootInode; })},
      {FindingId::kDirectoryCycle, "a in b in a",
       [](TestVolume& v) {
         v.RemoveEntry(kRootInode, "a");
         v.EditInode(kRootInode, [](InodeRecord& inode) { --inode.link_count; });
         v.AddEntry(kInodeB, "a", kInodeA, kDirectory);
         v.EditInode(kInodeB, [](InodeRecord& inode) { ++inode.link_count; });
         v.EditInode(kInodeA, [](InodeRecord& inode) { inode.parent = kInodeB; });
       }},
      {FindingId::kOrphanDangling, "no inode", PutAt(OrphanKey(InodeId{96}), "")},
      {FindingId::kOrphanLinked, "an entry", PutAt(OrphanKey(kInodeDeep), "")},
      {FindingId::kOrphanMissing, "its record is gone",
       Remove([](TestVolume&) { return OrphanKey(kInodeOrphan); })},
      {FindingId::kOrphanNotEmpty, "an entry in it",
       [](TestVolume& v) {
         v.AddEntry(kInodeOrphanDirectory, "x", kInodeG, kFile);
         v.EditInode(kInodeG, [](InodeRecord& inode) { ++inode.link_count; });
       }},
  };
}

std::vector<Case> SpaceCases() {
  return {
      {FindingId::kExtentOverlap, "in the file",
       [](TestVolume& v) { v.AddUnwritten(kInodeDeep, 1, v.Block(100)); }},
      {FindingId::kExtentBeyondEof, "a block too many",
       WithInode(kInodeF, [](InodeRecord& inode) { inode.size_bytes = 2 * kB; })},
      {FindingId::kAllocatedBytes, "a block too many",
       WithInode(kInodeF, [](InodeRecord& inode) { inode.allocated_bytes += kB; })},
      {FindingId::kExtentOutside, "past the end",
       [](TestVolume& v) {
         v.AddUnwritten(kInodeDeep, 100, DeviceOffset{TestVolume::kVolumeBytes - kB}, 2);
       }},
      {FindingId::kExtentOutside, "on the superblocks",
       [](TestVolume& v) { v.AddUnwritten(kInodeDeep, 100, DeviceOffset{1 << 20}); }},
      {FindingId::kExtentInPool, "its last block",
       [](TestVolume& v) { v.AddUnwritten(kInodeDeep, 100, v.pool().end() - kB, 3); }},
      {FindingId::kSharedOutside, "at the front",
       PutAt(SharedKey(DeviceOffset{}), EncodeShared({kB, 2}))},
      {FindingId::kSharedOverlap, "inside another",
       Put([](TestVolume& v) { return SharedKey(v.Block(1)); }, EncodeShared({kB, 2}))},
      {FindingId::kSharedMissing, "the record is gone",
       Remove([](TestVolume& v) { return SharedKey(v.Block(0)); })},
      {FindingId::kSharedMissing, "half of it is gone",
       Put([](TestVolume& v) { return SharedKey(v.Block(0)); }, EncodeShared({kB, 2}))},
      {FindingId::kExtentCrossLinked, "a block of another file",
       [](TestVolume& v) {
         v.EditInode(kInodeG, [](InodeRecord& inode) {
           inode.size_bytes = kB;
           inode.allocated_bytes = kB;
         });
         PutAt(ExtentKey(kInodeG, FileOffset{0}),
               EncodeExtent({FileOffset{0}, v.Block(2), kB, 0}))(v);
       }},
      {FindingId::kExtentCrossLinked, "a preallocated block",
       [](TestVolume& v) { v.AddUnwritten(kInodeDeep, 100, v.Block(2)); }},
      {FindingId::kExtentCrossLinked, "a shared block, by one that says it is alone",
       [](TestVolume& v) {
         v.EditInode(kInodeG, [](InodeRecord& inode) {
           inode.size_bytes = kB;
           inode.allocated_bytes = kB;
         });
         PutAt(ExtentKey(kInodeG, FileOffset{0}),
               EncodeExtent({FileOffset{0}, v.Block(1), kB, 0}))(v);
       }},
      {FindingId::kSharedCount, "too high",
       Put([](TestVolume& v) { return SharedKey(v.Block(0)); }, EncodeShared({2 * kB, 3}))},
      {FindingId::kSharedCount, "of what nobody has",
       Put([](TestVolume& v) { return SharedKey(v.Block(100)); }, EncodeShared({kB, 2}))},
      {FindingId::kSharedCount, "of what one file has",
       Put([](TestVolume& v) { return SharedKey(v.Block(0)); }, EncodeShared({3 * kB, 2}))},
      {FindingId::kSharedFlag, "cleared",
       [](TestVolume& v) {
         PutAt(ExtentKey(kInodeDeep, FileOffset{0}),
               EncodeExtent({FileOffset{0}, v.Block(0), 2 * kB, 0}))(v);
       }},
      {FindingId::kSharedFlag, "cleared, of a count that is no longer exact",
       Put([](TestVolume& v) { return SharedKey(v.Block(2)); },
           EncodeShared({kB, kReferenceCountMax}))},
      {FindingId::kSharedUnwritten, "two owners",
       [](TestVolume& v) {
         PutAt(SharedKey(v.Block(100)), EncodeShared({kB, 2}))(v);
         v.AddUnwritten(kInodeF, 50, v.Block(100), 1, kExtentShared);
         v.AddUnwritten(kInodeDeep, 50, v.Block(100), 1, kExtentShared);
       }},
      {FindingId::kChecksumMissing, "a chunk of them",
       Remove([](TestVolume& v) { return ChecksumKey(v.Block(2)); })},
      {FindingId::kChecksumMissing, "one of a chunk",
       [](TestVolume& v) {
         ChecksumChunk sums = *DecodeChecksums(v.Get(ChecksumKey(v.Block(0))));
         sums.present &= sums.present - 1;
         PutAt(ChecksumKey(v.Block(0)), EncodeChecksums(sums))(v);
       }},
      {FindingId::kChecksumOutside, "past the end",
       [](TestVolume& v) {
         PutAt(ChecksumKey(DeviceOffset{TestVolume::kVolumeBytes}),
               v.Get(ChecksumKey(v.Block(0))))(v);
       }},
      {FindingId::kImageDamaged, "a flipped bit",
       [](TestVolume& v) {
         v.LeaveImage();
         v.Flip(v.superblock().allocator_image.offset + 40);
       }},
      {FindingId::kImageDamaged, "unreadable",
       [](TestVolume& v) {
         v.LeaveImage();
         v.unreadable = v.superblock().allocator_image.offset;
       }},
      {FindingId::kImageOverlaps, "in a file",
       [](TestVolume& v) {
         v.EditSuperblock([&](Superblock& s) { s.allocator_image = {v.Block(0), kB}; });
       }},
      {FindingId::kImageFreesUsed, "a block of a file",
       [](TestVolume& v) {
         v.LeaveImage([&](Allocator& a) { ASSERT_TRUE(a.Release({v.Block(2), kB}).ok()); });
       }},
      {FindingId::kImageFreesUsed, "the pool",
       [](TestVolume& v) {
         v.LeaveImage([&](Allocator& a) { ASSERT_TRUE(a.Release(v.pool()).ok()); });
       }},
      {FindingId::kImageLeaks, "a block",
       [](TestVolume& v) {
         v.LeaveImage([&](Allocator& a) { ASSERT_TRUE(a.Take({v.Block(100), kB}).ok()); });
       }},
      {FindingId::kDataUnreadable, "one block",
       [](TestVolume& v) { v.unreadable = v.Block(1); }},
      {FindingId::kDataChecksum, "one bit", [](TestVolume& v) { v.Flip(v.Block(2) + 17); }},
  };
}

std::vector<Case> AllCases() {
  std::vector<Case> all;
  for (const auto& cases : {SuperblockCases(), RecordCases(), TreeCases(), SpaceCases()})
    all.insert(all.end(), cases.begin(), cases.end());
  return all;
}

std::string All(const Report& report) {
  std::string lines;
  for (const Finding& finding : report.findings()) lines += Describe(finding) + "\n";
  return lines;
}

TEST(Catalogue, EachDamageIsFoundAndNothingElse) {
  CheckOptions options;
  options.data = true;
  for (const Case& test : AllCases()) {
    SCOPED_TRACE(std::string(KindOf(test.id).id) + ": " + test.what);
    TestVolume volume;
    test.damage(volume);
    const Report report = volume.Check(options);
    EXPECT_GE(report.count(test.id), 1u);
    EXPECT_EQ(report.count(test.id), report.error_count() + report.note_count())
        << All(report);
  }
}

// What a repair must not change: the files that the damage is not about.
void ExpectFilesOf(TestVolume& volume, const std::string& f, const std::string& deep,
                   FindingId id) {
  const bool is_about_data = id == FindingId::kDataChecksum ||
                             id == FindingId::kExtentBeyondEof ||
                             id == FindingId::kRecordsWithoutInode ||
                             id == FindingId::kInodeDamaged;
  if (is_about_data) return;
  const auto f_now = volume.ReadFile(kInodeF);
  const auto deep_now = volume.ReadFile(kInodeDeep);
  ASSERT_TRUE(f_now.ok()) << f_now.error().ToString();
  ASSERT_TRUE(deep_now.ok()) << deep_now.error().ToString();
  EXPECT_EQ(*f_now, f);
  EXPECT_EQ(*deep_now, deep);
}

TEST(Catalogue, EachDamageIsRepairedAndTheSecondRunIsClean) {
  CheckOptions options;
  options.data = true;
  const std::string f = *TestVolume().ReadFile(kInodeF);
  const std::string deep = *TestVolume().ReadFile(kInodeDeep);
  for (const Case& test : AllCases()) {
    const FindingKind& kind = KindOf(test.id);
    if (kind.policy == RepairPolicy::kNever || test.is_hopeless) continue;
    SCOPED_TRACE(std::string(kind.id) + ": " + test.what);
    TestVolume volume;
    test.damage(volume);
    const RepairOutcome outcome = volume.Repair(RepairMode::kAll, options);
    ASSERT_FALSE(outcome.error) << outcome.error->ToString();
    EXPECT_EQ(outcome.report.error_count(), 0u) << All(outcome.report);
    EXPECT_GE(outcome.report.repaired_count(), kind.severity == Severity::kError ? 1u : 0u)
        << All(outcome.report);
    volume.unreadable.reset();  // a drive puts a spare sector where one was written
    const Report second = volume.Check(options);
    EXPECT_EQ(second.error_count() + second.note_count(), 0u)
        << "first:\n" << All(outcome.report) << "second:\n" << All(second);
    EXPECT_TRUE(second.marked_clean || kind.severity == Severity::kNote);
    bool is_write_free = false;
    const RepairOutcome again = volume.Repair(RepairMode::kAll, options, &is_write_free);
    EXPECT_EQ(again.report.repaired_count(), 0u);
    EXPECT_TRUE(is_write_free);
    ExpectFilesOf(volume, f, deep, test.id);
  }
}

TEST(Catalogue, PreeningRepairsWhatIsSafeAndElseNothing) {
  CheckOptions options;
  for (const Case& test : AllCases()) {
    const FindingKind& kind = KindOf(test.id);
    SCOPED_TRACE(std::string(kind.id) + ": " + test.what);
    TestVolume volume;
    test.damage(volume);
    bool is_write_free = false;
    const RepairOutcome outcome =
        volume.Repair(RepairMode::kPreen, options, &is_write_free);
    ASSERT_FALSE(outcome.error);
    volume.unreadable.reset();
    if (kind.policy == RepairPolicy::kPreen) {
      EXPECT_EQ(outcome.report.error_count(), 0u) << All(outcome.report);
      const Report second = volume.Check(options);
      EXPECT_EQ(second.error_count() + second.note_count(), 0u) << All(second);
    } else {
      EXPECT_EQ(outcome.report.repaired_count(), 0u) << All(outcome.report);
      EXPECT_TRUE(is_write_free);
    }
  }
}

TEST(Catalogue, PreeningLeavesRecordsAloneNextToDamage) {
  TestVolume volume;
  volume.EditInode(kInodeG, [](InodeRecord& inode) { inode.link_count = 7; });
  volume.AddEntry(kInodeB, "ghost", InodeId{95}, kFile);
  bool is_write_free = false;
  const RepairOutcome outcome = volume.Repair(RepairMode::kPreen, {}, &is_write_free);
  EXPECT_EQ(outcome.report.repaired_count(), 0u);
  EXPECT_EQ(outcome.report.error_count(), 2u);
  EXPECT_TRUE(is_write_free);
}

TEST(Catalogue, HasADamageForEachEntry) {
  std::map<FindingId, int> covered;
  for (const Case& test : AllCases()) ++covered[test.id];
  for (size_t i = 0; i < kFindingKindCount; ++i) {
    const auto id = static_cast<FindingId>(i);
    EXPECT_GE(covered[id], 1) << KindOf(id).id;
  }
}

TEST(Catalogue, IdsAreDistinctWords) {
  std::map<std::string_view, int> ids;
  for (size_t i = 0; i < kFindingKindCount; ++i) {
    const FindingKind& kind = KindOf(static_cast<FindingId>(i));
    EXPECT_EQ(++ids[kind.id], 1) << kind.id;
    EXPECT_EQ(kind.id.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), std::string::npos);
    EXPECT_FALSE(kind.meaning.empty());
  }
}

}  // namespace
}  // namespace cofs
