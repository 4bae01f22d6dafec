// cofs scrub through the kernel: damage behind the daemon's back is found by its path; it
// is stopped, and resumed after a remount.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "fs/fuse/cofs_ioctl.h"
#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::json;

constexpr uint64_t kMiB = 1 << 20;

class ScrubTest : public CofsMountTest {
 protected:
  ProgramResult Scrub(std::vector<std::string> options) {
    options.insert(options.begin(), {Bin("cofs"), "scrub", root()});
    return RunProgram(options);
  }
  Json Report() {
    const ProgramResult status = Scrub({"--status", "--json"});
    return Json::parse(status.out);
  }
  // Where in the image this byte of a file is.
  uint64_t PlaceOf(const std::string& name, uint64_t offset) {
    const ProgramResult map = RunProgram({Bin("cofs"), "map", "--json", Path(name)});
    const Json parsed = Json::parse(map.out);
    for (const Json& extent : parsed["extents"]) {
      const uint64_t begin = extent["file_offset"];
      if (offset >= begin && offset < begin + extent["length"].get<uint64_t>())
        return extent["device_offset"].get<uint64_t>() + offset - begin;
    }
    throw std::runtime_error(name + " has no byte " + std::to_string(offset));
  }
  void FlipBit(uint64_t place) {
    const Fd image = Open(volume().image(), O_RDWR);
    std::string byte = ReadAt(image.get(), place, 1);
    byte[0] = static_cast<char>(byte[0] ^ 1);
    WriteAt(image.get(), place, byte);
    fdatasync(image.get());
  }
};

