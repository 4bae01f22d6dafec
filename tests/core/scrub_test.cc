// Scrubs of mounted volumes in memory: what is damaged is found by path and place, what
// is not never is, and one that was stopped goes on.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>

#include <atomic>
#include <random>
#include <thread>

#include "base/log.h"
#include "extent_map/records.h"
#include "fs/core/inode_paths.h"
#include "fs/core/scrub_pace.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr uint64_t kB = kBlockBytes;

std::string Bytes(uint64_t seed, uint64_t length) {
  std::mt19937_64 random(seed);
  std::string bytes(length, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

ScrubReport Await(Volume& volume) {
  for (;;) {
    ScrubReport report = volume.scrub();
    if (report.state != ScrubState::kRunning) return report;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

ScrubReport ScrubAll(Volume& volume, bool resumes = false) {
  EXPECT_OK(volume.StartScrub({.bytes_per_second = 0, .resumes = resumes}));
  return Await(volume);
}

class Scrub : public ::testing::Test {
 protected:
  Scrub() {
    SetLogSink([](LogLevel, std::string_view) {});
  }
  ~Scrub() override { SetLogSink(nullptr); }

  InodeId Make(InodeId directory, std::string_view name, uint64_t blocks, uint64_t seed) {
    const InodeId id = MakeFile(*volume_, directory, name);
    EXPECT_OK(volume_->Write(id, FileOffset{0}, Bytes(seed, blocks * kB), {}));
    return id;
  }
  DeviceOffset PlaceOf(InodeId id, uint64_t offset) {
    const auto map = volume_->Map(id, FileOffset{offset}, FileOffset{offset + kB}, 10);
    EXPECT_OK(map);
    return map->at(0).device_offset + (offset - map->at(0).file_offset.value());
  }
  void FlipBit(DeviceOffset offset) {
    char value = 0;
    volume_.memory().Peek(offset.value(), {&value, 1});
    value = static_cast<char>(value ^ 16);
    volume_.memory().Poke(offset.value(), {&value, 1});
  }

  TestVolume volume_;
};

// Everything that has data, and what has none that counts.
TEST_F(Scrub, AHealthyVolumeHasNoDamage) {
  const InodeId a = Make(kRootInode, "a", 700, 1);
  const InodeId b = MakeFile(*volume_, kRootInode, "b");
  ASSERT_OK(volume_->Clone({.source = a, .source_offset = {}, .destination = b,
                            .destination_offset = {}, .length_bytes = 700 * kB}));
  ASSERT_OK(volume_->Allocate(a, FALLOC_FL_KEEP_SIZE, FileOffset{2000 * kB}, 100 * kB));
  ASSERT_OK(volume_->Allocate(a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              FileOffset{10 * kB}, 5 * kB));
  for (uint64_t i = 0; i < 300; ++i)
    Make(kRootInode, Numbered("small", static_cast<int64_t>(i)), 1 + i % 3, i);
  const ScrubReport report = ScrubAll(*volume_);
  EXPECT_EQ(report.state, ScrubState::kFinished);
  EXPECT_EQ(report.damage_count, 0u);
  EXPECT_THAT(report.damage, IsEmpty());
  EXPECT_EQ(report.done_bytes, report.total_bytes);
  // Shared blocks count once.
  const uint64_t data_bytes = (700 + 100 + 600) * kB;
  const StoreUsage store = volume_->usage().store;
  EXPECT_GE(report.done_bytes, data_bytes);
  // The pool's unit is 8 KiB: what is read ahead behind short tables is not hidden by it.
  EXPECT_LE(report.done_bytes,
            data_bytes + 3 * (store.pool_bytes - store.pool_free_bytes) + (64 << 10));
}

TEST_F(Scrub, DamagedBlocksAreFoundByPathAndPlace) {
  const InodeId directory = MakeDirectory(*volume_, kRootInode, "dir");
  const InodeId deep = MakeDirectory(*volume_, directory, "deep\x1b");
  Make(kRootInode, "whole", 50, 1);
  const InodeId bad = Make(deep, "bad", 3000, 2);
  Make(deep, "whole too", 3, 3);
  FlipBit(PlaceOf(bad, 7 * kB) + 100);
  FlipBit(PlaceOf(bad, 8 * kB) + 4095);
  FlipBit(PlaceOf(bad, 2999 * kB));
  const ScrubReport report = ScrubAll(*volume_);
  EXPECT_EQ(report.state, ScrubState::kFinished);
  EXPECT_EQ(report.damage_count, 2u);
  ASSERT_EQ(report.damage.size(), 2u);
  const ScrubDamage& two = report.damage[0];
  EXPECT_EQ(two.inode, bad);
  EXPECT_THAT(two.paths, ElementsAre("/dir/deep\x1b/bad"));
  EXPECT_EQ(two.file_offset, FileOffset{7 * kB});
  EXPECT_EQ(two.device_offset, PlaceOf(bad, 7 * kB));
  EXPECT_EQ(two.length_bytes, 2 * kB);
  EXPECT_THAT(two.reason, HasSubstr("checksum"));
  EXPECT_EQ(report.damage[1].file_offset, FileOffset{2999 * kB});
  // Written anew, it is healed.
  ASSERT_OK(volume_->Write(bad, FileOffset{0}, Bytes(4, 3000 * kB), {}));
  EXPECT_EQ(ScrubAll(*volume_).damage_count, 0u);
}

TEST_F(Scrub, EachNameAndEachOwnerOfADamagedBlockIsNamed) {
  const InodeId directory = MakeDirectory(*volume_, kRootInode, "dir");
  const InodeId file = Make(kRootInode, "one", 20, 1);
  ASSERT_OK(volume_->Link(file, directory, "two"));
  volume_->Forget(file, 1);
  const InodeId clone = MakeFile(*volume_, directory, "clone");
  ASSERT_OK(volume_->Clone({.source = file, .source_offset = {}, .destination = clone,
                            .destination_offset = {}, .length_bytes = 20 * kB}));
  FlipBit(PlaceOf(file, 3 * kB));
  const ScrubReport report = ScrubAll(*volume_);
  ASSERT_EQ(report.damage.size(), 2u);
  EXPECT_THAT(report.damage[0].paths, UnorderedElementsAre("/one", "/dir/two"));
  EXPECT_THAT(report.damage[1].paths, ElementsAre("/dir/clone"));
  EXPECT_EQ(report.damage[0].device_offset, report.damage[1].device_offset);
}

TEST_F(Scrub, AFileWithoutANameIsKnownByItsNumber) {
  const auto file = volume_->CreateTemporary(File());
  ASSERT_OK(file);
  ASSERT_OK(volume_->Write(file->id, FileOffset{0}, Bytes(1, 2 * kB), {}));
  FlipBit(PlaceOf(file->id, kB));
  const ScrubReport report = ScrubAll(*volume_);
  ASSERT_EQ(report.damage.size(), 1u);
  EXPECT_EQ(report.damage[0].inode, file->id);
  EXPECT_THAT(report.damage[0].paths, IsEmpty());
  volume_->Forget(file->id, 1);
}

TEST_F(Scrub, BlocksThatCantBeReadAreFound) {
  const InodeId file = Make(kRootInode, "file", 100, 1);
  const DeviceOffset bad = PlaceOf(file, 42 * kB);
  volume_.faults().Add({.matches = [bad](const FaultPoint& point) {
    return point.kind == FaultKind::kRead && point.range.offset <= bad &&
           bad < point.range.end();
  }});
  const ScrubReport report = ScrubAll(*volume_);
  volume_.faults().ClearFaults();
  ASSERT_EQ(report.damage.size(), 1u);
  EXPECT_THAT(report.damage[0].paths, ElementsAre("/file"));
  EXPECT_EQ(report.damage[0].file_offset, FileOffset{42 * kB});
  EXPECT_EQ(report.damage[0].length_bytes, kB);
  EXPECT_THAT(report.damage[0].reason, HasSubstr("read"));
  EXPECT_EQ(report.state, ScrubState::kFinished);
}

// One wrong read of a good block is a warning, not damage.
TEST_F(Scrub, AnErrorThatPassesIsNoDamage) {
  const InodeId file = Make(kRootInode, "file", 100, 1);
  const DeviceOffset bad = PlaceOf(file, 42 * kB);
  auto is_first = std::make_shared<std::atomic<bool>>(true);
  volume_.faults().Add({.matches = [=](const FaultPoint& point) {
    return point.kind == FaultKind::kRead && point.range.offset <= bad &&
           bad < point.range.end() && is_first->exchange(false);
  }});
  const ScrubReport report = ScrubAll(*volume_);
  EXPECT_FALSE(is_first->load());
  EXPECT_EQ(report.damage_count, 0u);
}

TEST_F(Scrub, EachCopyOfTheSuperblockIsVerified) {
  // Where nothing writes them anew meanwhile.
  ASSERT_OK(volume_.Unmount());
  VolumeOptions options = QuietOptions();
  options.read_only = true;
  ASSERT_OK(volume_.Mount(options));
  for (const DeviceOffset copy : kSuperblockOffsets) {
    FlipBit(copy + 200);
    const ScrubReport report = ScrubAll(*volume_);
    FlipBit(copy + 200);
    ASSERT_EQ(report.damage.size(), 1u);
    EXPECT_EQ(report.damage[0].inode, InodeId{});
    EXPECT_THAT(report.damage[0].reason, HasSubstr(StrCat("device offset ", copy)));
  }
  EXPECT_EQ(ScrubAll(*volume_).damage_count, 0u);
}

TEST_F(Scrub, TablesOfTheStoreAreVerified) {
  for (int64_t i = 0; i < 500; ++i) MakeFile(*volume_, kRootInode, Numbered("f", i));
  volume_.Remount();  // writes tables
  ASSERT_EQ(ScrubAll(*volume_).damage_count, 0u);
  // One block of the pool, anywhere behind the journal, that holds something of a file.
  const auto is_used = [&](DeviceOffset at) {
    std::string block(kB, '\0');
    volume_.memory().Peek(at.value(), block);
    return block.find("f499") != std::string::npos;
  };
  DeviceOffset at = kReservedEnd;
  while (at.value() < 64 << 20 && !is_used(at)) at += kB;
  ASSERT_TRUE(is_used(at));
  FlipBit(at + 2000);
  const ScrubReport report = ScrubAll(*volume_);
  FlipBit(at + 2000);
  EXPECT_GE(report.damage_count, 1u);
  ASSERT_FALSE(report.damage.empty());
  EXPECT_EQ(report.damage[0].inode, InodeId{});
}

// What is overwritten, truncated, cloned and removed while it is verified, on a device
// whose discarded blocks hold anything.
TEST_F(Scrub, ChangesMeanwhileAreNoDamage) {
  ASSERT_OK(volume_.Unmount());
  VolumeOptions options = QuietOptions();
  options.discard = true;
  options.commit_interval_ms = 5;  // what is freed is used again soon
  ASSERT_OK(volume_.Mount(options));
  const uint64_t seed = TestSeed(7);
  std::atomic<bool> is_done{false};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed + t);
      const std::string bytes = Bytes(t, 64 * kB);
      std::vector<InodeId> files;
      for (int64_t i = 0; i < 4; ++i)
        files.push_back(MakeFile(*volume_, kRootInode,
                                 StrCat("t", t, "-", i)));
      while (!is_done) {
        const InodeId file = files[random() % files.size()];
        const FileOffset offset{random() % 64 * kB};
        const uint64_t length = (1 + random() % 64) * kB;
        switch (random() % 6) {
          case 0:
            EXPECT_OK(volume_->SetAttributes(file, {.size_bytes = offset.value()}));
            break;
          case 1:
            EXPECT_OK(volume_->Allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                        offset, length));
            break;
          case 2:
            EXPECT_OK(volume_->Allocate(file, 0, offset, length));
            break;
          case 3: {
            // The source may be too short.
            volume_->Clone({.source = file, .source_offset = {},
                            .destination = files[random() % files.size()],
                            .destination_offset = FileOffset{128 * kB},
                            .length_bytes = 16 * kB})
                .IgnoreError("any outcome will do");
            break;
          }
          default:
            EXPECT_OK(volume_->Write(file, offset, bytes.substr(0, length), {}));
        }
      }
    });
  }
  const int rounds = IsLongRun() ? 500 : 25;
  uint64_t done_bytes = 0;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    const ScrubReport report = ScrubAll(*volume_);
    done_bytes += report.done_bytes;
    EXPECT_EQ(report.state, ScrubState::kFinished) << report.error;
    EXPECT_EQ(report.damage_count, 0u);
    for (const ScrubDamage& damage : report.damage)
      ADD_FAILURE() << damage.inode << " at " << damage.file_offset << ", device "
                    << damage.device_offset << ": " << damage.reason;
  }
  is_done = true;
  for (std::thread& thread : threads) thread.join();
  std::cout << rounds << " scrubs, " << (done_bytes >> 20) << " MiB verified\n";
  ASSERT_OK(volume_.Unmount());
  volume_.ExpectSound();
  ASSERT_OK(volume_.Mount());
}

