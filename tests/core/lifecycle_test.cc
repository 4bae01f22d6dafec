// Mounting, unmounting, crashes, removed inodes, read-only volumes.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <thread>

#include "base/log.h"
#include "mkfs/format.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

constexpr InodeId kRoot = kRootInode;

std::string Bytes(size_t size, char fill) { return std::string(size, fill); }

std::string Contents(Volume& volume, InodeId id) {
  AlignedBuffer buffer;
  const auto data =
      volume.Read(id, FileOffset{0}, RecordOf(volume, id).size_bytes, buffer);
  EXPECT_OK(data);
  return data.ok() ? std::string(data->begin(), data->end()) : "";
}

// Free sooner or later, whatever the pool has taken of it. A range on its way to the pool,
// or one that a trial copy has for a moment, is in neither: what is said five times counts.
uint64_t FreeBytes(Volume& volume) {
  EXPECT_OK(volume.DrainRemoved());
  uint64_t bytes = 0;
  for (int count = 0; count < 5;) {
    const VolumeUsage usage = volume.usage();
    const uint64_t now =
        usage.space.free_bytes + usage.space.pending_bytes + usage.store.pool_bytes;
    count = now == bytes ? count + 1 : 1;
    bytes = now;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return bytes;
}

Superblock SuperblockOf(MemoryDevice& memory) {
  return SuperblockSlots::Load(memory).value()->current();
}

TEST(Lifecycle, ACleanRemountKeepsEverything) {
  TestVolume volume;
  const InodeId directory = MakeDirectory(*volume, kRoot, "d");
  const InodeId file = MakeFile(*volume, directory, "f");
  ASSERT_OK(volume->Write(file, FileOffset{0}, Bytes(300'000, 'x'), {}));
  EXPECT_FALSE(SuperblockOf(volume.memory()).clean) << "cleared by the first allocation";
  const uint64_t free_bytes = FreeBytes(*volume);
  ASSERT_OK(volume.Unmount());
  const Superblock superblock = SuperblockOf(volume.memory());
  EXPECT_TRUE(superblock.clean);
  EXPECT_NE(0u, superblock.allocator_image.length_bytes);
  ASSERT_OK(volume.Mount());
  EXPECT_EQ(Bytes(300'000, 'x'), Contents(*volume, file));
  EXPECT_EQ(file, EntriesOf(*volume, directory)["f"]);
  EXPECT_EQ(free_bytes, FreeBytes(*volume));
  volume.Remount();
}

TEST(Lifecycle, AnUnchangedMountKeepsTheImage) {
  TestVolume volume;
  MakeFile(*volume, kRoot, "f");
  ASSERT_OK(
      volume->Write(MakeFile(*volume, kRoot, "g"), FileOffset{0}, Bytes(9000, 'x'), {}));
  volume.Remount();
  const Superblock before = SuperblockOf(volume.memory());
  EXPECT_TRUE(before.clean);
  EXPECT_EQ(2u, EntriesOf(*volume, kRoot).size());
  volume.Remount();
  EXPECT_EQ(before.allocator_image, SuperblockOf(volume.memory()).allocator_image);
  // A crash of a mount that changed no space is not worth a rebuild either.
  volume.Crash();
  EXPECT_TRUE(SuperblockOf(volume.memory()).clean);
  ASSERT_OK(volume.Mount());
}

TEST(Lifecycle, ACrashLosesNothingThatWasSynced) {
  TestVolume volume(64 << 20);
  const InodeId file = MakeFile(*volume, kRoot, "f");
  ASSERT_OK(volume->Write(file, FileOffset{0}, Bytes(1 << 20, 'x'), {}));
  ASSERT_OK(volume->Sync(file));
  MakeFile(*volume, kRoot, "late");
  volume.Crash();
  EXPECT_FALSE(SuperblockOf(volume.memory()).clean);
  ASSERT_OK(volume.Mount());
  EXPECT_EQ(Bytes(1 << 20, 'x'), Contents(*volume, file));
  EXPECT_EQ(2u, volume->usage().inodes_used) << "counted by the rebuild; late is lost";
  // The blocks in use are not given away: fill the rest.
  const InodeId filler = MakeFile(*volume, kRoot, "filler");
  FileOffset offset{0};
  while (volume->Write(filler, offset, Bytes(1 << 20, 'y'), {}).ok()) offset += 1 << 20;
  EXPECT_EQ(Bytes(1 << 20, 'x'), Contents(*volume, file));
  volume.Remount();
  EXPECT_EQ(Bytes(1 << 20, 'x'), Contents(*volume, file));
}

TEST(Lifecycle, NumbersGoOnAfterACrash) {
  TestVolume volume;
  const InodeId lost = MakeFile(*volume, kRoot, "lost");
  volume.Crash();
  ASSERT_OK(volume.Mount());
  EXPECT_FALSE(HasEntry(*volume, kRoot, "lost"));
  EXPECT_GT(MakeFile(*volume, kRoot, "next"), lost);
}

TEST(Lifecycle, AReadOnlyMountWritesNothing) {
  VolumeOptions read_only;
  read_only.read_only = true;
  for (bool clean : {true, false}) {
    SCOPED_TRACE(clean ? "clean" : "crashed");
    TestVolume volume;
    const InodeId file = MakeFile(*volume, kRoot, "f");
    ASSERT_OK(volume->Write(file, FileOffset{0}, Bytes(5000, 'x'), {}));
    const auto orphan = volume->Create(kRoot, "orphan", File());
    ASSERT_OK(orphan);
    ASSERT_OK(volume->Unlink(kRoot, "orphan"));
    ASSERT_OK(volume->SyncAll());
    if (clean) {
      ASSERT_OK(volume.Unmount());
    } else {
      volume.Crash();
    }
    ASSERT_OK(volume.Mount(read_only));
    EXPECT_EQ(Bytes(5000, 'x'), Contents(*volume, file));
    EXPECT_OK(volume->GetAttributes(orphan->id)) << "orphans stay";
    EXPECT_CODE(kReadOnly, volume->Create(kRoot, "x", File()));
    EXPECT_CODE(kReadOnly, volume->CreateTemporary(File()));
    EXPECT_CODE(kReadOnly, volume->Unlink(kRoot, "f"));
    EXPECT_CODE(kReadOnly, volume->Rename(kRoot, "f", kRoot, "g", RenameMode::kReplace));
    EXPECT_CODE(kReadOnly, volume->Link(file, kRoot, "g"));
    EXPECT_CODE(kReadOnly, volume->SetAttributes(file, {.mode = 0600}));
    EXPECT_CODE(kReadOnly, volume->SetAttributes(file, {.size_bytes = 0}));
    EXPECT_CODE(kReadOnly, volume->SetXattr(file, "user.a", "1", XattrMode::kSet));
    EXPECT_CODE(kReadOnly, volume->Write(file, FileOffset{0}, Bytes(1, 'y'), {}));
    EXPECT_CODE(kReadOnly, volume->Allocate(file, 0, FileOffset{0}, 4096));
    EXPECT_CODE(kReadOnly,
                volume->Copy({.source = file,
                              .source_offset = FileOffset{0},
                              .destination = file,
                              .destination_offset = FileOffset{8192},
                              .length_bytes = 1}));
    EXPECT_CODE(kReadOnly, volume->Trim(DeviceOffset{0}, DeviceOffset{1 << 30}, 0));
    EXPECT_OK(volume->SyncAll());
    EXPECT_TRUE(volume->usage().read_only);
    EXPECT_EQ("", volume->usage().read_only_reason);
    FaultDevice& device = volume.faults();
    const uint64_t reads = device.io_count(FaultKind::kRead);
    EXPECT_EQ(device.io_count(), reads) << "writes, flushes or discards were sent";
    ASSERT_OK(volume.Unmount());
    EXPECT_EQ(clean, SuperblockOf(volume.memory()).clean);
    ASSERT_OK(volume.Mount());
    ASSERT_OK(volume->DrainRemoved());
    EXPECT_CODE(kStale, volume->GetAttributes(orphan->id)) << "reaped by this mount";
    volume.Remount();
  }
}

TEST(Lifecycle, OpenOrphansGoOnWorking) {
  TestVolume volume;
  const auto made = volume->Create(kRoot, "f", File());
  ASSERT_OK(made);
  ASSERT_OK(volume->Unlink(kRoot, "f"));
  ASSERT_OK(volume->DrainRemoved());
  ASSERT_OK(volume->Write(made->id, FileOffset{0}, Bytes(10'000, 'x'), {}));
  EXPECT_EQ(Bytes(10'000, 'x'), Contents(*volume, made->id));
  EXPECT_OK(volume->SetAttributes(made->id, {.mode = 0600, .size_bytes = 100}));
  EXPECT_OK(volume->SetXattr(made->id, "user.a", "1", XattrMode::kSet));
  EXPECT_CODE(kNotFound, volume->Link(made->id, kRoot, "back"));
  EXPECT_EQ(0u, RecordOf(*volume, made->id).link_count);
  volume->Forget(made->id, 1);
  ASSERT_OK(volume->DrainRemoved());
  EXPECT_CODE(kStale, volume->GetAttributes(made->id));
  EXPECT_CODE(kStale, volume->Write(made->id, FileOffset{0}, Bytes(1, 'x'), {}));
  EXPECT_CODE(kStale, volume->LookupById(made->id));
  volume.Remount();
}

TEST(Lifecycle, TemporaryFilesMayGetALink) {
  TestVolume volume;
  const auto made = volume->CreateTemporary(File());
  ASSERT_OK(made);
  EXPECT_EQ(0u, made->record.link_count);
  EXPECT_CODE(kInvalidArgument, volume->CreateTemporary(Directory()));
  ASSERT_OK(volume->Write(made->id, FileOffset{0}, Bytes(5000, 'x'), {}));
  const auto linked = volume->Link(made->id, kRoot, "f");
  ASSERT_OK(linked);
  EXPECT_EQ(1u, linked->record.link_count);
  volume->Forget(made->id, 2);
  ASSERT_OK(volume->DrainRemoved());
  volume.Remount();
  EXPECT_EQ(Bytes(5000, 'x'), Contents(*volume, made->id));
  // The link taken away again, it is an orphan as any other.
  const auto found = volume->Lookup(kRoot, "f");
  ASSERT_OK(found);
  ASSERT_OK(volume->Unlink(kRoot, "f"));
  EXPECT_CODE(kNotFound, volume->Link(made->id, kRoot, "g"));
  // One that never got a link goes with its last look-up.
  const auto other = volume->CreateTemporary(File());
  ASSERT_OK(other);
  volume->Forget(other->id, 1);
  ASSERT_OK(volume->DrainRemoved());
  EXPECT_CODE(kStale, volume->GetAttributes(other->id));
}

TEST(Lifecycle, OrphansAreReapedByTheNextMount) {
  for (bool clean : {true, false}) {
    SCOPED_TRACE(clean ? "clean" : "crashed");
    TestVolume volume;
    const uint64_t free_bytes = FreeBytes(*volume);
    std::vector<InodeId> orphans;
    for (int i = 0; i < 20; ++i) {
      const auto made = volume->Create(kRoot, "f", File());
      ASSERT_OK(made);
      ASSERT_OK(volume->Write(made->id, FileOffset{0}, Bytes(50'000, 'x'), {}));
      ASSERT_OK(volume->Unlink(kRoot, "f"));
      orphans.push_back(made->id);
    }
    const auto directory = volume->Create(kRoot, "d", Directory());
    ASSERT_OK(directory);
    ASSERT_OK(volume->RemoveDirectory(kRoot, "d"));
    orphans.push_back(directory->id);
    ASSERT_OK(volume->SyncAll());
    if (clean) {
      ASSERT_OK(volume.Unmount());
    } else {
      volume.Crash();
    }
    volume.ExpectSound();
    ASSERT_OK(volume.Mount());
    ASSERT_OK(volume->DrainRemoved());
    for (InodeId id : orphans) EXPECT_CODE(kStale, volume->GetAttributes(id));
    EXPECT_EQ(free_bytes, FreeBytes(*volume));
    volume.Remount();
  }
}

// The kernel has sent a write before it tells that nobody has the removed file any more.
TEST(Lifecycle, AFullVolumeWaitsForARemovedFileThatIsAboutToBeForgotten) {
  TestVolume volume;
  const InodeId file = MakeFile(*volume, kRoot, "f");
  const InodeId other = MakeFile(*volume, kRoot, "other");
  const std::string bytes = Bytes(1 << 20, 'x');
  uint64_t end = 0;
  while (volume->Write(file, FileOffset{end}, bytes, {}).ok()) end += bytes.size();
  ASSERT_OK(volume->SyncAll());
  ASSERT_OK(volume->Lookup(kRoot, "f"));
  ASSERT_OK(volume->Unlink(kRoot, "f"));
  EXPECT_CODE(kNoSpace, volume->Write(other, FileOffset{0}, bytes, {}));  // somebody has it
  std::thread kernel([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    volume->Forget(file, 1);
  });
  EXPECT_OK(volume->Write(other, FileOffset{0}, bytes, {}));
  kernel.join();
}

// A file of many extents is freed in many batches; a crash in between leaves an orphan
// with what is left.
TEST(Lifecycle, BigFilesAreFreed) {
  TestVolume volume;
  const uint64_t free_bytes = FreeBytes(*volume);
  const InodeId file = MakeFile(*volume, kRoot, "f");
  const InodeId other = MakeFile(*volume, kRoot, "other");
  for (uint64_t i = 0; i < 3000; ++i) {
    ASSERT_OK(volume->Write(file, FileOffset{i * 2 * kBlockBytes},
                            Bytes(kBlockBytes, 'x'), {}));
  }
  ASSERT_OK(volume->Unlink(kRoot, "f"));
  ASSERT_OK(volume->SyncAll());
  volume.Crash();
  volume.ExpectSound();
  ASSERT_OK(volume.Mount());
  ASSERT_OK(volume->DrainRemoved());
  EXPECT_CODE(kStale, volume->GetAttributes(file));
  EXPECT_OK(volume->GetAttributes(other));
  EXPECT_EQ(free_bytes, FreeBytes(*volume));
  volume.Remount();
}

TEST(Lifecycle, AFullVolumeMountsAndEmpties) {
  TestVolume volume(64 << 20);
  int files = 0;
  for (;; ++files) {
    const auto made = volume->Create(kRoot, std::to_string(files), File());
    if (!made.ok()) break;
    volume->Forget(made->id, 1);
    if (!volume->Write(made->id, FileOffset{0}, Bytes(256 << 10, 'x'), {}).ok()) break;
  }
  EXPECT_GT(files, 50);
  for (bool clean : {true, false}) {
    if (clean) {
      volume.Remount();
    } else {
      volume.Crash();
      ASSERT_OK(volume.Mount());
    }
    for (int i = 0; i < 10; ++i)
      ASSERT_OK(volume->Unlink(kRoot, std::to_string(--files)));
    ASSERT_OK(volume->DrainRemoved());
    EXPECT_OK(volume->Write(MakeFile(*volume, kRoot, clean ? "c" : "d"), FileOffset{0},
                            Bytes(1 << 20, 'y'), {}));
  }
  volume.Remount();
}

TEST(Lifecycle, InodesAreCounted) {
  TestVolume volume;
  for (int i = 0; i < 100; ++i) MakeFile(*volume, kRoot, std::to_string(i));
  for (int i = 0; i < 30; ++i) ASSERT_OK(volume->Unlink(kRoot, std::to_string(i)));
  ASSERT_OK(volume->DrainRemoved());
  EXPECT_EQ(71u, volume->usage().inodes_used);
  volume.Remount();
  MakeFile(*volume, kRoot, "new");
  for (int i = 0; i < 5000 && volume->usage().inodes_used != 72; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(72u, volume->usage().inodes_used) << "counted in the background";
  EXPECT_EQ(1u, volume->counters().created_count.load());
}

TEST(Lifecycle, LookUpsAreCounted) {
  TestVolume volume;
  const auto made = volume->Create(kRoot, "f", File());
  ASSERT_OK(made);
  EXPECT_EQ(1u, volume->usage().inodes_looked_up);
  ASSERT_OK(volume->Lookup(kRoot, "f"));
  ASSERT_OK(volume->LookupById(made->id));
  ASSERT_OK(volume->Link(made->id, kRoot, "g"));
  volume->Forget(made->id, 3);
  EXPECT_EQ(1u, volume->usage().inodes_looked_up);
  volume->Forget(made->id, 1);
  EXPECT_EQ(0u, volume->usage().inodes_looked_up);
}

TEST(Lifecycle, WithSyncEveryOperationIsDurable) {
  VolumeOptions options = QuietOptions();
  options.sync = true;
  TestVolume volume(256 << 20, options);
  const InodeId file = MakeFile(*volume, kRoot, "f");
  ASSERT_OK(volume->Write(file, FileOffset{0}, Bytes(5000, 'x'), {}));
  ASSERT_OK(volume->SetAttributes(file, {.mode = 0600}));
  ASSERT_OK(volume->Link(file, kRoot, "g"));
  ASSERT_OK(volume->Rename(kRoot, "f", kRoot, "h", RenameMode::kReplace));
  ASSERT_OK(volume->SetXattr(file, "user.a", "1", XattrMode::kSet));
  volume.Crash();
  ASSERT_OK(volume.Mount());
  EXPECT_EQ((std::map<std::string, InodeId>{{"g", file}, {"h", file}}),
            EntriesOf(*volume, kRoot));
  EXPECT_EQ(Bytes(5000, 'x'), Contents(*volume, file));
  EXPECT_EQ(S_IFREG | 0600u, RecordOf(*volume, file).mode);
  EXPECT_EQ("1", *volume->GetXattr(file, "user.a"));
}

TEST(Lifecycle, TheBackgroundCommits) {
  VolumeOptions options;
  options.commit_interval_ms = 10;
  TestVolume volume(256 << 20, options);
  MakeFile(*volume, kRoot, "f");
  const uint64_t before = volume->usage().store.commit_count;
  for (int i = 0; i < 5000 && volume->usage().store.commit_count == before; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  volume.Crash();
  ASSERT_OK(volume.Mount());
  EXPECT_TRUE(HasEntry(*volume, kRoot, "f"));
}

TEST(Lifecycle, AFailedCommitLatches) {
  TestVolume volume;
  const InodeId file = MakeFile(*volume, kRoot, "f");
  ASSERT_OK(volume->SyncAll());
  MakeFile(*volume, kRoot, "g");
  volume.faults().FailKind(FaultKind::kWrite);
  EXPECT_CODE(kIo, volume->SyncAll());
  volume.faults().ClearFaults();
  EXPECT_CODE(kIo, volume->SyncAll()) << "for ever";
  EXPECT_CODE(kReadOnly, volume->Create(kRoot, "h", File()));
  EXPECT_CODE(kReadOnly, volume->Unlink(kRoot, "f"));
  EXPECT_CODE(kReadOnly, volume->DrainRemoved());
  EXPECT_OK(volume->Lookup(kRoot, "f"));
  EXPECT_TRUE(volume->usage().read_only);
  EXPECT_NE("", volume->usage().read_only_reason);
  EXPECT_FALSE(volume.Unmount().ok());
  ASSERT_OK(volume.Mount());
  EXPECT_TRUE(HasEntry(*volume, kRoot, "f"));
  EXPECT_OK(volume->GetAttributes(file));
  volume.Remount();
}

TEST(Lifecycle, ADamagedImageMeansARebuild) {
  TestVolume volume(64 << 20);
  const InodeId file = MakeFile(*volume, kRoot, "f");
  ASSERT_OK(volume->Write(file, FileOffset{0}, Bytes(100'000, 'x'), {}));
  ASSERT_OK(volume.Unmount());
  const DeviceRange image = SuperblockOf(volume.memory()).allocator_image;
  ASSERT_NE(0u, image.length_bytes);
  const char bad[] = "bad";
  volume.memory().Poke(image.offset.value() + 40, bad);
  ASSERT_OK(volume.Mount());
  const InodeId filler = MakeFile(*volume, kRoot, "filler");
  FileOffset offset{0};
  while (volume->Write(filler, offset, Bytes(1 << 20, 'y'), {}).ok()) offset += 1 << 20;
  EXPECT_EQ(Bytes(100'000, 'x'), Contents(*volume, file));
  volume.Remount();
}

TEST(Lifecycle, UnknownFeaturesAreHonoured) {
  const auto memory = FormattedMemory(128 << 20);
  auto slots = SuperblockSlots::Load(*memory).value();
  ASSERT_OK(slots->Update([](Superblock& superblock) { superblock.ro_compat = 1 << 7; }));
  EXPECT_CODE(kUnsupportedFormat, Volume::Mount(memory->Fork(), {}));
  VolumeOptions read_only;
  read_only.read_only = true;
  EXPECT_OK(Volume::Mount(memory->Fork(), read_only));
  ASSERT_OK(slots->Update([](Superblock& superblock) { superblock.incompat = 1 << 7; }));
  EXPECT_CODE(kUnsupportedFormat, Volume::Mount(memory->Fork(), read_only));
}

// Also when nothing maps them any more, and after a crash: fsck sees them as used.
TEST(Lifecycle, BlocksOfACountThatIsNoLongerExactStayUsed) {
  TestVolume volume;
  const uint64_t free_bytes = FreeBytes(*volume);
  volume.Crash();
  {
    auto slots = SuperblockSlots::Load(volume.memory()).value();
    auto store = Store::Open(volume.memory(), *slots, {}).value();
    Batch batch;
    batch.Put(SharedKey(DeviceOffset{100 << 20}),
              EncodeShared({5 * kBlockBytes, kReferenceCountMax}));
    ASSERT_OK(store->Write(std::move(batch)));
    ASSERT_OK(store->Commit());
    ASSERT_OK(store->Close());
  }
  ASSERT_OK(volume.Mount());
  EXPECT_EQ(free_bytes - 5 * kBlockBytes, FreeBytes(*volume));
  ASSERT_OK(volume.Unmount());
  volume.ExpectSound();
  ASSERT_OK(volume.Mount());
}

TEST(Lifecycle, BlocksUsedTwiceStopAWritableMount) {
  TestVolume volume;
  const InodeId a = MakeFile(*volume, kRoot, "a");
  const InodeId b = MakeFile(*volume, kRoot, "b");
  for (InodeId id : {a, b})
    ASSERT_OK(volume->Write(id, FileOffset{0}, Bytes(kBlockBytes, 'x'), {}));
  ASSERT_OK(volume->SyncAll());
  const Extent of_a = volume->Map(a, FileOffset{0}, FileOffset{kBlockBytes}, 1)->front();
  volume.Crash();
  {
    auto slots = SuperblockSlots::Load(volume.memory()).value();
    auto store = Store::Open(volume.memory(), *slots, {}).value();
    Batch batch;
    batch.Put(ExtentKey(b, FileOffset{0}), EncodeExtent(of_a));
    ASSERT_OK(store->Write(std::move(batch)));
    ASSERT_OK(store->Commit());
    ASSERT_OK(store->Close());
  }
  const Status mounted = volume.Mount();
  EXPECT_CODE(kCorrupt, mounted);
  EXPECT_NE(std::string::npos, mounted.error().ToString().find("fsck.cofs"));
  VolumeOptions read_only;
  read_only.read_only = true;
  ASSERT_OK(volume.Mount(read_only));
  EXPECT_EQ(Bytes(kBlockBytes, 'x'), Contents(*volume, a));
}

TEST(Lifecycle, WhatIsNoVolumeIsRefused) {
  EXPECT_CODE(kNotCofs, Volume::Mount(std::make_unique<MemoryDevice>(64 << 20), {}));
  EXPECT_CODE(kNotCofs, Volume::Mount(std::make_unique<MemoryDevice>(4096), {}));
}

}  // namespace
}  // namespace cofs
