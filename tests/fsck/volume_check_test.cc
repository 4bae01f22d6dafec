// Sound volumes are clean, however they were left; what can't be judged is said; words,
// numbers and JSON of a report.
#include "fsck/volume_check.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "extent_map/allocator.h"
#include "mkfs/format.h"
#include "tests/fsck/test_volume.h"

namespace cofs {
namespace {

constexpr uint8_t kFile = S_IFREG >> 12;

void ExpectNothing(const Report& report) {
  for (const Finding& finding : report.findings()) ADD_FAILURE() << Describe(finding);
  EXPECT_EQ(report.error_count() + report.note_count(), 0u);
}

TEST(VolumeCheck, ANewVolumeIsClean) {
  MemoryDevice device(256 << 20);
  ASSERT_TRUE(FormatDevice(device, {}).ok());
  CheckOptions options;
  options.data = true;
  const auto report = CheckVolume(device, options);
  ASSERT_TRUE(report.ok());
  ExpectNothing(*report);
  EXPECT_TRUE(report->marked_clean);
  EXPECT_EQ(report->totals.inodes, 1u);
  EXPECT_EQ(report->totals.directories, 1u);
}

TEST(VolumeCheck, AUsedVolumeIsClean) {
  TestVolume volume;
  CheckOptions options;
  options.data = true;
  const Report report = volume.Check(options);
  ExpectNothing(report);
  EXPECT_EQ(report.label, "test");
  EXPECT_EQ(report.totals.inodes, 10u);
  EXPECT_EQ(report.totals.directories, 4u);
  EXPECT_EQ(report.totals.entries, 8u);
  EXPECT_EQ(report.totals.extents, 5u);
  EXPECT_EQ(report.totals.orphans, 2u);
  EXPECT_EQ(report.totals.used_bytes, 6 * kBlockBytes);
  EXPECT_EQ(report.totals.verified_bytes, 4 * kBlockBytes);
}

TEST(VolumeCheck, ACrashedVolumeIsConsistent) {
  TestVolume volume;
  volume.EditSuperblock([](Superblock& superblock) { superblock.clean = false; });
  volume.Edit(
      [](Batch& batch) { batch.Put(XattrKey(kInodeF, "user.more"), "unsynced tables"); },
      /*closes=*/false);
  const Report report = volume.Check();
  ExpectNothing(report);
  EXPECT_FALSE(report.marked_clean);
}

TEST(VolumeCheck, AnImageMayCallItsOwnBlocksFreeOrUsed) {
  TestVolume freed;
  freed.LeaveImage();
  ExpectNothing(freed.Check());
  TestVolume used;
  used.LeaveImage([&](Allocator& allocator) {
    ASSERT_TRUE(allocator.Take({used.Block(1000), kBlockBytes}).ok());
  });
  ExpectNothing(used.Check());
}

TEST(VolumeCheck, AnImageOfACrashedVolumeMeansNothing) {
  TestVolume volume;
  volume.LeaveImage(
      [&](Allocator& a) { ASSERT_TRUE(a.Release({volume.Block(2), kBlockBytes}).ok()); });
  volume.EditSuperblock([](Superblock& superblock) { superblock.clean = false; });
  ExpectNothing(volume.Check());
}

TEST(VolumeCheck, AFullReferenceCountIsNoLongerExact) {
  TestVolume volume;
  volume.Edit([&](Batch& batch) {
    batch.Put(SharedKey(volume.Block(0)),
              EncodeShared({2 * kBlockBytes, kReferenceCountMax}));
    batch.Put(SharedKey(volume.Block(200)),
              EncodeShared({kBlockBytes, kReferenceCountMax}));
  });
  ExpectNothing(volume.Check());
}

TEST(VolumeCheck, CollisionsOfTheNameHashAreNoFault) {
  TestVolume volume;
  // Entries of one hash sit at indices in any order, with gaps.
  volume.RemoveEntry(kInodeB, "deep");
  volume.AddEntry(kInodeB, "deep", kInodeDeep, kFile, kCollisionIndexCount - 1);
  ExpectNothing(volume.Check());
}

TEST(VolumeCheck, FindingsNameTheirFile) {
  TestVolume volume;
  volume.EditInode(kInodeDeep, [](InodeRecord& inode) { inode.link_count = 3; });
  const Report report = volume.Check();
  ASSERT_EQ(report.findings().size(), 1u);
  EXPECT_EQ(Describe(report.findings()[0]),
            "inode 22 (/a/b/deep): link count is 3, counted 1 [link-count]");
}

TEST(VolumeCheck, DataIsReportedByPathAndPlace) {
  TestVolume volume;
  volume.Flip(volume.Block(2) + 5);
  CheckOptions options;
  EXPECT_EQ(volume.Check(options).error_count(), 0u);
  options.data = true;
  const Report report = volume.Check(options);
  ASSERT_EQ(report.findings().size(), 1u);
  const Finding& finding = report.findings()[0];
  EXPECT_EQ(finding.path, "/f");
  EXPECT_NE(finding.text.find("file offset 8192"), std::string::npos) << finding.text;
}

TEST(VolumeCheck, HostileNamesStayHarmless) {
  TestVolume volume;
  volume.AddEntry(kInodeB, "\x1b[2J\"\\\n\xff", InodeId{95}, kFile);
  const Report report = volume.Check();
  ASSERT_EQ(report.findings().size(), 1u);
  const std::string line = Describe(report.findings()[0]);
  for (const char c : line) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << line;
  EXPECT_FALSE(nlohmann::json::parse(report.ToJson("x\"\n\xfe", 4)).empty());
}

TEST(VolumeCheck, JsonHoldsWhatTheReportHolds) {
  TestVolume volume;
  volume.EditInode(kInodeDeep, [](InodeRecord& inode) { inode.link_count = 3; });
  volume.EditInode(kInodeG, [](InodeRecord& inode) { inode.link_count = 7; });
  CheckOptions options;
  options.finding_count_max = 1;
  const Report report = volume.Check(options);
  const auto json = nlohmann::json::parse(report.ToJson("/dev/test", 4));
  EXPECT_EQ(json["device"], "/dev/test");
  EXPECT_EQ(json["label"], "test");
  EXPECT_EQ(json["exit_code"], 4);
  EXPECT_EQ(json["marked_clean"], true);
  EXPECT_EQ(json["counts"]["errors"], 2);
  EXPECT_EQ(json["counts"]["inodes"], 10);
  EXPECT_EQ(json["finding_counts"]["link-count"], 2);
  EXPECT_EQ(json["findings_left_out"], 1);
  ASSERT_EQ(json["findings"].size(), 1u);
  EXPECT_EQ(json["findings"][0]["id"], "link-count");
  EXPECT_EQ(json["findings"][0]["severity"], "error");
  EXPECT_EQ(json["findings"][0]["inode"], 18);
  EXPECT_EQ(json["findings"][0]["path"], "/g");
  const auto clean = nlohmann::json::parse(TestVolume().Check().ToJson("x", 0));
  EXPECT_EQ(clean["findings"].size(), 0u);
}

TEST(VolumeCheck, WhatIsNoVolumeCannotBeJudged) {
  MemoryDevice empty(TestVolume::kVolumeBytes);
  EXPECT_TRUE(CheckVolume(empty, {}).Is(ErrorCode::kNotCofs));
  MemoryDevice tiny(kBlockBytes);
  EXPECT_TRUE(CheckVolume(tiny, {}).Is(ErrorCode::kNotCofs));
}

TEST(VolumeCheck, NewerFormatsCannotBeJudged) {
  TestVolume incompat, ro_compat;
  Superblock superblock = incompat.superblock();
  superblock.incompat = 1;
  incompat.device().Poke(kSuperblockOffsets[0].value(), EncodeSuperblock(superblock));
  EXPECT_TRUE(CheckVolume(incompat.device(), {}).Is(ErrorCode::kUnsupportedFormat));
  ro_compat.EditSuperblock([](Superblock& s) { s.ro_compat = 1; });
  EXPECT_TRUE(CheckVolume(ro_compat.device(), {}).Is(ErrorCode::kUnsupportedFormat));
  TestVolume compat;
  compat.EditSuperblock([](Superblock& s) { s.compat = 1; });
  ExpectNothing(compat.Check());
}

TEST(VolumeCheck, CanBeCancelled) {
  TestVolume volume;
  CheckOptions options;
  options.is_cancelled = [] { return true; };
  EXPECT_TRUE(CheckVolume(volume.device(), options).Is(ErrorCode::kInterrupted));
}

TEST(VolumeCheck, ProgressGoesForward) {
  TestVolume volume;
  CheckOptions options;
  options.data = true;
  int last_pass = 0;
  uint64_t last_done = 0, last_total = 0;
  std::map<int, int> calls;
  options.progress = [&](const CheckProgress& progress) {
    EXPECT_GE(progress.pass, last_pass);
    EXPECT_LE(progress.done, progress.total);
    if (progress.pass == last_pass) {
      EXPECT_GE(progress.done, last_done);
    } else {
      EXPECT_GE(last_done + 1, last_total) << last_pass;
    }
    last_pass = progress.pass;
    last_done = progress.done;
    last_total = progress.total;
    ++calls[progress.pass];
  };
  ExpectNothing(volume.Check(options));
  EXPECT_EQ(last_pass, 6);
  for (const int pass : {2, 3, 4, 5, 6}) EXPECT_GE(calls[pass], 1) << pass;
  EXPECT_GT(calls[2], 3) << "the files of the store are read without a word";
}

// Many files, many shared ranges with many owners: the walks are in step, and memory is
// for what there is.
TEST(VolumeCheck, ManyFiles) {
  constexpr uint64_t kFiles = 5000;
  constexpr uint64_t kOwners = 50;
  TestVolume volume;
  InodeRecord root = *DecodeInode(volume.Get(InodeKey(kRootInode)));
  root.size_bytes += kFiles;
  InodeRecord file;
  file.mode = S_IFREG | 0644;
  file.link_count = 1;
  file.size_bytes = kBlockBytes;
  file.allocated_bytes = kBlockBytes;
  volume.Edit([&](Batch& batch) {
    batch.Put(InodeKey(kRootInode), EncodeInode(root));
    batch.Put(InodeCounterKey(), EncodeInodeCounter(InodeId{1000 + kFiles}));
    for (uint64_t i = 0; i < kFiles; ++i) {
      const InodeId inode{1000 + i};
      const std::string name = "file" + std::to_string(i);
      const DeviceOffset block = volume.Block(2000 + 2 * (i / kOwners));
      batch.Put(InodeKey(inode), EncodeInode(file));
      batch.Put(DentryKey(kRootInode, volume.Cookie(name)),
                EncodeDentry({name, inode, kFile}));
      batch.Put(ExtentKey(inode, FileOffset{}),
                EncodeExtent({FileOffset{}, block, kBlockBytes, kExtentShared}));
      if (i % kOwners != 0) continue;
      batch.Put(SharedKey(block), EncodeShared({kBlockBytes, kOwners}));
      ChecksumChunk sums;
      const uint64_t index = block.value() % kChecksumChunkBytes / kBlockBytes;
      sums.present = uint64_t{1} << index;
      sums.crc32c[index] = 0x98f94189;  // of a block of zeros
      batch.Merge(ChecksumKey(block), EncodeChecksums(sums));
    }
  });
  CheckOptions options;
  options.data = true;
  const Report report = volume.Check(options);
  ExpectNothing(report);
  EXPECT_EQ(report.totals.inodes, 10 + kFiles);
  EXPECT_EQ(report.totals.used_bytes, (6 + kFiles / kOwners) * kBlockBytes);
}

}  // namespace
}  // namespace cofs
