// FileTable: what it keeps of a pool that files have cut to pieces.
#include "extent_map/store/file_table.h"

#include <gtest/gtest.h>

#include "device/memory_device.h"
#include "extent_map/superblock.h"

namespace cofs::store {
namespace {

constexpr uint64_t kPoolBytes = 8 << 20;
constexpr uint64_t kChunkBytes = 32 << 10;

TEST(FileTable, APoolInPiecesRenewsItsJournal) {
  MemoryDevice device(kReservedEnd.value() + kPoolBytes);
  FailureLatch latch;
  int segment_count = 0;
  const auto publish = [&](DeviceRange, uint64_t) {
    ++segment_count;
    return OkStatus();
  };
  const auto made =
      FileTable::Format(device, DeviceRange{kReservedEnd, kPoolBytes}, kChunkBytes, latch, publish);
  ASSERT_TRUE(made.ok()) << made.error().ToString();
  FileTable& table = **made;

  const auto take = [&](const std::string& name, uint64_t chunk_count) {
    const auto file = table.Create(name, FileKind::kWhole);
    ASSERT_TRUE(file.ok());
    const uint64_t block_count = chunk_count * kChunkBytes / kBlockBytes;
    ASSERT_TRUE(table.EnsureCapacity(**file, block_count, 0).ok());
  };
  // Files of one chunk, of which every second one goes: what is left is in pieces, and as
  // much as a segment takes.
  const uint64_t segment_bytes = table.usage().journal_bytes;
  std::vector<std::string> names;
  while (table.free_bytes() >= segment_bytes + kChunkBytes) {
    names.push_back("f" + std::to_string(names.size()));
    ASSERT_NO_FATAL_FAILURE(take(names.back(), 1));
  }
  ASSERT_TRUE(table.Commit().ok());
  for (size_t i = 0; i < names.size(); i += 2) ASSERT_TRUE(table.Delete(names[i]).ok());
  ASSERT_TRUE(table.Commit().ok());
  // Larger files would take that run.
  for (uint64_t i = 0; i <= segment_bytes / kChunkBytes / 2; ++i)
    ASSERT_NO_FATAL_FAILURE(take("g" + std::to_string(i), 2));

  // Names change until the journal has been written anew several times.
  const int before = segment_count;
  std::string name = names[1];
  for (int i = 0; segment_count < before + 4; ++i) {
    ASSERT_LT(i, 100'000);
    const std::string next = "renamed" + std::to_string(i);
    ASSERT_TRUE(table.Rename(name, next).ok());
    name = next;
    const Status committed = table.Commit();
    ASSERT_TRUE(committed.ok()) << committed.error().ToString() << ", after " << i;
  }
}

}  // namespace
}  // namespace cofs::store
