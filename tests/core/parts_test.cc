// Parts of the core by themselves: places of names, inode numbers, inodes in memory,
// free space from extents.
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "fs/core/dentries.h"
#include "fs/core/inode_numbers.h"
#include "fs/core/inode_table.h"
#include "fs/core/recovery.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

// The store of a formatted volume that is not mounted.
class OpenStore {
 public:
  explicit OpenStore(MemoryDevice& memory) {
    slots_ = SuperblockSlots::Load(memory).value();
    store_ = Store::Open(memory, *slots_, {}).value();
    const uint64_t volume_bytes = slots_->current().volume_bytes;
    space_ = std::make_unique<Space>(memory, std::make_unique<Allocator>(volume_bytes),
                                     Space::Options{});
    committer_ = std::make_unique<Committer>(*store_, *space_, Committer::Options{});
  }
  ~OpenStore() { store_->Close().IgnoreError("a test ends"); }
  Store& store() { return *store_; }
  Committer& committer() { return *committer_; }
  SipHashKey key() const { return slots_->current().name_hash_key; }
  void Write(const std::function<void(Batch&)>& fill) {
    Batch batch;
    fill(batch);
    ASSERT_OK(store_->Write(std::move(batch)));
  }

 private:
  std::unique_ptr<SuperblockSlots> slots_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Space> space_;
  std::unique_ptr<Committer> committer_;
};

std::string Entry(std::string_view name) {
  return EncodeDentry({std::string(name), InodeId{20}, 8});
}

TEST(Dentries, LooksAtAllPlacesOfAHash) {
  const auto memory = FormattedMemory(128 << 20);
  OpenStore open(*memory);
  const Census census;  // knows nothing yet
  const Dentries dentries(open.store(), census, open.key());
  const InodeId directory{17};
  const uint64_t base = CookieBase(open.key(), "victim");
  const auto put = [&](unsigned index, std::string_view name) {
    open.Write([&](Batch& batch) {
      batch.Put(DentryKey(directory, base + index), Entry(name));
    });
  };
  const auto free_place = [&] {
    const auto places = dentries.FindPlaces(directory, "victim");
    EXPECT_FALSE(places->entry.has_value());
    return places->free_cookie ? *places->free_cookie - base : uint64_t{999};
  };
  EXPECT_EQ(0u, free_place());
  put(1, "other");
  EXPECT_EQ(0u, free_place());
  put(0, "another");
  EXPECT_EQ(2u, free_place());
  put(3, "more");
  EXPECT_EQ(2u, free_place());
  EXPECT_FALSE(dentries.Find(directory, "victim")->has_value());
  for (unsigned i = 0; i < kCollisionIndexCount; ++i) put(i, Numbered("full", i));
  EXPECT_EQ(999u, free_place());
  // Neighbours outside of the hash's places don't count.
  open.Write([&](Batch& batch) {
    batch.Put(DentryKey(directory, base + 128), Entry("victim"));
  });
  EXPECT_FALSE(dentries.Find(directory, "victim")->has_value());
  put(127, "victim");
  for (const auto& found : {*dentries.Find(directory, "victim"),
                            dentries.FindPlaces(directory, "victim")->entry}) {
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(base + 127, found->cookie);
    EXPECT_EQ("victim", found->record.name);
  }
}

TEST(Dentries, LooksAtTheFirstPlaceWhenTheCensusSaysSo) {
  const auto memory = FormattedMemory(128 << 20);
  OpenStore open(*memory);
  Census census;
  census.Set(1, /*has_collisions=*/false);
  const Dentries dentries(open.store(), census, open.key());
  const InodeId directory{17};
  const uint64_t base = CookieBase(open.key(), "victim");
  EXPECT_EQ(base, dentries.FindPlaces(directory, "victim")->free_cookie);
  open.Write(
      [&](Batch& batch) { batch.Put(DentryKey(directory, base), Entry("other")); });
  EXPECT_FALSE(dentries.Find(directory, "victim")->has_value());
  EXPECT_EQ(base + 1, dentries.FindPlaces(directory, "victim")->free_cookie);
  census.NoteCollision();
  open.Write([&](Batch& batch) {
    batch.Put(DentryKey(directory, base + 1), Entry("victim"));
    batch.Delete(DentryKey(directory, base));
  });
  EXPECT_TRUE(dentries.Find(directory, "victim")->has_value());
  EXPECT_TRUE(dentries.FindPlaces(directory, "victim")->entry.has_value());
}

