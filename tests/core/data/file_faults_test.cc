// FileData on a device that rots and fails.
#include <gtest/gtest.h>
#include <linux/falloc.h>

#include "base/log.h"
#include "extent_map/records.h"
#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

class FileFaults : public ::testing::Test {
 protected:
  FileFaults() {
    SetLogSink([this](LogLevel, std::string_view line) { log_ += std::string(line) + "\n"; });
  }
  ~FileFaults() override { SetLogSink(nullptr); }

  void FlipBit(DeviceOffset offset, uint64_t byte) {
    char value = 0;
    volume_.memory().Peek(offset.value() + byte, {&value, 1});
    value = static_cast<char>(value ^ 4);
    volume_.memory().Poke(offset.value() + byte, {&value, 1});
  }
  Result<std::span<const char>> Read(uint64_t offset, uint64_t length) {
    return volume_.data().Read(file_, FileOffset{offset}, length, buffer_);
  }

  std::string log_;
  DataVolume volume_;
  InodeRef file_ = volume_.NewFile();
  AlignedBuffer buffer_;
};

TEST_F(FileFaults, RotIsAnErrorAndNeverData) {
  const std::string bytes = Pattern(1, 10 * kBlockBytes);
  volume_.Write(file_, 0, bytes);
  const Extent extent = volume_.MapOf(file_).at(0);
  FlipBit(extent.device_offset + 3 * kBlockBytes, 1234);
  DATA_EXPECT_CODE(kChecksum, Read(0, 10 * kBlockBytes));
  EXPECT_NE(std::string::npos,
            log_.find(StrCat("inode ", file_->id, ", file offset ", 3 * kBlockBytes,
                             ", device offset ",
                             extent.device_offset + 3 * kBlockBytes)))
      << log_;
  EXPECT_EQ(1u, volume_.core().counters.checksum_errors);
  DATA_EXPECT_CODE(kChecksum, Read(3 * kBlockBytes + 4000, 1));
  EXPECT_EQ(bytes.substr(0, 3 * kBlockBytes), volume_.Read(file_, 0, 3 * kBlockBytes));
  EXPECT_EQ(bytes.substr(4 * kBlockBytes),
            volume_.Read(file_, 4 * kBlockBytes, 6 * kBlockBytes));
  // A part of the block is not written over what can't be read ...
  DATA_EXPECT_CODE(kChecksum, volume_.data().Write(file_, FileOffset{3 * kBlockBytes + 1},
                                                   std::string_view("x"), {}));
  DATA_EXPECT_CODE(kChecksum, volume_.data().Truncate(file_, 3 * kBlockBytes + 1, {}));
  DATA_EXPECT_CODE(kChecksum,
                   volume_.data().Allocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                           FileOffset{3 * kBlockBytes + 1}, 5));
  EXPECT_EQ(10 * kBlockBytes, volume_.SizeOf(file_));
  // ... and the whole block heals it.
  volume_.Write(file_, 3 * kBlockBytes, bytes.substr(3 * kBlockBytes, kBlockBytes));
  EXPECT_EQ(bytes, volume_.ReadAll(file_));
  volume_.ExpectSound();
}

TEST_F(FileFaults, AMissingChecksumIsDamage) {
  volume_.Write(file_, 0, Pattern(1, kBlockBytes));
  const Extent extent = volume_.MapOf(file_).at(0);
  Batch batch;
  batch.Delete(ChecksumKey(extent.device_offset));
  DATA_EXPECT_OK(volume_.core().store->Write(std::move(batch)));
  DATA_EXPECT_CODE(kCorrupt, Read(0, 10));
}

