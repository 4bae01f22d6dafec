// How a mounted volume finds out about the copies of its device, and what becomes of
// those that lie.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/log.h"
#include "mkfs/format.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

using testing::HasSubstr;

constexpr uint64_t kVolumeBytes = 64 << 20;

// Copies by itself; while it lies it says so and does not.
class LyingDevice : public MemoryDevice {
 public:
  LyingDevice()
      : MemoryDevice(kVolumeBytes, {.copy_limits = DeviceCopyLimits{
                                        .segment_bytes_max = 256 << 10,
                                        .command_bytes_max = 1 << 20,
                                        .segments_max = 8}}) {}
  Status Copy(std::span<const DeviceRange> sources, DeviceOffset destination) override {
    ++copy_count;
    return lies ? OkStatus() : MemoryDevice::Copy(sources, destination);
  }
  bool lies = false;
  int copy_count = 0;
};

class CopyAtMountTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SetLogSink([this](LogLevel, std::string_view line) {
      log_ += line;
      log_ += '\n';
    });
    ASSERT_OK(FormatDevice(device_, {}));
  }
  void TearDown() override {
    if (volume_ != nullptr) {
      EXPECT_OK(volume_->Unmount());
    }
    volume_.reset();
    SetLogSink(nullptr);
    ExpectSoundDevice(device_);
  }
  void Mount(VolumeOptions options = QuietOptions()) {
    auto mounted = Volume::Mount(Borrow(device_), options);
    ASSERT_OK(mounted);
    volume_ = *std::move(mounted);
  }
  void Unmount() {
    ASSERT_OK(volume_->Unmount());
    volume_.reset();
  }
  CopyWayState Way() {
    for (const CopyWayState& way : volume_->usage().copy_ways)
      if (way.id == CopyWayId::kDevice) return way;
    return {};
  }
  InodeId WriteFile(const char* name, uint64_t bytes) {
    const InodeId file = MakeFile(*volume_, kRootInode, name);
    EXPECT_OK(volume_->Write(file, FileOffset(0), Contents(bytes), {}));
    return file;
  }
  static std::string Contents(uint64_t bytes) {
    std::string contents(bytes, '\0');
    for (uint64_t i = 0; i < bytes; i += 8) std::memcpy(contents.data() + i, &i, 8);
    return contents;
  }
  Result<uint64_t> Copy(InodeId from, InodeId to, uint64_t bytes) {
    Volume::CopyCall call;
    call.source = from;
    call.destination = to;
    call.length_bytes = bytes;
    return volume_->Copy(call);
  }
  std::string Read(InodeId file, uint64_t bytes) {
    AlignedBuffer buffer;
    const auto data = volume_->Read(file, FileOffset(0), bytes, buffer);
    return data.ok() ? std::string(data->begin(), data->end()) : CodeOf(data);
  }

  LyingDevice device_;
  std::unique_ptr<Volume> volume_;
  std::string log_;
};

TEST_F(CopyAtMountTest, TheTrialLeavesTheVolumeAsItWas) {
  Mount();
  WriteFile("file", 1 << 20);
  Unmount();
  const int before = device_.copy_count;
  Mount();
  EXPECT_GT(device_.copy_count, before);
  EXPECT_TRUE(Way().is_proved);
  EXPECT_EQ(Way().limits.segments_max, 8u);
  EXPECT_TRUE(Way().cost.has_value());
  EXPECT_THAT(log_, HasSubstr("copies by device: the copy command of memory; proved by a "
                              "trial copy; 256 KiB a source, 1 MiB a command, 8 sources"));
  // A crash of a mount that has changed nothing costs no walk over the extents.
  const auto slots = SuperblockSlots::Load(device_);
  ASSERT_OK(slots);
  EXPECT_TRUE((*slots)->current().clean);
  EXPECT_GT((*slots)->current().allocator_image.length_bytes, 0u);
  log_.clear();
  volume_.reset();
  Mount();
  EXPECT_THAT(log_, testing::Not(HasSubstr("image")));
}

