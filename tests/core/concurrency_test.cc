// Threads in the same directories. For ThreadSanitizer as well.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "tests/core/test_volume.h"

namespace cofs {
namespace {

constexpr InodeId kRoot = kRootInode;
constexpr int kThreads = 4;

int StepCount(int steps) { return IsLongRun() ? steps * 50 : steps; }

void RunThreads(const std::function<void(int thread, std::mt19937_64& random)>& body) {
  static const uint64_t seed = TestSeed(20260101);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&body, i] {
      std::mt19937_64 random(seed + static_cast<uint64_t>(i));
      body(i, random);
    });
  for (std::thread& thread : threads) thread.join();
}

// Link and entry counts of a tree add up; every parent is right.
void CheckTree(Volume& volume, InodeId directory, std::map<InodeId, uint32_t>& links) {
  const InodeRecord record = RecordOf(volume, directory);
  const auto entries = EntriesOf(volume, directory);
  EXPECT_EQ(entries.size(), record.size_bytes) << directory;
  uint32_t subdirectories = 0;
  for (const auto& [name, id] : entries) {
    const InodeRecord child = RecordOf(volume, id);
    if ((child.mode & 0170000) == 0040000) {
      ++subdirectories;
      EXPECT_EQ(directory, child.parent) << name;
      CheckTree(volume, id, links);
    } else {
      ++links[id];
    }
  }
  EXPECT_EQ(2 + subdirectories, record.link_count) << directory;
}

void CheckVolume(Volume& volume) {
  std::map<InodeId, uint32_t> links;
  CheckTree(volume, kRoot, links);
  for (const auto& [id, count] : links)
    EXPECT_EQ(count, RecordOf(volume, id).link_count) << id;
}

// Everybody fights for the same few names, directories among them: any result is fine,
// but the tree must stay one.
TEST(Concurrency, FightsForNames) {
  VolumeOptions options;
  options.commit_interval_ms = 5;
  options.cache_bytes = 1 << 20;
  TestVolume volume(256 << 20, options);
  std::vector<InodeId> directories{kRoot};
  for (int i = 0; i < 3; ++i)
    directories.push_back(MakeDirectory(*volume, kRoot, Numbered("dir", i)));
  const auto allowed = [](const auto& result) {
    if (result.ok()) return;
    for (ErrorCode code :
         {ErrorCode::kNotFound, ErrorCode::kExists, ErrorCode::kIsDirectory,
          ErrorCode::kNotDirectory, ErrorCode::kNotEmpty, ErrorCode::kInvalidArgument,
          ErrorCode::kStale})
      if (result.error().code() == code) return;
    ADD_FAILURE() << result.error().ToString();
  };
  RunThreads([&](int, std::mt19937_64& random) {
    std::vector<InodeId> known = directories;
    const auto name = [&] {
      return std::string(1, static_cast<char>('a' + random() % 6));
    };
    const auto directory = [&] { return known[random() % known.size()]; };
    for (int i = 0; i < StepCount(1500); ++i) {
      switch (random() % 10) {
        case 0:
        case 1: {
          const auto made = volume->Create(directory(), name(), File());
          allowed(made);
          if (made.ok()) volume->Forget(made->id, 1);
          break;
        }
        case 2: {
          const auto made = volume->Create(directory(), name(), Directory());
          allowed(made);
          if (made.ok()) {
            volume->Forget(made->id, 1);
            known.push_back(made->id);
            if (known.size() > 12) known.erase(known.begin() + 4);
          }
          break;
        }
        case 3:
          allowed(volume->Unlink(directory(), name()));
          break;
        case 4:
          allowed(volume->RemoveDirectory(directory(), name()));
          break;
        case 5:
        case 6:
          allowed(volume->Rename(directory(), name(), directory(), name(),
                                 static_cast<RenameMode>(random() % 3)));
          break;
        case 7: {
          const auto found = volume->Lookup(directory(), name());
          allowed(found);
          if (found.ok()) {
            const auto linked = volume->Link(found->id, directory(), name());
            if (linked.ok()) volume->Forget(found->id, 1);
            volume->Forget(found->id, 1);
          }
          break;
        }
        case 8: {
          std::set<std::string> seen;
          allowed(volume->ReadDirectory(directory(), 0, [&](const DirectoryEntry& entry) {
            EXPECT_TRUE(seen.emplace(entry.name).second);
            return true;
          }));
          break;
        }
        default:
          allowed(volume->SetAttributes(directory(), {.mode = 0700 + random() % 64}));
      }
    }
  });
  CheckVolume(*volume);
  ASSERT_OK(volume->DrainRemoved());
  CheckVolume(*volume);
  volume.Remount();
  CheckVolume(*volume);
}

