// What mkfs lays out, what it refuses, and that a refusal changes nothing.
#include "mkfs/format.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "base/log.h"
#include "device/fault_device.h"
#include "device/file_device.h"
#include "device/memory_device.h"
#include "device/signature.h"
#include "extent_map/records.h"
#include "extent_map/store/store.h"
#include "extent_map/superblock.h"
#include "tests/mkfs/scratch_folder.h"

namespace cofs {
namespace {

constexpr uint64_t kMiB = 1 << 20;

// An opened volume, read-only.
struct OpenVolume {
  std::unique_ptr<SuperblockSlots> slots;
  std::unique_ptr<Store> store;
  explicit OpenVolume(BlockDevice& device) {
    auto loaded = SuperblockSlots::Load(device);
    CHECK(loaded.ok(), loaded.ok() ? "" : loaded.error().ToString());
    slots = std::move(*loaded);
    StoreOptions options;
    options.read_only = true;
    auto opened = Store::Open(device, *slots, options);
    CHECK(opened.ok(), opened.ok() ? "" : opened.error().ToString());
    store = std::move(*opened);
  }
};

TEST(FormatDevice, LaysOutAnEmptyVolume) {
  MemoryDevice device(256 * kMiB);
  FormatOptions options;
  options.label = "data";
  options.uuid = Uuid::Parse("00112233-4455-6677-8899-aabbccddeeff");
  options.root_uid = 1000;
  options.root_gid = 100;
  const auto summary = FormatDevice(device, options);
  ASSERT_TRUE(summary.ok()) << summary.error().ToString();
  EXPECT_EQ(summary->volume_bytes, 256 * kMiB);
  EXPECT_EQ(summary->uuid, *options.uuid);

  const OpenVolume volume(device);
  const Superblock superblock = volume.slots->current();
  EXPECT_EQ(superblock.label, "data");
  EXPECT_EQ(superblock.uuid, *options.uuid);
  EXPECT_EQ(superblock.volume_bytes, 256 * kMiB);
  EXPECT_TRUE(superblock.clean);
  EXPECT_EQ(superblock.allocator_image.length_bytes, 0u);
  EXPECT_NE(superblock.name_hash_key, SipHashKey{});
  EXPECT_GT(superblock.created_s, 0);
  for (DeviceRange range : volume.store->PoolRanges()) {
    EXPECT_GE(range.offset, summary->pool.offset);
    EXPECT_LE(range.end(), summary->pool.end());
  }

  // Two records, and no others.
  const auto cursor = volume.store->NewCursor();
  cursor->Seek("");
  ASSERT_TRUE(cursor->valid());
  EXPECT_EQ(cursor->key(), InodeCounterKey());
  EXPECT_EQ(*DecodeInodeCounter(cursor->value()), kFirstFreeInode);
  cursor->Next();
  ASSERT_TRUE(cursor->valid());
  EXPECT_EQ(cursor->key(), InodeKey(kRootInode));
  const auto root = DecodeInode(cursor->value());
  ASSERT_TRUE(root.ok());
  EXPECT_EQ(root->mode, uint32_t{S_IFDIR | 0755});
  EXPECT_EQ(root->uid, 1000u);
  EXPECT_EQ(root->gid, 100u);
  EXPECT_EQ(root->link_count, 2u);
  EXPECT_EQ(root->size_bytes, 0u);
  EXPECT_EQ(root->parent, kRootInode);
  EXPECT_GT(root->btime.seconds, 0);
  cursor->Next();
  EXPECT_FALSE(cursor->valid());
  EXPECT_TRUE(cursor->status().ok());
}

TEST(FormatDevice, LeavesTheSpaceToItsUser) {
  struct Case {
    uint64_t volume_bytes;
    uint64_t percent_min;
  };
  for (const Case& test : {Case{256 * kMiB, 75}, Case{10240 * kMiB, 96}}) {
    MemoryDevice device(test.volume_bytes);
    const auto summary = FormatDevice(device, {});
    ASSERT_TRUE(summary.ok()) << summary.error().ToString();
    const uint64_t left = test.volume_bytes - summary->pool.end().value();
    EXPECT_GE(left * 100 / test.volume_bytes, test.percent_min) << test.volume_bytes;
  }
}

TEST(FormatDevice, TheSmallestVolume) {
  MemoryDevice device(kVolumeBytesMin);
  ASSERT_TRUE(FormatDevice(device, {}).ok());
  const OpenVolume volume(device);
  MemoryDevice too_small(kVolumeBytesMin - kBlockBytes);
  const auto refused = FormatDevice(too_small, {});
  ASSERT_TRUE(refused.Is(ErrorCode::kInvalidArgument));
  EXPECT_NE(refused.error().context().find("67108864"), std::string::npos);
  EXPECT_EQ(too_small.resident_bytes(), 0u);
}

TEST(FormatDevice, ATebibyteIsWrittenSparsely) {
  MemoryDevice device(1ull << 40);
  ASSERT_TRUE(FormatDevice(device, {}).ok());
  EXPECT_LT(device.resident_bytes(), 64 * kMiB);
  EXPECT_EQ(OpenVolume(device).slots->current().volume_bytes, 1ull << 40);
}

TEST(FormatDevice, UsesOnlyWhatIsAskedFor) {
  MemoryDevice device(256 * kMiB);
  FormatOptions options;
  options.size_bytes = 100 * kMiB + 5;
  ASSERT_TRUE(FormatDevice(device, options).ok());
  EXPECT_EQ(OpenVolume(device).slots->current().volume_bytes, 100 * kMiB);
}

TEST(FormatDevice, RefusesLabels) {
  MemoryDevice device(256 * kMiB);
  FormatOptions options;
  options.label = std::string(kLabelBytesMax, 'x');
  EXPECT_TRUE(FormatDevice(device, options).ok());
  options.label += 'x';
  EXPECT_TRUE(FormatDevice(device, options).Is(ErrorCode::kInvalidArgument));
  options.label = std::string("a\0b", 3);
  EXPECT_TRUE(FormatDevice(device, options).Is(ErrorCode::kInvalidArgument));
}

// Wherever it is interrupted, the device holds the old volume untouched, none at all, or
// the new one whole.
TEST(FormatDevice, AnInterruptedFormatLeavesNoHalfVolume) {
  MemoryDevice old_volume(64 * kMiB);
  FormatOptions old_options;
  old_options.label = "old";
  ASSERT_TRUE(FormatDevice(old_volume, old_options).ok());
  SetLogSink([](LogLevel, std::string_view) {});
  FormatOptions options;
  options.label = "new";
  uint64_t io_count = 0;
  {
    const auto device = old_volume.Fork();
    FaultDevice counting(*device);
    ASSERT_TRUE(FormatDevice(counting, options).ok());
    io_count = counting.io_count();
  }
  // Each of the first and last, where the superblocks are; some in between.
  const uint64_t step = std::max<uint64_t>(1, io_count / 16);
  for (uint64_t n = 1; n <= io_count; n += n < 6 || n + 8 > io_count ? 1 : step) {
    const auto device = old_volume.Fork();
    FaultDevice faulty(*device);
    faulty.FailFrom(n);
    EXPECT_FALSE(FormatDevice(faulty, options).ok()) << n;
    const auto slots = SuperblockSlots::Load(*device);
    if (!slots.ok()) {
      EXPECT_TRUE(slots.Is(ErrorCode::kNotCofs)) << n;
    } else if ((*slots)->current().label == "new") {
      EXPECT_TRUE(Store::Open(*device, **slots, {.read_only = true,
                                                 .cache_bytes = kMiB,
                                                 .on_failure = nullptr}).ok()) << n;
    } else {
      EXPECT_EQ(n, 1u);
    }
  }
  SetLogSink(nullptr);
}

class FormatVolumeTest : public testing::Test {
 protected:
  static std::string Read(const std::string& path) {
    std::string all(SizeOf(path), '\0');
    std::ifstream file(path, std::ios::binary);
    file.read(all.data(), static_cast<std::streamsize>(all.size()));
    return all;
  }
  static void Write(const std::string& path, uint64_t place, std::string_view bytes) {
    const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(place)),
              static_cast<ssize_t>(bytes.size()));
  }
  static uint64_t SizeOf(const std::string& path) {
    struct stat st = {};
    return ::stat(path.c_str(), &st) == 0 ? static_cast<uint64_t>(st.st_size) : UINT64_MAX;
  }
  // A swap area: the smallest signature that libblkid believes.
  static void MakeSwap(const std::string& path, uint64_t bytes) {
    Write(path, bytes - 1, std::string(1, '\0'));
    const uint32_t header[2] = {1, static_cast<uint32_t>(bytes / 4096 - 1)};
    Write(path, 1024, {reinterpret_cast<const char*>(header), sizeof(header)});
    Write(path, 4096 - 10, "SWAPSPACE2");
  }
  static FormatOptions Sized(uint64_t bytes) {
    FormatOptions options;
    options.size_bytes = bytes;
    options.wait = std::chrono::milliseconds{0};
    return options;
  }
  std::string LabelOf(const std::string& path) {
    const auto device = FileDevice::Open(path, OpenMode::kReadOnly);
    CHECK(device.ok(), device.ok() ? "" : device.error().ToString());
    return OpenVolume(**device).slots->current().label;
  }