TEST_F(ScrubTest, AHealthyVolumeIsCleanAndDamageIsFoundByItsPath) {
  ProgramResult scrub = Scrub({"--status"});
  EXPECT_EQ(scrub.exit_code, 0);
  EXPECT_EQ(scrub.out, "no scrub yet\n");
  MakeDirectory(Path("dir"));
  const std::string name = "dir/bad \x1b[31m";
  WriteFile(Path(name), Pattern(1, 0, 3 * kMiB));
  WriteFile(Path("good"), Pattern(2, 0, 5 * kMiB));
  scrub = Scrub({"--rate", "max"});
  EXPECT_EQ(scrub.exit_code, 0) << scrub.out << scrub.err;
  EXPECT_THAT(scrub.out, HasSubstr("scrub finished: "));
  EXPECT_THAT(scrub.out, HasSubstr("no damage"));

  const uint64_t place = PlaceOf(name, 2 * kMiB + 5000);
  FlipBit(place);
  scrub = Scrub({"--rate", "max"});
  EXPECT_EQ(scrub.exit_code, 3) << scrub.err;
  EXPECT_THAT(scrub.out, HasSubstr("/dir/bad \\x1b[31m: file offset " +
                                   std::to_string(2 * kMiB + 4096) +
                                   ", 4096 bytes, device offset " +
                                   std::to_string(place - place % 4096) +
                                   ": does not match its checksum"));
  EXPECT_THAT(scrub.out, HasSubstr("1 damaged place"));
  EXPECT_THAT(scrub.out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(scrub.out, Not(HasSubstr("good")));
  scrub = Scrub({"--status"});
  EXPECT_EQ(scrub.exit_code, 3);
  EXPECT_THAT(scrub.out, HasSubstr("/dir/bad"));
  EXPECT_THAT(ReadFile(volume().log_path()), HasSubstr("(/dir/bad \\x1b[31m), file offset"));
  const Json report = Report();
  EXPECT_EQ(report["state"], "finished");
  EXPECT_EQ(report["damage_count"], 1);
  EXPECT_EQ(report["damage"][0]["paths"][0], "/" + name);
  EXPECT_EQ(report["damage"][0]["device_offset"], place - place % 4096);
  // Removed, it is no damage any more.
  ASSERT_EQ(unlink(Path(name).c_str()), 0);
  EXPECT_EQ(Scrub({"--rate", "max", "--json"}).exit_code, 0);
}

TEST_F(ScrubTest, StoppedItGoesOnAfterARemount) {
  WriteFile(Path("first"), Pattern(1, 0, 16 * kMiB));
  WriteFile(Path("second"), Pattern(2, 0, 16 * kMiB));
  sync();
  FlipBit(PlaceOf("first", 0));
  FlipBit(PlaceOf("second", 15 * kMiB));
  ProgramResult scrub = Scrub({"--rate", "4M", "--background"});
  EXPECT_NE(scrub.exit_code, 2) << scrub.err;
  EXPECT_EQ(Scrub({"--rate", "max"}).exit_code, 2) << "one at a time";
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(HangLimitSeconds());
  while (Report()["damage_count"] != 1 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  scrub = Scrub({"--stop"});
  EXPECT_EQ(scrub.exit_code, 3);
  EXPECT_THAT(scrub.out, HasSubstr("--resume"));
  const Json stopped = Report();
  EXPECT_EQ(stopped["state"], "stopped");
  EXPECT_EQ(stopped["damage"][0]["paths"][0], "/first");
  Remount();
  EXPECT_EQ(Report()["state"], "stopped");
  EXPECT_EQ(Report()["done_bytes"], stopped["done_bytes"]);
  scrub = Scrub({"--resume", "--rate", "max"});
  EXPECT_EQ(scrub.exit_code, 3);
  EXPECT_THAT(scrub.out, HasSubstr("/second: file offset"));
  EXPECT_THAT(scrub.out, Not(HasSubstr("/first")));
  EXPECT_THAT(scrub.out, HasSubstr("2 damaged places (1 of them in the daemon's log only)"));
  const Json finished = Report();
  EXPECT_LT(finished["run_bytes"], finished["done_bytes"]);
}

TEST_F(ScrubTest, CtrlCStopsItAndKeepsThePlace) {
  WriteFile(Path("file"), Pattern(1, 0, 16 * kMiB));
  BackgroundProgram program({Bin("cofs"), "scrub", root(), "--rate", "1M"},
                            volume().log_path() + ".scrub");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(HangLimitSeconds());
  while (Report()["state"] != "running" && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  program.Signal(SIGINT);
  const auto exit_code = program.Wait(HangLimitSeconds() * 1000);
  EXPECT_EQ(exit_code, 128 + SIGINT);
  EXPECT_EQ(Report()["state"], "stopped");
  EXPECT_EQ(Scrub({"--resume", "--rate", "max"}).exit_code, 0);
}

// The kernel's users go on while it runs.
TEST_F(ScrubTest, ChangesMeanwhileAreNoDamage) {
  std::atomic<bool> is_done{false};
  std::thread writer([&] {
    for (uint64_t round = 0; !is_done; ++round) {
      const std::string path = Path("file" + std::to_string(round % 5));
      WriteFile(path, Pattern(round, 0, kMiB + round % 7 * 4096));
      if (round % 3 == 0) unlink(path.c_str());
    }
  });
  for (int round = 0; round < 10; ++round) {
    const ProgramResult scrub = Scrub({"--rate", "max"});
    EXPECT_EQ(scrub.exit_code, 0) << scrub.out << scrub.err;
  }
  is_done = true;
  writer.join();
}

TEST_F(ScrubTest, OnlyRootMay) {
  ASSERT_EQ(chmod(root().c_str(), 0777), 0);
  const std::string path = root();
  EXPECT_EQ(AsOrdinaryUser([&] {
              const Fd fd(open(path.c_str(), O_RDONLY));
              cofs_ioc_scrub scrub{};
              scrub.action = COFS_SCRUB_START;
              return ioctl(fd.get(), COFS_IOC_SCRUB, &scrub) == 0 ? 0 : errno;
            }),
            EPERM);
  EXPECT_EQ(AsOrdinaryUser([&] {
              const Fd fd(open(path.c_str(), O_RDONLY));
              cofs_ioc_stats page{};
              return ioctl(fd.get(), COFS_IOC_SCRUB_REPORT, &page) == 0 ? 0 : errno;
            }),
            EPERM);
  const Fd fd = Open(root(), O_RDONLY);
  for (const auto& [action, flags, reserved] :
       {std::tuple{0u, 0u, 0u}, {3u, 0u, 0u}, {1u, 2u, 0u}, {2u, 1u, 0u}, {1u, 0u, 1u}}) {
    cofs_ioc_scrub scrub{};
    scrub.action = action;
    scrub.flags = flags;
    scrub.reserved[1] = reserved;
    EXPECT_TRUE(FailsWith(ioctl(fd.get(), COFS_IOC_SCRUB, &scrub), EINVAL));
  }
  EXPECT_EQ(Scrub({"--rate", "fast"}).exit_code, 1);
  EXPECT_EQ(Scrub({"--stop", "--status"}).exit_code, 1);
  EXPECT_EQ(RunProgram({Bin("cofs"), "scrub", "/proc"}).exit_code, 2);
}

}  // namespace
}  // namespace cofs