TEST(Census, CountsInodesAndSeesCollisions) {
  const auto memory = FormattedMemory(128 << 20);
  OpenStore open(*memory);
  InodeRecord record;
  record.mode = 0100644;
  record.link_count = 1;
  open.Write([&](Batch& batch) {
    for (uint64_t i = 100; i < 200; ++i)
      batch.Put(InodeKey(InodeId{i}), EncodeInode(record));
    batch.Put(DentryKey(kRootInode, 128 * 5), Entry("a"));
  });
  const auto wait = [](const Census& census, uint64_t count) {
    for (int i = 0; i < 5000 && census.inode_count() != count; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(count, census.inode_count());
  };
  {
    Census census;
    EXPECT_FALSE(census.HasNoCollisions()) << "not known yet";
    census.AddInode();
    census.StartCounting(open.store());
    wait(census, 102);
    for (int i = 0; i < 5000 && !census.HasNoCollisions(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(census.HasNoCollisions());
    census.NoteCollision();
    EXPECT_FALSE(census.HasNoCollisions());
  }
  open.Write(
      [&](Batch& batch) { batch.Put(DentryKey(kRootInode, 128 * 5 + 3), Entry("b")); });
  Census census;
  census.StartCounting(open.store());
  wait(census, 101);
  census.Stop();
  EXPECT_FALSE(census.HasNoCollisions());
}

TEST(Dentries, DamageIsAnError) {
  const auto memory = FormattedMemory(128 << 20);
  OpenStore open(*memory);
  const Census census;  // knows nothing yet
  const Dentries dentries(open.store(), census, open.key());
  open.Write([&](Batch& batch) {
    batch.Put(DentryKey(InodeId{17}, CookieBase(open.key(), "victim")), "bad");
  });
  EXPECT_CODE(kCorrupt, dentries.Find(InodeId{17}, "victim"));
  EXPECT_CODE(kCorrupt, dentries.FindPlaces(InodeId{17}, "victim"));
}

TEST(Dentries, ADirectoryWithAllPlacesTakenIsFull) {
  TestVolume volume;
  const InodeId directory = MakeDirectory(*volume, kRootInode, "d");
  const SipHashKey key = volume->superblock().name_hash_key;
  ASSERT_OK(volume.Unmount());
  {
    OpenStore open(volume.memory());
    open.Write([&](Batch& batch) {
      const uint64_t base = CookieBase(key, "victim");
      for (unsigned i = 0; i < kCollisionIndexCount; ++i)
        batch.Put(DentryKey(directory, base + i), Entry(Numbered("x", i)));
    });
    ASSERT_OK(open.store().Commit());
  }
  ASSERT_OK(volume.Mount());
  EXPECT_CODE(kNoSpace, volume->Create(directory, "victim", File()));
  EXPECT_OK(volume->Create(directory, "victor", File()));
  MakeFile(*volume, kRootInode, "f");
  EXPECT_CODE(kNoSpace,
              volume->Rename(kRootInode, "f", directory, "victim", RenameMode::kReplace));
  EXPECT_CODE(kNoSpace,
              volume->Link(EntriesOf(*volume, kRootInode)["f"], directory, "victim"));
}

TEST(InodeNumbers, AreNeverGivenTwice) {
  const auto memory = FormattedMemory(128 << 20);
  uint64_t last = 0;
  for (int mount = 0; mount < 3; ++mount) {
    OpenStore open(*memory);
    InodeNumbers numbers(open.store(), open.committer(), 8);
    ASSERT_OK(numbers.Load());
    ASSERT_OK(numbers.TakeFirstLease());
    ASSERT_OK(open.committer().Commit());
    for (int i = 0; i < 50; ++i) {
      const auto id = numbers.Take();
      ASSERT_OK(id);
      EXPECT_GT(id->value(), last);
      last = id->value();
      // Durable before use: the store's counter is beyond it.
      EXPECT_GT(*InodeNumbers::ReadCounter(open.store()), *id);
    }
  }
  EXPECT_LE(last, 16u + 3 * (50 + 8 + 8)) << "leases are small and so are the gaps";
}

// A forged counter, or the end of time.
TEST(InodeNumbers, WithoutAnyTheVolumeMounts) {
  const auto memory = FormattedMemory(128 << 20);
  OpenStore open(*memory);
  for (const uint64_t next : {uint64_t{INT64_MAX} - 1, UINT64_MAX}) {
    Batch batch;
    batch.Put(InodeCounterKey(), EncodeInodeCounter(InodeId{next}));
    ASSERT_OK(open.store().Write(std::move(batch)));
    InodeNumbers numbers(open.store(), open.committer(), 8);
    ASSERT_OK(numbers.Load());
    EXPECT_OK(numbers.TakeFirstLease());
    EXPECT_CODE(kNoSpace, numbers.Take());
  }
}

TEST(InodeTable, KeepsOneInodeForANumber) {
  const auto memory = FormattedMemory(128 << 20);
  OpenStore open(*memory);
  InodeRecord record;
  record.mode = 0100644;
  record.link_count = 1;
  constexpr uint64_t kCount = 1000;
  open.Write([&](Batch& batch) {
    for (uint64_t i = 100; i < 100 + kCount; ++i)
      batch.Put(InodeKey(InodeId{i}), EncodeInode(record));
  });
  InodeTable table(open.store(), 0, 0);  // as few as it can
  const InodeRef held = table.Get(InodeId{100}).value();
  for (uint64_t i = 100; i < 100 + kCount; ++i) ASSERT_OK(table.Get(InodeId{i}));
  EXPECT_LT(table.inode_count(), kCount / 2) << "unused inodes are dropped";
  EXPECT_EQ(held, table.Get(InodeId{100}).value()) << "used ones never";
  EXPECT_CODE(kStale, table.Get(InodeId{99}));
  EXPECT_CODE(kStale, table.Get(InodeId{0}));

  // Counts outlive the inode in memory.
  table.AddLookup(InodeId{101}, 3);
  table.AddLookup(InodeId{102});
  EXPECT_EQ(2u, table.lookup_count());
  for (uint64_t i = 100; i < 100 + kCount; ++i) ASSERT_OK(table.Get(InodeId{i}));
  EXPECT_FALSE(table.Forget(InodeId{101}, 2));
  EXPECT_TRUE(table.IsLookedUp(InodeId{101}));
  EXPECT_TRUE(table.Forget(InodeId{101}, 1));
  EXPECT_FALSE(table.IsLookedUp(InodeId{101}));
  EXPECT_FALSE(table.Forget(InodeId{101}, 1)) << "already gone";
  EXPECT_TRUE(table.Forget(InodeId{102}, 77)) << "more than there are";
  table.AddLookup(InodeId{102});
  table.ForgetAll();
  EXPECT_EQ(0u, table.lookup_count());
  EXPECT_FALSE(table.IsLookedUp(InodeId{102}));
}

// Threads add to a counter in records that are loaded and dropped all the time: an
// old record that comes back over a newer one loses additions.
TEST(InodeTable, NeverGoesBackInTime) {
  const auto memory = FormattedMemory(128 << 20);
  OpenStore open(*memory);
  constexpr uint64_t kInodes = 512;
  constexpr int kThreads = 4, kSteps = 2000;
  InodeRecord record;
  record.mode = 0100644;
  record.link_count = 1;
  open.Write([&](Batch& batch) {
    for (uint64_t i = 100; i < 100 + kInodes; ++i)
      batch.Put(InodeKey(InodeId{i}), EncodeInode(record));
  });
  InodeTable table(open.store(), 0, 0);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      std::mt19937_64 random(static_cast<uint64_t>(t));
      for (int i = 0; i < kSteps; ++i) {
        const InodeRef inode = table.Get(InodeId{100 + random() % kInodes}).value();
        ExclusiveLock lock(inode->mutex);
        ++inode->record.rdev;  // any number would do
        InodeRecord changed = inode->record;
        changed.uid = std::exchange(changed.rdev, 0) + inode->record.uid;
        inode->record = changed;
        Transaction transaction;
        transaction.PutInode(inode->id, changed);
        EXPECT_OK(open.committer().Apply(std::move(transaction)));
      }
    });
  for (std::thread& thread : threads) thread.join();
  uint64_t sum = 0;
  for (uint64_t i = 100; i < 100 + kInodes; ++i) {
    const InodeRef inode = table.Get(InodeId{i}).value();
    SharedLock lock(inode->mutex);
    sum += inode->record.uid;
  }
  EXPECT_EQ(uint64_t{kThreads} * kSteps, sum);
}

TEST(FreeOf, FindsGapsAndOverlaps) {
  constexpr uint64_t kBlocks = 100;
  const struct {
    const char* what;
    std::vector<BlockRun> exclusive, shared;
    std::string expected;  // "first+count ..." in blocks, or the error
  } kCases[] = {
      {"nothing used", {}, {}, "0+100"},
      {"all used", {{0, 100}}, {}, ""},
      {"unsorted, touching", {{50, 10}, {0, 20}, {20, 5}}, {}, "25+25 60+40"},
      {"shared by two", {{0, 10}}, {{20, 10}, {20, 10}}, "10+10 30+70"},
      {"shared in part", {}, {{20, 10}, {25, 10}, {35, 1}}, "0+20 36+64"},
      {"to the end", {{90, 10}}, {{80, 10}}, "0+80"},
      {"twice", {{10, 10}, {19, 5}}, {}, "corrupt"},
      {"one inside another", {{10, 50}, {20, 5}, {70, 1}}, {}, "corrupt"},
      {"shared and not", {{10, 10}}, {{15, 2}}, "corrupt"},
      {"shared before", {{12, 1}}, {{10, 10}}, "corrupt"},
      {"past the end", {{95, 6}}, {}, "corrupt"},
      {"outside", {{1ull << 50, 1}}, {}, "corrupt"},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.what);
    const auto free = FreeOf({c.exclusive, c.shared}, kBlocks * kBlockBytes + 1000);
    std::string got;
    if (!free.ok()) {
      EXPECT_EQ(ErrorCode::kCorrupt, free.error().code());
      got = "corrupt";
    } else {
      for (const DeviceRange& range : *free) {
        if (!got.empty()) got += ' ';
        got += std::to_string(range.offset.value() / kBlockBytes) + "+" +
               std::to_string(range.length_bytes / kBlockBytes);
      }
    }
    EXPECT_EQ(c.expected, got);
  }
}

}  // namespace
}  // namespace cofs