  ScratchFolder folder_;
  const std::string image_ = folder_.File("volume.img");
};

TEST_F(FormatVolumeTest, CreatesAnImage) {
  FormatOptions options = Sized(128 * kMiB);
  options.label = "created";
  const auto summary = FormatVolume(image_, options);
  ASSERT_TRUE(summary.ok()) << summary.error().ToString();
  EXPECT_EQ(SizeOf(image_), 128 * kMiB);
  EXPECT_EQ(LabelOf(image_), "created");
  EXPECT_EQ(summary->wiped, "");
  const std::string text = DescribeSummary(*summary);
  EXPECT_NE(text.find("created"), std::string::npos);
  EXPECT_NE(text.find(summary->uuid.ToString()), std::string::npos);
  EXPECT_NE(text.find("128.0 MiB (32768 blocks)"), std::string::npos);
}

TEST_F(FormatVolumeTest, ExtendsAnImage) {
  for (uint64_t old_bytes : {uint64_t{0}, uint64_t{100}, 2 * kMiB}) {
    const std::string path = folder_.File("image" + std::to_string(old_bytes));
    Write(path, 0, std::string(old_bytes, '\0'));
    const auto summary = FormatVolume(path, Sized(80 * kMiB));
    ASSERT_TRUE(summary.ok()) << summary.error().ToString();
    EXPECT_EQ(SizeOf(path), 80 * kMiB);
  }
}

