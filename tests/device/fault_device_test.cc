// FaultDevice: which I/Os fail, what reaches the device all the same.
#include "device/fault_device.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "device/memory_device.h"
#include "tests/device/device_fixture.h"

namespace cofs {
namespace {

class FaultDeviceTest : public ::testing::Test {
 protected:
  Status WriteBlock(uint64_t index, char letter) {
    AlignedBuffer data(kBlockBytes);
    std::fill_n(data.data(), kBlockBytes, letter);
    return device_.Write(DeviceOffset(index * kBlockBytes), data.span());
  }
  char FirstByteOf(uint64_t index) {
    char byte = 0;
    memory_.Peek(index * kBlockBytes, {&byte, 1});
    return byte;
  }

  MemoryDevice memory_{4 << 20, {.copy_limits = DeviceCopyLimits{1 << 20, 1 << 20, 8}}};
  FaultDevice device_{memory_};
};

TEST_F(FaultDeviceTest, CountsFromTheNextIo) {
  ASSERT_TRUE(WriteBlock(0, 'a').ok());
  ASSERT_TRUE(device_.Flush().ok());
  EXPECT_EQ(device_.io_count(), 2u);
  EXPECT_EQ(device_.io_count(FaultKind::kFlush), 1u);
  device_.FailNth(2);
  EXPECT_TRUE(WriteBlock(1, 'b').ok());
  EXPECT_TRUE(WriteBlock(2, 'c').Is(ErrorCode::kIo));
  EXPECT_TRUE(WriteBlock(3, 'd').ok()) << "only the second";
  EXPECT_EQ(FirstByteOf(1), 'b');
  EXPECT_EQ(FirstByteOf(2), '\0') << "a failed write reached the device";
  EXPECT_EQ(device_.failed_count(), 1u);

  device_.FailFrom(2);
  EXPECT_TRUE(WriteBlock(4, 'e').ok());
  EXPECT_FALSE(WriteBlock(5, 'f').ok());
  EXPECT_FALSE(device_.Flush().ok());
  device_.ClearFaults();
  EXPECT_TRUE(WriteBlock(5, 'f').ok());
}

TEST_F(FaultDeviceTest, AStalledIoWaitsAndGoesOn) {
  std::promise<void> reached, release;
  device_.Add({.matches = [](const FaultPoint& point) { return point.number == 1; },
               .stall =
                   [&] {
                     reached.set_value();
                     release.get_future().wait();
                   },
               .fails = false});
  std::thread writer([&] { EXPECT_TRUE(WriteBlock(0, 'a').ok()); });
  reached.get_future().wait();
  EXPECT_TRUE(WriteBlock(1, 'b').ok()) << "others go on";
  EXPECT_EQ(FirstByteOf(0), '\0');
  release.set_value();
  writer.join();
  EXPECT_EQ(FirstByteOf(0), 'a');
  EXPECT_EQ(device_.failed_count(), 0u);
}

TEST_F(FaultDeviceTest, ByKindAndPlace) {
  device_.FailKind(FaultKind::kFlush);
  EXPECT_TRUE(WriteBlock(0, 'a').ok());
  EXPECT_TRUE(device_.Flush().Is(ErrorCode::kIo));
  device_.Add({.matches =
                   [](const FaultPoint& point) {
                     return point.range.offset == DeviceOffset(kBlockBytes);
                   },
               .code = ErrorCode::kTimedOut});
  AlignedBuffer out(kBlockBytes);
  EXPECT_TRUE(
      device_.Read(DeviceOffset(kBlockBytes), out.span()).Is(ErrorCode::kTimedOut));
  EXPECT_TRUE(device_.Read(DeviceOffset(0), out.span()).ok());
}

TEST_F(FaultDeviceTest, OneOfMany) {
  AlignedBuffer data = Pattern(3 * kBlockBytes, 1);
  IoOp ops[3];
  for (size_t i = 0; i < 3; ++i)
    ops[i] = {.kind = IoKind::kWrite,
              .offset = DeviceOffset(i * kBlockBytes),
              .data = data.data() + i * kBlockBytes,
              .length_bytes = kBlockBytes};
  device_.FailNth(2);
  EXPECT_TRUE(device_.Execute(ops).Is(ErrorCode::kIo));
  EXPECT_FALSE(ops[0].error || ops[2].error);
  EXPECT_TRUE(ops[1].error.has_value());
  EXPECT_EQ(FirstByteOf(2), data.data()[2 * kBlockBytes]);
  EXPECT_EQ(FirstByteOf(1), '\0');
}

TEST_F(FaultDeviceTest, TornAtEverySector) {
  constexpr uint64_t kLength = 3 * kBlockBytes;
  constexpr uint64_t kSectorCount = kLength / kSectorBytes;
  const AlignedBuffer fresh = Pattern(kLength, 1);
  const AlignedBuffer source = Pattern(kLength, 2);
  const DeviceRange source_range{DeviceOffset(2 << 20), kLength};
  ASSERT_TRUE(memory_.Write(source_range.offset, source.span()).ok());
  for (const FaultKind kind :
       {FaultKind::kWrite, FaultKind::kWriteZeroes, FaultKind::kCopy}) {
    const std::string wanted(kind == FaultKind::kWrite  ? ViewOf(fresh)
                             : kind == FaultKind::kCopy ? ViewOf(source)
                                                        : std::string(kLength, '\0'));
    for (uint64_t sectors = 0; sectors <= kSectorCount; ++sectors) {
      const std::string old(kLength, 'o');
      memory_.Poke(0, old);
      device_.FailNth(1, sectors);
      Status status = OkStatus();
      if (kind == FaultKind::kWrite)
        status = device_.Write(DeviceOffset(0), fresh.span());
      else if (kind == FaultKind::kWriteZeroes)
        status = device_.WriteZeroes({DeviceOffset(0), kLength});
      else
        status = device_.Copy({&source_range, 1}, DeviceOffset(0));
      EXPECT_TRUE(status.Is(ErrorCode::kIo));
      const uint64_t torn = sectors * kSectorBytes;
      EXPECT_EQ(ViewOf(ReadAll(memory_, DeviceOffset(0), kLength)),
                wanted.substr(0, torn) + old.substr(torn))
          << static_cast<int>(kind) << " after " << sectors;
    }
  }
}

}  // namespace
}  // namespace cofs