TEST_F(Scrub, OneAtATime) {
  Make(kRootInode, "file", 2000, 1);
  ASSERT_OK(volume_->StartScrub({.bytes_per_second = 1 << 20, .resumes = false}));
  EXPECT_CODE(kBusy, volume_->StartScrub({}));
  EXPECT_EQ(volume_->scrub().state, ScrubState::kRunning);
  volume_->StopScrub();
  EXPECT_EQ(volume_->scrub().state, ScrubState::kStopped);
  volume_->StopScrub();
}

TEST_F(Scrub, TheRateIsALimit) {
  Make(kRootInode, "file", 1024, 1);
  ASSERT_OK(volume_->StartScrub({.bytes_per_second = 16 << 20, .resumes = false}));
  const ScrubReport report = Await(*volume_);
  EXPECT_EQ(report.state, ScrubState::kFinished);
  ASSERT_GE(report.run_bytes, 4u << 20);
  // What the last piece cost is not waited for.
  EXPECT_GE(report.run_seconds,
            static_cast<double>(report.run_bytes - (4 << 20)) / (16 << 20) * 0.9);
}

TEST_F(Scrub, AStoppedOneGoesOnAfterARemount) {
  const InodeId first = Make(kRootInode, "first", 2048, 1);
  const InodeId last = Make(kRootInode, "last", 2048, 2);
  FlipBit(PlaceOf(first, 5 * kB));
  FlipBit(PlaceOf(last, 2040 * kB));
  ASSERT_OK(volume_->StartScrub({.bytes_per_second = 8 << 20, .resumes = false}));
  while (volume_->scrub().damage_count == 0) std::this_thread::yield();
  volume_->StopScrub();
  const ScrubReport stopped = volume_->scrub();
  EXPECT_EQ(stopped.state, ScrubState::kStopped);
  ASSERT_EQ(stopped.damage.size(), 1u);
  EXPECT_THAT(stopped.damage[0].paths, ElementsAre("/first"));

  ASSERT_OK(volume_.Unmount());
  ASSERT_OK(volume_.Mount());
  EXPECT_EQ(volume_->scrub().state, ScrubState::kStopped);
  EXPECT_EQ(volume_->scrub().done_bytes, stopped.done_bytes);
  EXPECT_EQ(volume_->scrub().damage_count, 1u);
  const ScrubReport resumed = ScrubAll(*volume_, /*resumes=*/true);
  EXPECT_EQ(resumed.state, ScrubState::kFinished);
  EXPECT_EQ(resumed.damage_count, 2u);
  ASSERT_EQ(resumed.damage.size(), 1u);  // the first was told before
  EXPECT_THAT(resumed.damage[0].paths, ElementsAre("/last"));
  EXPECT_LT(resumed.run_bytes, resumed.done_bytes);
  EXPECT_EQ(resumed.started_s, stopped.started_s);

  // What has finished is not resumed.
  ASSERT_OK(volume_.Unmount());
  ASSERT_OK(volume_.Mount());
  EXPECT_EQ(volume_->scrub().state, ScrubState::kFinished);
  EXPECT_EQ(volume_->scrub().damage_count, 2u);
  const ScrubReport again = ScrubAll(*volume_, /*resumes=*/true);
  EXPECT_EQ(again.damage.size(), 2u);
  EXPECT_EQ(again.run_bytes, again.done_bytes);
}