TEST_F(FormatVolumeTest, UsesAPartOfALongerImage) {
  Write(image_, 200 * kMiB - 1, std::string(1, '\0'));
  ASSERT_TRUE(FormatVolume(image_, Sized(80 * kMiB)).ok());
  EXPECT_EQ(SizeOf(image_), 200 * kMiB);
  const auto device = FileDevice::Open(image_, OpenMode::kReadOnly);
  EXPECT_EQ(OpenVolume(**device).slots->current().volume_bytes, 80 * kMiB);
}

TEST_F(FormatVolumeTest, ADryRunWritesNothing) {
  FormatOptions options = Sized(80 * kMiB);
  options.dry_run = true;
  const auto created = FormatVolume(image_, options);
  ASSERT_TRUE(created.ok());
  EXPECT_EQ(created->volume_bytes, 80 * kMiB);
  EXPECT_EQ(SizeOf(image_), UINT64_MAX);
  MakeSwap(image_, 70 * kMiB);
  const std::string before = Read(image_);
  EXPECT_TRUE(FormatVolume(image_, options).Is(ErrorCode::kExists));
  options.force = true;
  const auto forced = FormatVolume(image_, options);
  ASSERT_TRUE(forced.ok()) << forced.error().ToString();
  EXPECT_EQ(forced->wiped, "swap");
  EXPECT_TRUE(Read(image_) == before);
}