TEST_F(FileFaults, AnExtentOutsideOfTheDeviceIsDamage) {
  Batch batch;
  batch.Put(ExtentKey(file_->id, FileOffset{0}),
            EncodeExtent({FileOffset{0}, DeviceOffset{1ull << 40}, kBlockBytes, 0}));
  DATA_EXPECT_OK(volume_.core().store->Write(std::move(batch)));
  file_->extents.Clear();
  DATA_EXPECT_CODE(kCorrupt, volume_.data().Truncate(file_, 0, {}));
  {
    ExclusiveLock lock(file_->mutex);
    file_->record.size_bytes = 4096;
  }
  DATA_EXPECT_CODE(kCorrupt, Read(0, 10));
  DATA_EXPECT_CODE(kCorrupt,
                   volume_.data().Write(file_, FileOffset{1}, std::string_view("x"), {}));
}

// A transient error of the transport: the first read differs, the second does not.
class FlakyOnce : public BlockDevice {
 public:
  explicit FlakyOnce(BlockDevice& base) : base_(base) {}
  const DeviceGeometry& geometry() const override { return base_.geometry(); }
  Status Execute(std::span<IoOp> ops) override {
    const Status status = base_.Execute(ops);
    for (IoOp& op : ops)
      if (op.kind == IoKind::kRead && !std::exchange(done_, true)) op.data[7] ^= 1;
    return status;
  }
  std::unique_ptr<IoQueue> NewQueue(unsigned depth) override { return base_.NewQueue(depth); }

 private:
  BlockDevice& base_;
  bool done_ = false;
};

TEST_F(FileFaults, AFlakyReadIsReadAgain) {
  const std::string bytes = Pattern(1, 3 * kBlockBytes);
  volume_.Write(file_, 0, bytes);
  FlakyOnce flaky(volume_.device());
  volume_.core().device = &flaky;
  EXPECT_EQ(bytes, volume_.ReadAll(file_));
  EXPECT_EQ(0u, volume_.core().counters.checksum_errors);
  EXPECT_NE(std::string::npos, log_.find("second read")) << log_;
  volume_.core().device = &volume_.device();
}

// Fails the n-th I/O of each operation, for every n: old or new contents, no space lost.
TEST_F(FileFaults, EveryFailedIoLeavesTheFileAsItWasOrDone) {
  const std::string before = Pattern(1, 40000);
  using Operation = std::function<Status(const InodeRef&)>;
  const std::vector<std::pair<std::string, Operation>> operations = {
      {"write",
       [&](const InodeRef& file) {
         return volume_.data().Write(file, FileOffset{5000}, Pattern(2, 20000), {});
       }},
      {"truncate",
       [&](const InodeRef& file) { return volume_.data().Truncate(file, 5001, {}); }},
      {"punch",
       [&](const InodeRef& file) {
         return volume_.data().Allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                        FileOffset{4096}, 8192);
       }},
      {"copy",
       [&](const InodeRef& file) -> Status {
         TRY_ASSIGN(const uint64_t bytes,
                    volume_.Copy(file, 0, file, 20 * kBlockBytes, 8192));
         return bytes == 8192 ? OkStatus() : Status(ErrorCode::kIo, "short");
       }},
  };
  for (const auto& [name, operation] : operations) {
    SCOPED_TRACE(name);
    InodeRef reference = volume_.NewFile();
    volume_.Write(reference, 0, before);
    DATA_EXPECT_OK(operation(reference));
    const std::string after = volume_.ReadAll(reference);
    bool fails = true;
    for (uint64_t n = 1; fails; ++n) {
      ASSERT_LT(n, 20u);
      InodeRef file = volume_.NewFile();
      volume_.Write(file, 0, before);
      volume_.device().FailNth(n, /*torn_sector_count=*/3);
      const Status status = operation(file);
      volume_.device().ClearFaults();
      fails = !status.ok();
      EXPECT_TRUE(status.ok() || status.Is(ErrorCode::kIo)) << CodeText(status);
      const std::string now = volume_.ReadAll(file);
      EXPECT_TRUE(now == after || (fails && now == before)) << "I/O " << n;
      DATA_EXPECT_OK(volume_.Remove(file));
    }
    DATA_EXPECT_OK(volume_.Remove(reference));
    volume_.ExpectSound();
  }
}

}  // namespace
}  // namespace cofs