TEST_F(Scrub, AnUnmountSuspendsIt) {
  Make(kRootInode, "file", 2000, 1);
  ASSERT_OK(volume_->StartScrub({.bytes_per_second = 1 << 20, .resumes = false}));
  while (volume_->scrub().in_metadata) std::this_thread::yield();
  ASSERT_OK(volume_.Unmount());
  volume_.ExpectSound();
  ASSERT_OK(volume_.Mount());
  EXPECT_EQ(volume_->scrub().state, ScrubState::kStopped);
  // A crash in the middle keeps a place, or none.
  ASSERT_OK(volume_->StartScrub({.bytes_per_second = 1 << 20, .resumes = true}));
  volume_.Crash();
  ASSERT_OK(volume_.Mount());
  EXPECT_EQ(ScrubAll(*volume_, /*resumes=*/true).state, ScrubState::kFinished);
}

TEST_F(Scrub, AReadOnlyVolumeIsVerifiedAndNotWritten) {
  const InodeId file = Make(kRootInode, "file", 200, 1);
  const DeviceOffset bad = PlaceOf(file, 0);
  ASSERT_OK(volume_.Unmount());
  FlipBit(bad);
  VolumeOptions options = QuietOptions();
  options.read_only = true;
  ASSERT_OK(volume_.Mount(options));
  const uint64_t writes = volume_.faults().io_count(FaultKind::kWrite);
  const ScrubReport report = ScrubAll(*volume_);
  EXPECT_EQ(report.damage_count, 1u);
  EXPECT_EQ(volume_.faults().io_count(FaultKind::kWrite), writes);
}

