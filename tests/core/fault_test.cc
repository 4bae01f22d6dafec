// The N-th I/O of the device fails, for N over a whole workload: an error to whoever
// asked, no crash, a read-only volume where it must be, and after a remount all that
// a Sync has acknowledged.
#include <gtest/gtest.h>

#include <iostream>

#include "base/check.h"
#include "base/log.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

constexpr InodeId kRoot = kRootInode;
constexpr int kFileCount = 6;

std::string Contents(int file, int version) {
  return std::string(static_cast<size_t>(5000 + 3000 * file),
                     static_cast<char>('a' + version));
}

// What the workload has been told.
struct Acknowledged {
  int synced_version = -1;  // of every file
  bool failed = false;
};

// Writes versions of a few files, syncing each; stops at the first error.
Status Workload(Volume& volume, Acknowledged& acknowledged) {
  for (int version = 0; version < 4; ++version) {
    for (int file = 0; file < kFileCount; ++file) {
      const std::string name = Numbered("f", file);
      InodeId id;
      if (version == 0) {
        TRY_ASSIGN(const InodeStat made, volume.Create(kRoot, name, File()));
        id = made.id;
      } else {
        TRY_ASSIGN(const InodeStat found, volume.Lookup(kRoot, name));
        id = found.id;
      }
      TRY(volume.Write(id, FileOffset{0}, Contents(file, version), {}));
      AlignedBuffer buffer;
      TRY(volume.Read(id, FileOffset{0}, 100, buffer));
      volume.Forget(id, 1);
    }
    TRY(volume.Create(kRoot, Numbered("v", version), Directory()));
    if (version > 0) TRY(volume.RemoveDirectory(kRoot, Numbered("v", version - 1)));
    TRY(volume.SyncAll());
    acknowledged.synced_version = version;
  }
  return OkStatus();
}

// A file holds the version that was synced, or a later one that was being written.
void CheckFiles(Volume& volume, const Acknowledged& acknowledged) {
  if (acknowledged.synced_version < 0) return;
  for (int file = 0; file < kFileCount; ++file) {
    const auto found = volume.Lookup(kRoot, Numbered("f", file));
    ASSERT_OK(found);
    AlignedBuffer buffer;
    const auto data = volume.Read(found->id, FileOffset{0}, 1 << 20, buffer);
    ASSERT_OK(data);
    const std::string got(data->begin(), data->end());
    bool matches = false;
    for (int version = acknowledged.synced_version; version < 4; ++version)
      matches = matches || got == Contents(file, version);
    EXPECT_TRUE(matches) << "file " << file << " holds " << got.substr(0, 1)
                         << ", synced was " << acknowledged.synced_version;
    volume.Forget(found->id, 1);
  }
}

struct Kind {
  const char* name;
  uint64_t torn_sector_count;
  bool all_from_there;
};

class FailNth : public ::testing::TestWithParam<Kind> {};

TEST_P(FailNth, NothingAcknowledgedIsLost) {
  SetLogLevel(LogLevel::kError);
  SetLogSink([](LogLevel, std::string_view) {});
  const auto formatted = FormattedMemory(64 << 20);
  uint64_t io_count = 0;
  {
    const auto fork = formatted->Fork();
    FaultDevice counting(*fork);
    auto volume = Volume::Mount(Borrow(counting), {}).value();
    Acknowledged acknowledged;
    ASSERT_OK(Workload(*volume, acknowledged));
    ASSERT_OK(volume->Unmount());
    io_count = counting.io_count();
  }
  const uint64_t step = IsLongRun() ? 1 : std::max<uint64_t>(io_count / 40, 1);
  uint64_t run_count = 0, latched_count = 0;
  for (uint64_t n = 1; n <= io_count; n += step, ++run_count) {
    SCOPED_TRACE(StrCat("I/O ", n, " of ", io_count));
    const auto memory = formatted->Fork();
    FaultDevice faults(*memory);
    if (GetParam().all_from_there) {
      faults.FailFrom(n);
    } else {
      faults.FailNth(n, GetParam().torn_sector_count);
    }
    Acknowledged acknowledged;
    auto mounted = Volume::Mount(Borrow(faults), {});
    if (mounted.ok()) {
      Volume& volume = **mounted;
      const Status worked = Workload(volume, acknowledged);
      if (!worked.ok()) {
        const VolumeUsage usage = volume.usage();
        if (usage.read_only) {
          ++latched_count;
          EXPECT_NE("", usage.read_only_reason);
          EXPECT_FALSE(volume.SyncAll().ok());
          EXPECT_CODE(kReadOnly, volume.Create(kRoot, "late", File()));
        }
      }
      const Status unmounted = volume.Unmount();
      if (worked.ok() && unmounted.ok()) {
        EXPECT_EQ(3, acknowledged.synced_version);
      }
      mounted->reset();
    }
    faults.ClearFaults();
    auto again = Volume::Mount(Borrow(faults), {});
    ASSERT_OK(again) << again.error().ToString();
    CheckFiles(**again, acknowledged);
    ASSERT_OK((*again)->DrainRemoved());
    ASSERT_OK((*again)->Unmount());
    if (::testing::Test::HasFailure()) break;
  }
  SetLogSink(nullptr);
  SetLogLevel(LogLevel::kInfo);
  std::cout << run_count << " runs, " << latched_count << " latched\n";
  EXPECT_GT(run_count, 20u);
  EXPECT_GT(latched_count, 0u);
}

INSTANTIATE_TEST_SUITE_P(Kinds, FailNth,
                         ::testing::Values(Kind{"once", 0, false}, Kind{"torn", 3, false},
                                           Kind{"from_there_on", 0, true}),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace cofs