TEST_F(CopyAtMountTest, AReadOnlyMountTriesNothing) {
  VolumeOptions options = QuietOptions();
  options.read_only = true;
  Mount(options);
  EXPECT_EQ(device_.copy_count, 0);
  EXPECT_TRUE(volume_->usage().copy_ways.empty());
}

TEST_F(CopyAtMountTest, AFullVolumeProvesTheWayByItsFirstCopy) {
  Mount();
  const InodeId source = WriteFile("source", 64 << 10);
  const InodeId target = MakeFile(*volume_, kRootInode, "target");
  ASSERT_OK(volume_->Write(target, FileOffset(0), Contents(64 << 10), {}));
  const InodeId rest = MakeFile(*volume_, kRootInode, "rest");
  const std::string block = Contents(64 << 10);
  uint64_t at = 0;
  while (volume_->Write(rest, FileOffset(at), block, {}).ok()) at += block.size();
  Unmount();
  VolumeOptions options = QuietOptions();
  options.copy = CopyRangePolicy::kDevice;
  Mount(options);
  EXPECT_FALSE(Way().is_proved);
  EXPECT_THAT(Way().last_failure, HasSubstr("no free run"));
  EXPECT_THAT(log_, HasSubstr("not proved"));
  EXPECT_OK(Copy(source, target, 64 << 10));
  EXPECT_TRUE(Way().is_proved);
  EXPECT_EQ(volume_->usage().copies.verified_bytes, 64u << 10);
}

TEST_F(CopyAtMountTest, ALieInTheTrialIsFound) {
  device_.lies = true;
  VolumeOptions options = QuietOptions();
  options.verify_copy = CopyVerify::kNone;
  Mount(options);
  EXPECT_FALSE(Way().is_there);
  EXPECT_THAT(log_, HasSubstr("copies by device: failed their trial"));
  const InodeId source = WriteFile("source", 1 << 20);
  const InodeId target = MakeFile(*volume_, kRootInode, "target");
  EXPECT_OK(Copy(source, target, 1 << 20));
  EXPECT_EQ(Read(target, 1 << 20), Contents(1 << 20));
}

TEST_F(CopyAtMountTest, ALaterLieIsFoundBeforeTheCommitOrByTheFirstRead) {
  for (const CopyVerify verify : {CopyVerify::kSample, CopyVerify::kAll, CopyVerify::kNone}) {
    device_.lies = false;
    Mount();
    VolumeOptions options = QuietOptions();
    options.verify_copy = verify;
    volume_->SetLiveOptions(options);  // on a live mount
    const std::string name = "source" + std::to_string(static_cast<int>(verify));
    const InodeId source = WriteFile(name.c_str(), 4 << 20);
    const InodeId target = MakeFile(*volume_, kRootInode, "target" + name);
    device_.lies = true;
    log_.clear();
    // Large enough that `auto` asks the device, whatever was measured.
    options.copy = CopyRangePolicy::kDevice;
    volume_->SetLiveOptions(options);
    const Result<uint64_t> by_device = Copy(source, target, 4 << 20);
    if (verify == CopyVerify::kNone) {
      EXPECT_OK(by_device);
      EXPECT_EQ(Read(target, 4096), Meaning(ErrorCode::kChecksum));
      EXPECT_THAT(log_, HasSubstr(StrCat("inode ", target, ", file offset 0, device offset ")));
      EXPECT_EQ(volume_->counters().checksum_errors.load(), 1u);
      EXPECT_EQ(Read(source, 4 << 20), Contents(4 << 20));
      // Its checksums don't match for good: the file goes, so that fsck finds nothing.
      ASSERT_OK(volume_->Unlink(kRootInode, "target" + name));
      ASSERT_OK(volume_->DrainRemoved());
    } else {
      EXPECT_CODE(kNotSupported, by_device);
      EXPECT_THAT(log_, HasSubstr("differs from its source"));
      options.copy = CopyRangePolicy::kAuto;
      volume_->SetLiveOptions(options);
      EXPECT_OK(Copy(source, target, 4 << 20));
      EXPECT_EQ(Read(target, 4 << 20), Contents(4 << 20));
      EXPECT_EQ(volume_->usage().copies.verify_failed_count, 1u);
    }
    Unmount();
  }
}

}  // namespace
}  // namespace cofs