// ---- pace ----

TEST(ScrubPaceTest, ItGivesWayToOthers) {
  using Clock = std::chrono::steady_clock;
  CoreCounters counters;
  ScrubPace pace(counters, /*bytes_per_second=*/0);
  const auto work = std::chrono::milliseconds(20);
  const auto rest_of_piece = [&] {
    std::this_thread::sleep_for(work);
    const auto begin = Clock::now();
    EXPECT_TRUE(pace.Spend(1 << 20));
    return Clock::now() - begin;
  };
  rest_of_piece();
  EXPECT_FALSE(pace.others_are_active());
  for (auto* counter : {&counters.read_count, &counters.write_count, &counters.copy_count}) {
    ++*counter;
    EXPECT_GE(rest_of_piece(), 3 * work);
    EXPECT_TRUE(pace.others_are_active());
  }
  rest_of_piece();
  EXPECT_FALSE(pace.others_are_active());
  pace.Stop();
  EXPECT_FALSE(pace.Spend(0));
}

TEST(ScrubPaceTest, ARestIsInterruptedByAStop) {
  CoreCounters counters;
  ScrubPace pace(counters, /*bytes_per_second=*/1);
  std::thread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    pace.Stop();
  });
  EXPECT_FALSE(pace.Spend(1 << 30)) << "would be years";
  stopper.join();
}

// ---- paths ----

TEST_F(Scrub, PathsAreFoundByTheEntries) {
  const InodeId a = MakeDirectory(*volume_, kRootInode, "a");
  const InodeId file = MakeFile(*volume_, a, "file");
  ASSERT_OK(volume_.Unmount());
  auto slots = SuperblockSlots::Load(volume_.memory());
  ASSERT_OK(slots);
  StoreOptions options;
  options.read_only = true;
  const auto store = Store::Open(volume_.memory(), **slots, std::move(options));
  ASSERT_OK(store);
  const auto paths = FindPaths(**store, {kRootInode, a, file, InodeId{999}}, 8,
                               [] { return false; });
  ASSERT_OK(paths);
  EXPECT_EQ(paths->size(), 3u);
  EXPECT_THAT(paths->at(kRootInode), ElementsAre("/"));
  EXPECT_THAT(paths->at(a), ElementsAre("/a"));
  EXPECT_THAT(paths->at(file), ElementsAre("/a/file"));
  const auto stopped = FindPaths(**store, {file}, 0, [] { return false; });
  ASSERT_OK(stopped);
  EXPECT_THAT(stopped->at(file), IsEmpty());
}

}  // namespace
}  // namespace cofs
