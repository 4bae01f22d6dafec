// The memory of the daemon stays bounded, however many files the kernel knows.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kResidentMax = 256 * kMiB;

class MemoryTest : public CofsMountTest {
 protected:
  void SetUp() override {
    if (UnderSanitizer()) GTEST_SKIP() << "a sanitizer's own memory would be measured";
    CofsMountTest::SetUp();
  }
  uint64_t ResidentBytes(const char* field = "VmRSS:") {
    std::ifstream status("/proc/" + std::to_string(volume().daemon_pid()) + "/status");
    std::string word;
    while (status >> word) {
      uint64_t kib = 0;
      if (word == field && status >> kib) return kib << 10;
    }
    ADD_FAILURE() << "no " << field << " of the daemon";
    return 0;
  }
};

TEST_F(MemoryTest, AHundredThousandFiles) {
  constexpr int kDirectories = 100, kFiles = 1000, kOpen = 5000;
  for (int d = 0; d < kDirectories; ++d) {
    const std::string directory = Path(std::to_string(d));
    MakeDirectory(directory);
    for (int f = 0; f < kFiles; ++f) {
      ASSERT_TRUE(Succeeds(
          mknod((directory + "/file" + std::to_string(f)).c_str(), S_IFREG | 0644, 0)));
    }
  }
  Remount();
  std::vector<Fd> files;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const int open_max = static_cast<int>(std::min<rlim_t>(limit.rlim_cur / 2, kOpen));
  for (int d = 0; d < kDirectories; ++d) {
    for (int f = 0; f < kFiles; ++f) {
      const std::string path = Path(std::to_string(d) + "/file" + std::to_string(f));
      Stat(path);
      if (static_cast<int>(files.size()) < open_max && f % 10 == 0) {
        files.push_back(Open(path, O_RDWR));
        WriteAt(files.back().get(), 0, "some bytes");
      }
    }
  }
  EXPECT_LT(ResidentBytes() / kMiB, kResidentMax / kMiB);
  files.clear();
  EXPECT_LT(ResidentBytes("VmHWM:") / kMiB, kResidentMax / kMiB) << "at its highest";
}

TEST_F(MemoryTest, LargeFilesPassThrough) {
  // Data is not kept: a GiB written and read leaves no trace.
  const std::string data = Pattern(1, 0, kMiB);
  {
    const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
    for (uint64_t at = 0; at < 1024 * kMiB; at += kMiB) WriteAt(fd.get(), at, data);
    ASSERT_TRUE(Succeeds(fsync(fd.get())));
  }
  Remount();
  const Fd fd = Open(Path("file"), O_RDONLY);
  for (uint64_t at = 0; at < 1024 * kMiB; at += kMiB) ReadAt(fd.get(), at, kMiB);
  EXPECT_LT(ResidentBytes("VmHWM:") / kMiB, kResidentMax / kMiB) << "at its highest";
}

}  // namespace
}  // namespace cofs