// Two threads move directories into each other: one of them must lose.
TEST(Concurrency, RenamesMakeNoLoops) {
  TestVolume volume;
  const InodeId a = MakeDirectory(*volume, kRoot, "a");
  const InodeId b = MakeDirectory(*volume, kRoot, "b");
  const InodeId c = MakeDirectory(*volume, kRoot, "c");
  const InodeId places[] = {kRoot, a, b, c};
  const char* const names[] = {"a", "b", "c"};
  RunThreads([&](int, std::mt19937_64& random) {
    for (int i = 0; i < StepCount(1500); ++i) {
      const char* name = names[random() % 3];
      const RenameMode mode =
          random() % 4 == 0 ? RenameMode::kExchange : RenameMode::kReplace;
      volume
          ->Rename(places[random() % 4], name, places[random() % 4], names[random() % 3],
                   mode)
          .IgnoreError("most don't fit");
    }
  });
  // All that is left hangs at the root.
  for (InodeId id : {a, b, c}) {
    const auto alive = volume->LookupById(id);
    if (!alive.ok() || alive->record.link_count == 0) continue;
    InodeId at = id;
    for (int depth = 0; at != kRoot; ++depth) {
      ASSERT_LT(depth, 4) << "a loop";
      at = RecordOf(*volume, at).parent;
    }
  }
  CheckVolume(*volume);
}

// Entries that stay are seen once by every reader, whatever comes and goes.
TEST(Concurrency, ReadersSeeWhatStays) {
  TestVolume volume;
  const InodeId directory = MakeDirectory(*volume, kRoot, "d");
  std::set<std::string> staying;
  for (int i = 0; i < 200; ++i) {
    staying.insert(Numbered("s", i));
    MakeFile(*volume, directory, Numbered("s", i));
  }
  std::atomic<int> writers{kThreads - 1};
  RunThreads([&](int thread, std::mt19937_64& random) {
    if (thread == 0) {
      do {
        std::set<std::string> seen;
        uint64_t cookie = 0;
        for (bool more = true; more;) {
          int count = 0;
          more = false;
          ASSERT_OK(
              volume->ReadDirectory(directory, cookie, [&](const DirectoryEntry& entry) {
                if (count++ == 17) return !(more = true);
                if (entry.name.starts_with('s')) {
                  EXPECT_TRUE(seen.emplace(entry.name).second);
                }
                cookie = entry.cookie;
                return true;
              }));
        }
        EXPECT_EQ(staying, seen);
      } while (writers.load() > 0);
      return;
    }
    const std::string prefix = Numbered("t", thread) + "-";
    for (int i = 0; i < StepCount(400); ++i) {
      const std::string name = prefix + std::to_string(random() % 50);
      const auto made = volume->Create(directory, name, File());
      if (made.ok()) {
        volume->Forget(made->id, 1);
      } else {
        EXPECT_OK(volume->Unlink(directory, name));
      }
    }
    --writers;
  });
  CheckVolume(*volume);
}

// Unlinks against the last Forget, look-ups by number and reads: an inode is freed
// once, and not before its last user has gone.
TEST(Concurrency, RemovedWhileInUse) {
  TestVolume volume;
  ASSERT_OK(volume->DrainRemoved());
  RunThreads([&](int thread, std::mt19937_64& random) {
    const std::string name = Numbered("f", thread / 2);  // each by two threads
    AlignedBuffer buffer;
    const std::string data(8192, 'x');
    for (int i = 0; i < StepCount(400); ++i) {
      const auto found = random() % 2 == 0 ? volume->Lookup(kRoot, name)
                                           : volume->Create(kRoot, name, File());
      if (!found.ok()) continue;
      const InodeId id = found->id;
      EXPECT_OK(volume->Write(id, FileOffset{0}, data, {}));
      volume->Unlink(kRoot, name).IgnoreError("the other may have been first");
      EXPECT_OK(volume->Read(id, FileOffset{0}, 100, buffer));
      EXPECT_OK(volume->GetAttributes(id));
      volume->Forget(id, 1);
      const auto again = volume->LookupById(id);
      if (again.ok()) volume->Forget(id, 1);
    }
  });
  for (const auto& [name, id] : EntriesOf(*volume, kRoot))
    EXPECT_OK(volume->Unlink(kRoot, name));
  ASSERT_OK(volume->DrainRemoved());
  EXPECT_EQ(0u, volume->usage().inodes_looked_up);
  EXPECT_EQ(1u, volume->usage().inodes_used);
  volume.Remount();
}

}  // namespace
}  // namespace cofs
