// The way of the host's file system, for real: images on XFS and btrfs, which share
// blocks, and on ext4, which does not, each on a loop device of its own.
#include "copy_engine/host_file_way.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/aligned_buffer.h"
#include "copy_engine/copy_probe.h"
#include "device/file_device.h"

namespace cofs {
namespace {

using testing::HasSubstr;
constexpr uint64_t kB = kBlockBytes;
constexpr uint64_t kImageBlocks = 2048;

bool RunsQuietly(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

// A file system in a file, mounted through a loop device; unmounted at the end.
class HostFileSystem {
 public:
  // Empty on success, else the reason to skip.
  std::string Mount(const std::string& mkfs) {
    std::string text = testing::TempDir() + "cofs-host-XXXXXX";
    if (::mkdtemp(text.data()) == nullptr) return "no temporary directory";
    directory_ = text;
    const std::string program = mkfs.substr(0, mkfs.find(' '));
    if (!RunsQuietly("command -v " + program)) return program + " is not installed";
    if (!RunsQuietly("truncate -s 400M " + backing()) ||
        !RunsQuietly(mkfs + " " + backing()))
      return "failed: " + mkfs;
    return MountFile(backing(), "");
  }
  std::string MountFile(const std::string& file, const std::string& options) {
    std::filesystem::create_directories(mount_point());
    if (::geteuid() != 0) return "mounting needs root";
    if (!RunsQuietly("mount -o loop" + options + " " + file + " " + mount_point()))
      return "a loop device of this file system can't be mounted here";
    mounted_ = true;
    return "";
  }
  void Unmount() {
    if (mounted_) {
      EXPECT_TRUE(RunsQuietly("umount " + mount_point()));
    }
    mounted_ = false;
  }
  ~HostFileSystem() {
    Unmount();
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  std::string backing() const { return directory_ + "/backing"; }
  std::string mount_point() const { return directory_ + "/mounted"; }
  std::string image() const { return mount_point() + "/image"; }

 private:
  std::string directory_;
  bool mounted_ = false;
};

struct HostCase {
  const char* name;
  const char* mkfs;
  const char* second_mount;  // options that let a copy of the file system be mounted
};

class HostFileWayTest : public testing::TestWithParam<HostCase> {
 protected:
  void SetUp() override {
    const std::string reason = host_.Mount(GetParam().mkfs);
    if (!reason.empty()) GTEST_SKIP() << "SKIPPED: " << reason;
    ASSERT_TRUE(FileDevice::CreateImage(host_.image(), kImageBlocks * kB).ok());
    OpenDevice();
  }
  void OpenDevice() {
    auto device = FileDevice::Open(host_.image(), OpenMode::kReadWrite);
    ASSERT_TRUE(device.ok()) << device.error().ToString();
    device_ = *std::move(device);
  }

  std::vector<char> Pattern(uint64_t blocks) {
    std::vector<char> data(blocks * kB);
    for (size_t i = 0; i < data.size(); i += 8) {
      const uint64_t word = random_();
      std::memcpy(data.data() + i, &word, 8);
    }
    return data;
  }
  CopyOutcome Copy(CopyWay& way, std::vector<CopyPiece> pieces,
                   std::function<bool()> interrupted = nullptr) {
    return way.Run({.pieces = pieces,
                    .depth = 4,
                    .interrupted = interrupted,
                    .check_source = nullptr});
  }
  static CopyPiece Piece(uint64_t source, uint64_t destination, uint64_t blocks) {
    return {DeviceOffset(source * kB), DeviceOffset(destination * kB), blocks * kB};
  }
  std::vector<char> Read(uint64_t block, uint64_t blocks) {
    AlignedBuffer data(blocks * kB);
    EXPECT_TRUE(device_->Read(DeviceOffset(block * kB), data.span()).ok());
    return {data.data(), data.data() + data.size_bytes()};
  }
  void Write(uint64_t block, const std::vector<char>& data) {
    ASSERT_TRUE(device_->Write(DeviceOffset(block * kB), data).ok());
  }
  // Whether all of the range's blocks are shared, as the host sees it.
  bool IsShared(uint64_t block, uint64_t blocks) {
    std::vector<char> memory(sizeof(fiemap) + 64 * sizeof(fiemap_extent));
    auto* map = reinterpret_cast<fiemap*>(memory.data());
    map->fm_start = block * kB;
    map->fm_length = blocks * kB;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = 64;
    EXPECT_EQ(::ioctl(device_->native_fd(), FS_IOC_FIEMAP, map), 0);
    uint64_t shared = 0;
    for (unsigned i = 0; i < map->fm_mapped_extents; ++i) {
      const fiemap_extent& extent = map->fm_extents[i];
      const uint64_t begin = std::max<uint64_t>(extent.fe_logical, map->fm_start);
      const uint64_t end = std::min<uint64_t>(extent.fe_logical + extent.fe_length,
                                              map->fm_start + map->fm_length);
      if ((extent.fe_flags & FIEMAP_EXTENT_SHARED) != 0 && end > begin)
        shared += end - begin;
    }
    return shared == blocks * kB;
  }

  HostFileSystem host_;
  std::mt19937_64 random_{7};
  std::unique_ptr<FileDevice> device_;
};

TEST_P(HostFileWayTest, ProbeProvesIt) {
  const auto outside = Pattern(8);
  Write(0, outside);
  std::vector<WayFinding> findings;
  auto ways = FindWays(*device_, DeviceRange{DeviceOffset(8 * kB), 64 * kB}, &findings);
  ASSERT_EQ(ways.size(), 1u) << findings.back().reason;
  EXPECT_EQ(ways[0]->id(), CopyWayId::kHostFile);
  ASSERT_EQ(findings.size(), 3u);
  EXPECT_EQ(findings[2].state, WayFinding::State::kProved);
  EXPECT_THAT(findings[2].description, HasSubstr("FICLONERANGE"));
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(findings[i].state, WayFinding::State::kAbsent);
    EXPECT_THAT(findings[i].reason, HasSubstr("image"));
  }
  EXPECT_EQ(Read(0, 8), outside);
  ASSERT_EQ(FindWays(*device_, std::nullopt, &findings).size(), 1u);
  EXPECT_EQ(findings[2].state, WayFinding::State::kFound);
  EXPECT_TRUE(TryWay(*ways[0], *device_, {DeviceOffset(0), 8 * kB}).ok());
  EXPECT_FALSE(TryWay(*ways[0], *device_, {DeviceOffset(0), 7 * kB}).ok());
  EXPECT_FALSE(
      TryWay(*ways[0], *device_, {DeviceOffset(kImageBlocks * kB), 8 * kB}).ok());
}

TEST_P(HostFileWayTest, SharesBlocks) {
  auto way = *HostFileWay::Open(device_->native_fd());
  const auto data = Pattern(64);
  Write(0, data);
  const CopyOutcome outcome = Copy(*way, {Piece(0, 1000, 32), Piece(32, 1200, 32)});
  ASSERT_EQ(outcome.stop, CopyStop::kDone) << outcome.error->ToString();
  EXPECT_EQ(outcome.completed_bytes, 64 * kB);
  EXPECT_EQ(outcome.command_count, 2u);
  EXPECT_TRUE(IsShared(1000, 32));
  EXPECT_TRUE(IsShared(1200, 32));

  // Written again, either place keeps its own.
  Write(0, Pattern(16));
  EXPECT_EQ(Read(1000, 32), std::vector<char>(data.begin(), data.begin() + 32 * kB));
  Write(1200, Pattern(32));
  EXPECT_EQ(Read(32, 32), std::vector<char>(data.begin() + 32 * kB, data.end()));
}

TEST_P(HostFileWayTest, StopsInTheMiddle) {
  auto way = *HostFileWay::Open(device_->native_fd());
  Write(0, Pattern(8));
  int polls = 0;
  const CopyOutcome interrupted =
      Copy(*way, {Piece(0, 100, 4), Piece(4, 200, 4)}, [&] { return ++polls > 1; });
  EXPECT_EQ(interrupted.stop, CopyStop::kInterrupted);
  EXPECT_EQ(interrupted.completed_bytes, 4 * kB);
  EXPECT_EQ(interrupted.command_count, 1u);

  const CopyOutcome overlap = Copy(*way, {Piece(0, 1, 2)});
  EXPECT_EQ(overlap.stop, CopyStop::kNotApplicable);
  const CopyOutcome outside = Copy(*way, {Piece(0, kImageBlocks - 1, 2)});
  EXPECT_EQ(outside.stop, CopyStop::kNotApplicable);
}

// Direct writes and reads around copies, against a model, with both methods: what the
// page cache of the image holds must never be seen.
TEST_P(HostFileWayTest, CoherentWithDirectIo) {
  const char* text = std::getenv("COFS_SEED");
  const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 0) : 31;
  SCOPED_TRACE("COFS_SEED=" + std::to_string(seed));
  random_.seed(seed);
  auto clone = *HostFileWay::Open(device_->native_fd());
  auto copy =
      *HostFileWay::Open(device_->native_fd(), HostFileWay::Method::kCopyFileRange);
  // Somebody who reads the image through the page cache leaves pages behind.
  Fd cached(::open(host_.image().c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<char> model(kImageBlocks * kB), page(kB);
  for (int i = 0; i < 400; ++i) {
    const uint64_t length = 1 + random_() % 32;
    const uint64_t source = random_() % (kImageBlocks / 2 - length);
    const uint64_t destination = kImageBlocks / 2 + source % 7 * 64 + random_() % 512;
    switch (random_() % 4) {
      case 0: {
        const auto data = Pattern(length);
        const uint64_t where = random_() % 2 == 0 ? source : destination;
        Write(where, data);
        std::copy(data.begin(), data.end(),
                  model.begin() + static_cast<long>(where * kB));
        break;
      }
      case 1:
        for (const uint64_t block : {source, destination})
          ASSERT_EQ(
              ::pread(cached.get(), page.data(), kB, static_cast<off_t>(block * kB)),
              static_cast<ssize_t>(kB));
        break;
      default: {
        CopyWay& way = random_() % 2 == 0 ? static_cast<CopyWay&>(*clone) : *copy;
        const CopyOutcome outcome = Copy(way, {Piece(source, destination, length)});
        ASSERT_EQ(outcome.stop, CopyStop::kDone) << outcome.error->ToString();
        std::memcpy(model.data() + destination * kB, model.data() + source * kB,
                    length * kB);
        ASSERT_EQ(0, std::memcmp(Read(destination, length).data(),
                                 model.data() + destination * kB, length * kB));
      }
    }
  }
  EXPECT_TRUE(Read(0, kImageBlocks) == model);
}

// What was copied before Flush() is there when the host's device is looked at as it is,
// without the host having been unmounted.
TEST_P(HostFileWayTest, FlushMakesItDurable) {
  auto way = *HostFileWay::Open(device_->native_fd());
  const auto data = Pattern(32);
  Write(0, data);
  ASSERT_TRUE(device_->Flush().ok());
  ASSERT_EQ(Copy(*way, {Piece(0, 512, 32)}).stop, CopyStop::kDone);
  ASSERT_TRUE(device_->Flush().ok());
  HostFileSystem second;
  const std::string frozen = host_.backing() + ".frozen";
  ASSERT_TRUE(RunsQuietly("cp --sparse=always " + host_.backing() + " " + frozen));
  device_.reset();
  host_.Unmount();
  ASSERT_EQ(host_.MountFile(frozen, GetParam().second_mount), "");
  OpenDevice();
  EXPECT_EQ(Read(512, 32), data);
  device_.reset();
}

INSTANTIATE_TEST_SUITE_P(Hosts, HostFileWayTest,
                         testing::Values(HostCase{"xfs", "mkfs.xfs -q -m reflink=1",
                                                  ",nouuid"},
                                         HostCase{"btrfs", "mkfs.btrfs -q", ""}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(HostFileWayHostsTest, LargeHostBlocks) {
  HostFileSystem host;
  const std::string reason = host.Mount("mkfs.xfs -q -m reflink=1 -b size=16384");
  if (!reason.empty()) GTEST_SKIP() << "SKIPPED: " << reason;
  ASSERT_TRUE(FileDevice::CreateImage(host.image(), 1024 * kB).ok());
  auto device = *FileDevice::Open(host.image(), OpenMode::kReadWrite);
  auto way = *HostFileWay::Open(device->native_fd());
  EXPECT_EQ(way->limits().alignment_bytes, 16384u);
  const auto run = [&](uint64_t source, uint64_t destination, uint64_t blocks) {
    const CopyPiece pieces[] = {
        {DeviceOffset(source * kB), DeviceOffset(destination * kB), blocks * kB}};
    const std::function<bool()> none;
    return way->Run(
        {.pieces = pieces, .depth = 1, .interrupted = none, .check_source = nullptr});
  };
  EXPECT_EQ(run(0, 64, 8).stop, CopyStop::kDone);
  for (const auto& outcome : {run(1, 64, 8), run(0, 65, 8), run(0, 64, 7)}) {
    EXPECT_EQ(outcome.stop, CopyStop::kNotApplicable);
    EXPECT_EQ(outcome.completed_bytes, 0u);
  }
}

TEST(HostFileWayHostsTest, HostsThatCanNot) {
  for (const char* mkfs : {"mkfs.ext4 -q -F", "mkfs.xfs -q -m reflink=0"}) {
    HostFileSystem host;
    const std::string reason = host.Mount(mkfs);
    if (!reason.empty()) GTEST_SKIP() << "SKIPPED: " << reason;
    ASSERT_TRUE(FileDevice::CreateImage(host.image(), 1024 * kB).ok());
    auto device = *FileDevice::Open(host.image(), OpenMode::kReadWrite);
    std::vector<WayFinding> findings;
    EXPECT_TRUE(
        FindWays(*device, DeviceRange{DeviceOffset(0), 64 * kB}, &findings).empty());
    ASSERT_EQ(findings.size(), 3u);
    EXPECT_EQ(findings[2].state, WayFinding::State::kAbsent);
    EXPECT_THAT(findings[2].reason, HasSubstr("can't share blocks"));
  }
}

TEST(HostFileWayHostsTest, FullHost) {
  HostFileSystem host;
  const std::string reason = host.Mount("mkfs.ext4 -q -F -m 0");
  if (!reason.empty()) GTEST_SKIP() << "SKIPPED: " << reason;
  ASSERT_TRUE(FileDevice::CreateImage(host.image(), 1024 * kB).ok());
  auto device = *FileDevice::Open(host.image(), OpenMode::kReadWrite);
  const std::vector<char> data(8 * kB, 'x');
  ASSERT_TRUE(device->Write(DeviceOffset(0), data).ok());
  ASSERT_TRUE(RunsQuietly("cd " + host.mount_point() +
                          " && for s in 100M 10M 1M 64K 4K; do n=0;"
                          " while fallocate -l $s fill.$s.$n; do n=$((n+1)); done;"
                          " done; true"));
  auto way = *HostFileWay::Open(device->native_fd(), HostFileWay::Method::kCopyFileRange);
  const CopyPiece pieces[] = {{DeviceOffset(0), DeviceOffset(512 * kB), 8 * kB}};
  const std::function<bool()> none;
  const CopyOutcome outcome = way->Run(
      {.pieces = pieces, .depth = 1, .interrupted = none, .check_source = nullptr});
  EXPECT_EQ(outcome.stop, CopyStop::kWayFailed);
  EXPECT_LT(outcome.completed_bytes, 8 * kB);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code(), ErrorCode::kNoSpace);
  EXPECT_THAT(outcome.error->ToString(), HasSubstr("copy_file_range"));
}

TEST(HostFileWayHostsTest, ReadOnlyImage) {
  const std::string path = testing::TempDir() + "cofs-readonly-image";
  std::filesystem::remove(path);
  ASSERT_TRUE(FileDevice::CreateImage(path, 64 * kB).ok());
  auto device = *FileDevice::Open(path, OpenMode::kReadOnly);
  EXPECT_TRUE(HostFileWay::Open(device->native_fd()).Is(ErrorCode::kNotSupported));
  std::vector<WayFinding> findings;
  EXPECT_TRUE(FindWays(*device, std::nullopt, &findings).empty());
  EXPECT_THAT(findings[2].reason, HasSubstr("read-only"));
  device.reset();
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace cofs
