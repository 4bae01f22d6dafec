#include "tests/core/test_volume.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "base/check.h"
#include "mkfs/format.h"
#ifdef COFS_HAVE_FSCK
#include "fsck/volume_check.h"
#endif

namespace cofs {

uint64_t TestSeed(uint64_t fallback) {
  const char* text = std::getenv("COFS_SEED");
  const uint64_t seed = text == nullptr ? fallback : std::strtoull(text, nullptr, 0);
  std::cout << "COFS_SEED=" << seed << "\n";
  return seed;
}

bool IsLongRun() {
  const char* text = std::getenv("COFS_LONG");
  return text != nullptr && std::string_view(text) == "1";
}

std::unique_ptr<MemoryDevice> FormattedMemory(uint64_t size_bytes) {
  auto memory = std::make_unique<MemoryDevice>(size_bytes);
  const auto formatted = FormatDevice(*memory, {});
  CHECK(formatted.ok(), formatted.ok() ? "" : formatted.error().ToString());
  return memory;
}

TestVolume::TestVolume(uint64_t size_bytes, VolumeOptions options)
    : options_(options), memory_(FormattedMemory(size_bytes)) {
  const Status mounted = Mount();
  CHECK(mounted.ok(), mounted.ok() ? "" : mounted.error().ToString());
}

TestVolume::~TestVolume() = default;

Status TestVolume::Mount(VolumeOptions options) {
  auto faults = std::make_unique<FaultDevice>(*memory_);
  FaultDevice* const device = faults.get();
  TRY_ASSIGN(volume_, Volume::Mount(std::move(faults), options));
  faults_ = device;
  return OkStatus();
}

Status TestVolume::Unmount() {
  Status status = volume_->Unmount();
  volume_.reset();
  return status;
}

void TestVolume::Crash() { volume_.reset(); }

void TestVolume::Remount() {
  EXPECT_OK(Unmount());
  ExpectSound();
  const Status mounted = Mount();
  CHECK(mounted.ok(), mounted.ok() ? "" : mounted.error().ToString());
}

void TestVolume::ExpectSound() { ExpectSoundDevice(*memory_); }

void ExpectSoundDevice([[maybe_unused]] MemoryDevice& memory) {
#ifdef COFS_HAVE_FSCK
  CheckOptions options;
  options.data = true;
  const auto report = CheckVolume(memory, options);
  ASSERT_OK(report);
  if (report->error_count() == 0) return;
  for (const Finding& finding : report->findings()) ADD_FAILURE() << Describe(finding);
#endif
}

InodeId MakeFile(Volume& volume, InodeId directory, std::string_view name) {
  const auto made = volume.Create(directory, name, File());
  CHECK(made.ok(), made.ok() ? "" : made.error().ToString());
  volume.Forget(made->id, 1);
  return made->id;
}

InodeId MakeDirectory(Volume& volume, InodeId directory, std::string_view name) {
  const auto made = volume.Create(directory, name, Directory());
  CHECK(made.ok(), made.ok() ? "" : made.error().ToString());
  volume.Forget(made->id, 1);
  return made->id;
}

InodeRecord RecordOf(Volume& volume, InodeId id) {
  const auto stat = volume.GetAttributes(id);
  CHECK(stat.ok(), stat.ok() ? "" : stat.error().ToString());
  return stat->record;
}

std::map<std::string, InodeId> EntriesOf(Volume& volume, InodeId directory) {
  std::map<std::string, InodeId> entries;
  uint64_t last = 0;
  const Status read =
      volume.ReadDirectory(directory, 0, [&](const DirectoryEntry& entry) {
        EXPECT_GT(entry.cookie, last);
        last = entry.cookie;
        if (entry.name != "." && entry.name != "..") {
          EXPECT_TRUE(entries.emplace(entry.name, entry.inode).second) << entry.name;
        }
        return true;
      });
  EXPECT_OK(read);
  return entries;
}

bool HasEntry(Volume& volume, InodeId directory, std::string_view name) {
  const auto found = volume.Lookup(directory, name);
  if (found.ok()) volume.Forget(found->id, 1);
  return found.ok();
}

}  // namespace cofs
