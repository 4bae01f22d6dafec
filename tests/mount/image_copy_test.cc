// Images on file systems that share blocks: copies move nothing.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>

#include "base/check.h"
#include "tests/mount/file_io.h"
#include "tests/mount/host_file_system.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kStep = 1 << 20;
constexpr uint64_t kBlock = 4096;

// COFS_LONG=1: so large that only what moves no data can be done at once.
uint64_t LargeFileBytes() {
  const char* const text = std::getenv("COFS_LONG");
  return (text != nullptr && std::string_view(text) == "1" ? 1024u : 128u) * kStep;
}

struct HostKind {
  const char* name;
  HostFileSystem::Options options;
};

class ImageCopy : public ::testing::TestWithParam<HostKind> {
 protected:
  void SetUp() override {
    std::string why_not;
    host_ = HostFileSystem::Make(GetParam().options, &why_not);
    if (host_ == nullptr) GTEST_SKIP() << why_not;
    volume_ = std::make_unique<MountedTestVolume>(
        VolumeSetup{.size_bytes = 3 * LargeFileBytes() + 512 * kStep,
                    .image_parent = host_->path()});
    volume_->Mount();
  }
  void TearDown() override {
    if (volume_ == nullptr) return;
    volume_->Unmount();
    const ProgramResult checked =
        RunProgram({Bin("fsck.cofs"), "-n", "--data", volume_->device()});
    EXPECT_EQ(checked.exit_code, 0) << checked.out << checked.err;
    volume_.reset();
  }

  std::string Path(const std::string& name) const { return volume_->root() + "/" + name; }
  void MakeFile(const std::string& name, uint64_t seed, uint64_t size_bytes) {
    const Fd file = Open(Path(name), O_WRONLY | O_CREAT);
    for (uint64_t at = 0; at < size_bytes; at += kStep)
      WriteAt(file.get(), at, Pattern(seed, at, std::min(kStep, size_bytes - at)));
    ASSERT_TRUE(Succeeds(fsync(file.get())));
  }
  // The file is the pattern's bytes from `begin` on.
  void ExpectFile(const std::string& name, uint64_t seed, uint64_t begin,
                  uint64_t size_bytes) {
    const Fd file = Open(Path(name), O_RDONLY);
    ASSERT_EQ(static_cast<uint64_t>(Stat(file.get()).st_size), size_bytes);
    for (uint64_t at = 0; at < size_bytes; at += kStep) {
      const uint64_t length = std::min(kStep, size_bytes - at);
      ASSERT_TRUE(
          SameBytes(ReadAt(file.get(), at, length), Pattern(seed, begin + at, length)))
          << name << " at " << at;
    }
  }
  void CopyCall(const std::string& from, uint64_t from_offset, const std::string& to,
                uint64_t to_offset, uint64_t length) {
    const Fd source = Open(Path(from), O_RDONLY);
    const Fd destination = Open(Path(to), O_RDWR | O_CREAT);
    auto source_at = static_cast<off_t>(from_offset);
    auto destination_at = static_cast<off_t>(to_offset);
    for (uint64_t done = 0; done < length;) {
      const ssize_t count =
          copy_file_range(source.get(), &source_at, destination.get(), &destination_at,
                          length - done, 0);
      if (count < 0) throw std::system_error(errno, std::generic_category(), to);
      ASSERT_NE(count, 0);
      done += static_cast<uint64_t>(count);
    }
  }
  uint64_t BytesBy(const std::string& way) {
    const ProgramResult stat = RunProgram({Bin("cofs"), "stat", "--json", volume_->root()});
    EXPECT_EQ(stat.exit_code, 0) << stat.err;
    const auto json = nlohmann::json::parse(stat.out, nullptr, false);
    for (const auto& each : json["copy"]["ways"])
      if (each["way"] == way) return each["bytes"];
    ADD_FAILURE() << "no way " << way;
    return 0;
  }

  std::unique_ptr<HostFileSystem> host_;
  std::unique_ptr<MountedTestVolume> volume_;
};

template <typename Function>
void Timed(const char* what, uint64_t bytes, const Function& function) {
  const auto begin = std::chrono::steady_clock::now();
  function();
  const std::chrono::duration<double, std::milli> took =
      std::chrono::steady_clock::now() - begin;
  std::printf("%s: %ju MiB in %.1f ms\n", what, uintmax_t{bytes / kStep}, took.count());
}