TEST_F(FormatVolumeTest, AForeignSignatureNeedsForce) {
  MakeSwap(image_, 70 * kMiB);
  const std::string before = Read(image_);
  FormatOptions options;
  const auto refused = FormatVolume(image_, options);
  ASSERT_TRUE(refused.Is(ErrorCode::kExists));
  EXPECT_NE(refused.error().context().find("swap"), std::string::npos);
  EXPECT_TRUE(Read(image_) == before);
  options.force = true;
  const auto forced = FormatVolume(image_, options);
  ASSERT_TRUE(forced.ok()) << forced.error().ToString();
  EXPECT_EQ(forced->wiped, "swap");
  EXPECT_EQ(*FindForeignSignature(image_), "");
  EXPECT_EQ(LabelOf(image_), "");
}

TEST_F(FormatVolumeTest, AnotherCofsVolumeNeedsForce) {
  FormatOptions options = Sized(80 * kMiB);
  options.label = "precious";
  ASSERT_TRUE(FormatVolume(image_, options).ok());
  options.label = "other";
  const std::string before = Read(image_);
  const auto refused = FormatVolume(image_, options);
  ASSERT_TRUE(refused.Is(ErrorCode::kExists));
  EXPECT_NE(refused.error().context().find("precious"), std::string::npos);
  EXPECT_TRUE(Read(image_) == before);
  // Nor is it extended.
  options.size_bytes = 100 * kMiB;
  EXPECT_TRUE(FormatVolume(image_, options).Is(ErrorCode::kExists));
  EXPECT_EQ(SizeOf(image_), 80 * kMiB);
  options.force = true;
  ASSERT_TRUE(FormatVolume(image_, options).ok());
  EXPECT_EQ(LabelOf(image_), "other");
}

TEST_F(FormatVolumeTest, RefusesWhatIsNoPlaceForAVolume) {
  struct Case {
    const char* what;
    std::string path;
    FormatOptions options;
    const char* says;
  };
  Write(folder_.File("small"), kVolumeBytesMin - 4097, "x");
  const Case cases[] = {
      {"a directory", folder_.File("."), {}, "a directory"},
      {"a character device", "/dev/null", {}, "a character device"},
      {"nothing there", folder_.File("none"), {}, "--size"},
      {"no folder", folder_.File("none/none"), Sized(80 * kMiB), "none/none"},
      {"too small", folder_.File("small"), {}, "too small"},
      {"too small to be made", folder_.File("none"), Sized(10 * kMiB), "too small"},
      {"too large to be made", folder_.File("none"), Sized(INT64_MAX), "too many"},
  };
  for (const Case& test : cases) {
    const auto refused = FormatVolume(test.path, test.options);
    ASSERT_FALSE(refused.ok()) << test.what;
    EXPECT_NE(refused.error().ToString().find(test.says), std::string::npos)
        << refused.error().ToString();
  }
  EXPECT_EQ(SizeOf(folder_.File("none")), UINT64_MAX);
  EXPECT_EQ(SizeOf(folder_.File("small")), kVolumeBytesMin - 4096);
}

TEST_F(FormatVolumeTest, RefusesAnImageThatAnotherProgramHolds) {
  ASSERT_TRUE(FormatVolume(image_, Sized(80 * kMiB)).ok());
  const std::string before = Read(image_);
  const auto held = FileDevice::Open(image_, OpenMode::kReadOnly);
  ASSERT_TRUE(held.ok());
  FormatOptions options = Sized(100 * kMiB);
  options.force = true;
  EXPECT_TRUE(FormatVolume(image_, options).Is(ErrorCode::kBusy));
  options.size_bytes.reset();
  EXPECT_TRUE(FormatVolume(image_, options).Is(ErrorCode::kBusy));
  EXPECT_TRUE(Read(image_) == before);
}

}  // namespace
}  // namespace cofs
