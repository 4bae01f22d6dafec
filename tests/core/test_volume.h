// TestVolume: a formatted device in memory and the volume mounted from it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device/fault_device.h"
#include "device/memory_device.h"
#include "fs/core/volume.h"

namespace cofs {

// COFS_SEED, or `fallback`. Printed, so that a failure can be replayed.
uint64_t TestSeed(uint64_t fallback);
// COFS_LONG=1: tests that take random steps take many more.
bool IsLongRun();

// A device for a volume to own, in front of one that the test keeps.
inline std::unique_ptr<BlockDevice> Borrow(BlockDevice& device) {
  return std::make_unique<FaultDevice>(device);
}
std::unique_ptr<MemoryDevice> FormattedMemory(uint64_t size_bytes);

// Commits only when it is asked to: what a crash takes does not depend on the clock.
inline VolumeOptions QuietOptions() {
  VolumeOptions options;
  options.commit_interval_ms = 3'600'000;
  return options;
}

class TestVolume {
 public:
  explicit TestVolume(uint64_t size_bytes = 256ull << 20,
                      VolumeOptions options = QuietOptions());
  ~TestVolume();

  Volume* operator->() { return volume_.get(); }
  Volume& operator*() { return *volume_; }
  MemoryDevice& memory() { return *memory_; }
  // Under the mounted volume: faults can be set, I/O is counted.
  FaultDevice& faults() { return *faults_; }

  Status Mount(VolumeOptions options);
  Status Mount() { return Mount(options_); }
  Status Unmount();
  void Crash();  // drops the volume
  void Remount();
  // Checks the unmounted device with fsck's library, where there is one.
  void ExpectSound();

 private:
  const VolumeOptions options_;
  std::unique_ptr<MemoryDevice> memory_;
  FaultDevice* faults_ = nullptr;  // the volume's
  std::unique_ptr<Volume> volume_;
};

// The same for any device.
void ExpectSoundDevice(MemoryDevice& memory);

// ---- short forms ----
inline NewInode File(uint32_t permissions = 0644) {
  return {.mode = 0100000 | permissions, .uid = 0, .gid = 0, .rdev = 0};
}
inline NewInode Directory(uint32_t permissions = 0755) {
  return {.mode = 0040000 | permissions, .uid = 0, .gid = 0, .rdev = 0};
}
inline std::string Numbered(std::string_view stem, int64_t number) {
  std::string name(stem);
  name += std::to_string(number);
  return name;
}
// Made, and forgotten at once.
InodeId MakeFile(Volume& volume, InodeId directory, std::string_view name);
InodeId MakeDirectory(Volume& volume, InodeId directory, std::string_view name);
InodeRecord RecordOf(Volume& volume, InodeId id);
// Without "." and "..".
std::map<std::string, InodeId> EntriesOf(Volume& volume, InodeId directory);
bool HasEntry(Volume& volume, InodeId directory, std::string_view name);
// The code of an error; nothing for OK. To be compared in EXPECT_EQ.
template <typename T>
std::string CodeOf(const Result<T>& result) {
  return result.ok() ? "ok" : std::string(MeaningOf(result.error().code()));
}
inline std::string Meaning(ErrorCode code) { return std::string(MeaningOf(code)); }

#define EXPECT_CODE(code, expression) \
  EXPECT_EQ(Meaning(ErrorCode::code), CodeOf(expression))
#define EXPECT_OK(expression) EXPECT_EQ("ok", CodeOf(expression))
#define ASSERT_OK(expression) ASSERT_EQ("ok", CodeOf(expression))

}  // namespace cofs
