// DataVolume: a mounted volume without names: the data half of fs/core on a formatted
// device in memory, put together by hand. Files are inodes without a directory entry.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "device/fault_device.h"
#include "device/memory_device.h"
#include "fs/core/copy_range.h"
#include "fs/core/file_data.h"
#include "fs/core/inode_table.h"
#include "fs/core/shared_blocks.h"
#include "fs/core/space.h"

namespace cofs {

class DataVolume {
 public:
  struct Options {
    uint64_t size_bytes = 128 << 20;
    VolumeOptions volume = {};
    std::optional<DeviceCopyLimits> copy_limits = {};
  };
  DataVolume() : DataVolume(Options{}) {}
  explicit DataVolume(Options options);
  ~DataVolume();

  // Everything in memory goes and comes back from the device. Without `commit` what was
  // not committed may be lost.
  void Remount(bool commit = true);
  // Commits, and waits until what was freed can be used again.
  void Settle();

  InodeRef NewFile();
  // Removes a file as the reaper does.
  Status Remove(InodeRef& file);
  InodeRef Again(InodeId id);

  FileData& data() { return *data_; }
  CopyRange& copies() { return *copies_; }
  Core& core() { return core_; }
  MemoryDevice& memory() { return *memory_; }
  FaultDevice& device() { return *device_; }
  uint64_t free_bytes() const { return core_.space->usage().free_bytes; }

  // ---- short forms; failures are test failures ----
  void Write(const InodeRef& file, uint64_t offset, std::string_view bytes);
  std::string Read(const InodeRef& file, uint64_t offset, uint64_t length);
  std::string ReadAll(const InodeRef& file);
  uint64_t SizeOf(const InodeRef& file);
  InodeRecord RecordOf(const InodeRef& file);
  std::vector<Extent> MapOf(const InodeRef& file);
  Result<uint64_t> Copy(const InodeRef& source, uint64_t source_offset,
                        const InodeRef& destination, uint64_t destination_offset,
                        uint64_t length);
  Status Clone(const InodeRef& source, uint64_t source_offset, const InodeRef& destination,
               uint64_t destination_offset, uint64_t length);

  // Checks every record against every other and against the device (soundness.cc).
  // Nothing may run meanwhile.
  void ExpectSound();

 private:
  void Mount();
  void Drop();

  Options options_;
  std::unique_ptr<MemoryDevice> memory_;
  std::unique_ptr<FaultDevice> device_;
  std::unique_ptr<SuperblockSlots> slots_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Space> space_;
  std::unique_ptr<Committer> committer_;
  std::unique_ptr<InodeTable> inodes_;
  std::unique_ptr<SharedBlocks> shared_blocks_;
  std::unique_ptr<CopyEngine> engine_;
  std::unique_ptr<FileData> data_;
  std::unique_ptr<CopyRange> copies_;
  Core core_;
  std::atomic<uint64_t> next_inode_{100};
};

// COFS_SEED, or `fallback`. Printed, so that a failure can be replayed.
inline uint64_t SeedOf(uint64_t fallback) {
  const char* text = std::getenv("COFS_SEED");
  const uint64_t seed = text == nullptr ? fallback : std::strtoull(text, nullptr, 0);
  std::cout << "COFS_SEED=" << seed << "\n";
  return seed;
}

// `length` bytes that depend on `seed` and on the position.
std::string Pattern(uint64_t seed, uint64_t length);

// Everything that is mapped, by the records (soundness.cc).
std::vector<DeviceRange> MappedRanges(const Store& store);

template <typename T>
std::string CodeText(const Result<T>& result) {
  return result.ok() ? "ok" : std::string(MeaningOf(result.error().code()));
}
#define DATA_EXPECT_OK(expression)                                               \
  do {                                                                           \
    const auto& data_result = (expression);                                      \
    EXPECT_TRUE(data_result.ok()) << (data_result.ok() ? "" : data_result.error().ToString()); \
  } while (false)
#define DATA_EXPECT_CODE(code, expression) \
  EXPECT_EQ(std::string(MeaningOf(ErrorCode::code)), CodeText(expression))

}  // namespace cofs