class LargeImageCopy : public ImageCopy {};

TEST_P(LargeImageCopy, MovesNothing) {
  const uint64_t size_bytes = LargeFileBytes();
  MakeFile("source", 1, size_bytes);
  const uint64_t used_before = host_->used_bytes();
  const uint64_t shared_before = BytesBy("host-file");
  const uint64_t buffered_before = BytesBy("buffered");
  Timed("copy_file_range", size_bytes,
        [&] { CopyCall("source", 0, "by-call", 0, size_bytes); });
  Timed("cp --reflink=auto", size_bytes, [&] {
    const ProgramResult copied =
        RunProgram({"cp", "--reflink=auto", Path("source"), Path("by-cp")});
    EXPECT_EQ(copied.exit_code, 0) << copied.err;
  });
  EXPECT_EQ(BytesBy("host-file") - shared_before, 2 * size_bytes);
  EXPECT_EQ(BytesBy("buffered"), buffered_before);
  const uint64_t used_after = host_->used_bytes();
  std::printf("used of the host's file system: %ju MiB, then %ju MiB\n",
              uintmax_t{used_before / kStep}, uintmax_t{used_after / kStep});
  EXPECT_LT(used_after, used_before + size_bytes / 16);
  volume_->Unmount();
  volume_->Mount();
  ExpectFile("by-call", 1, 0, size_bytes);
  ExpectFile("by-cp", 1, 0, size_bytes);
  // What shares blocks below does not share fate above.
  MakeFile("by-cp", 2, 8 * kStep);
  ExpectFile("source", 1, 0, size_bytes);
}

TEST_P(ImageCopy, OddPlaces) {
  const uint64_t size_bytes = 9 * kStep + 1234;
  MakeFile("source", 1, size_bytes);
  const struct {
    uint64_t from, to, length;
  } kCases[] = {
      {0, 0, size_bytes},
      {kBlock, 0, 4 * kStep},                  // aligned to cofs's block
      {3 * kBlock, 3 * kBlock, 4 * kStep},
      {100, 100, 4 * kStep},                   // unaligned ends
      {100, 0, 4 * kStep},                     // another place in the block
      {size_bytes - kBlock, 7 * kBlock, kBlock},
      {5, 9, 1},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(StrCat(c.from, " to ", c.to, ", ", c.length, " bytes"));
    // What lies around the copy stays.
    const std::string old = Pattern(9, 0, c.to + c.length + 5000);
    WriteFile(Path("copy"), old);
    CopyCall("source", c.from, "copy", c.to, c.length);
    const std::string copied = Pattern(1, c.from, c.length);
    const std::string expected =
        old.substr(0, c.to) + copied + old.substr(c.to + c.length);
    EXPECT_TRUE(SameBytes(ReadFile(Path("copy")), expected));
    EXPECT_TRUE(SameBytes(ReadFileDirect(Path("copy")), expected));
  }
  std::printf("%ju bytes by the host's file system, %ju through memory\n",
              uintmax_t{BytesBy("host-file")}, uintmax_t{BytesBy("buffered")});
  volume_->Unmount();
  volume_->Mount();
  ExpectFile("source", 1, 0, size_bytes);
}

const HostFileSystem::Options kXfs{.type = "xfs", .size_bytes = 5 * 1024 * kStep};
const HostFileSystem::Options kBtrfs{.type = "btrfs", .size_bytes = 5 * 1024 * kStep};
// Larger blocks than cofs's: not every place can be shared. Kernels before 6.12 can't
// mount it.
const HostFileSystem::Options kXfsOfLargeBlocks{
    .type = "xfs", .size_bytes = 5 * 1024 * kStep, .mkfs_arguments = {"-b", "size=16384"}};

constexpr auto kName = [](const auto& tested) { return tested.param.name; };
INSTANTIATE_TEST_SUITE_P(On, LargeImageCopy,
                         ::testing::Values(HostKind{"Xfs", kXfs}, HostKind{"Btrfs", kBtrfs}),
                         kName);
INSTANTIATE_TEST_SUITE_P(On, ImageCopy,
                         ::testing::Values(HostKind{"Xfs", kXfs}, HostKind{"Btrfs", kBtrfs},
                                           HostKind{"XfsOfLargeBlocks", kXfsOfLargeBlocks}),
                         kName);

}  // namespace
}  // namespace cofs
