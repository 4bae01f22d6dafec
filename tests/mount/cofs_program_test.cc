// The program cofs on mounted volumes: stat, set, top, probe, cp.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
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

class CofsProgramTest : public CofsMountTest {
 protected:
  ProgramResult Cofs(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), Bin("cofs"));
    return RunProgram(arguments);
  }
  Json Stats() {
    const ProgramResult stat = Cofs({"stat", "--json", root()});
    EXPECT_EQ(stat.exit_code, 0) << stat.err;
    return Json::parse(stat.out);
  }
  // copy_file_range of all of `from` to a new file; 0 or the errno.
  int CopyFile(const std::string& from, const std::string& to) {
    const Fd source = Open(Path(from), O_RDONLY);
    const Fd destination = Open(Path(to), O_RDWR | O_CREAT | O_TRUNC);
    const auto bytes = static_cast<size_t>(Stat(source.get()).st_size);
    for (size_t done = 0; done < bytes;) {
      const ssize_t count = copy_file_range(source.get(), nullptr, destination.get(),
                                            nullptr, bytes - done, 0);
      if (count < 0) return errno;
      if (count == 0) return EIO;
      done += static_cast<size_t>(count);
    }
    return 0;
  }
};

// ---- set, stat ----

TEST_F(CofsProgramTest, SettingsChangeOnALiveMount) {
  WriteFile(Path("a"), Pattern(1, 0, kMiB));
  EXPECT_EQ(Stats()["options"]["copy"], "auto");
  EXPECT_EQ(Stats()["options"]["verify_copy"], "sample");
  ProgramResult set = Cofs({"set", root(), "copy=share", "verify_copy=all"});
  EXPECT_EQ(set.exit_code, 0) << set.err;
  EXPECT_EQ(Stats()["options"]["copy"], "share");
  EXPECT_EQ(Stats()["options"]["clone"], "share");
  EXPECT_EQ(Stats()["options"]["verify_copy"], "all");
  ASSERT_EQ(CopyFile("a", "b"), 0);
  EXPECT_EQ(Stats()["copy"]["clones"], 1);

  // Images on memory have no way of the device: what the device is to copy fails, and
  // the kernel does not copy by itself.
  set = Cofs({"set", root(), "copy=device"});
  EXPECT_EQ(set.exit_code, 0) << set.err;
  if (Stats()["copy"]["ways"][2]["state"] == "absent") {
    EXPECT_EQ(CopyFile("a", "c"), EREMOTEIO);
  }
  set = Cofs({"set", root(), "copy=buffered"});
  ASSERT_EQ(CopyFile("a", "d"), 0);
  EXPECT_TRUE(SameBytes(ReadFile(Path("d")), Pattern(1, 0, kMiB)));
  EXPECT_EQ(Stats()["copy"]["clones"], 1);

  // All or none.
  set = Cofs({"set", root(), "clone=device", "copy=fast"});
  EXPECT_EQ(set.exit_code, 1);
  EXPECT_THAT(set.err, HasSubstr("auto|share|device|buffered"));
  EXPECT_EQ(Stats()["options"]["clone"], "share");
  for (const char* other : {"cache=1G", "ro", "copy", "=", "sync=1"})
    EXPECT_EQ(Cofs({"set", root(), other}).exit_code, 1) << other;
  EXPECT_EQ(Cofs({"set", "/proc", "copy=auto"}).exit_code, 2);
}

TEST_F(CofsProgramTest, OnlyRootChangesSettings) {
  ASSERT_TRUE(Succeeds(chmod(root().c_str(), 0777)));
  const std::string path = root();
  EXPECT_EQ(AsOrdinaryUser([&] {
              const Fd fd(open(path.c_str(), O_RDONLY));
              cofs_ioc_set set{};
              const std::string_view options = "copy=share";
              set.length = static_cast<__u32>(options.size());
              options.copy(set.options, options.size());
              return ioctl(fd.get(), COFS_IOC_SET, &set) == 0 ? 0 : errno;
            }),
            EPERM);
  EXPECT_EQ(Stats()["options"]["copy"], "auto");
  const Fd fd = Open(root(), O_RDONLY);
  cofs_ioc_set set{};
  set.length = sizeof(set.options) + 1;
  EXPECT_TRUE(FailsWith(ioctl(fd.get(), COFS_IOC_SET, &set), EINVAL));
  set.length = 0;
  EXPECT_TRUE(FailsWith(ioctl(fd.get(), COFS_IOC_SET, &set), EINVAL));
}

TEST_F(CofsProgramTest, OptionsOfTheMount) {
  volume().Unmount();
  volume().Mount("copy=buffered,clone=device,verify_copy=off");
  const Json options = Stats()["options"];
  EXPECT_EQ(options["copy"], "buffered");
  EXPECT_EQ(options["clone"], "device");
  EXPECT_EQ(options["verify_copy"], "off");
}

TEST_F(CofsProgramTest, StatShowsHowCopiesWent) {
  WriteFile(Path("a"), Pattern(1, 0, 3 * kMiB));
  ASSERT_EQ(CopyFile("a", "b"), 0);
  const Json copy = Stats()["copy"];
  EXPECT_EQ(copy["copied_bytes"], 3 * kMiB);
  ASSERT_EQ(copy["ways"].size(), 5u);
  uint64_t bytes = 0, commands = 0;
  for (const Json& way : copy["ways"]) {
    EXPECT_TRUE(way.contains("state")) << way.dump();
    bytes += way["bytes"].get<uint64_t>();
    for (const Json& bucket : way["latency"]) commands += bucket["count"].get<uint64_t>();
  }
  EXPECT_EQ(bytes, 3 * kMiB);
  EXPECT_GE(commands, 1u);
  const ProgramResult text = Cofs({"stat", root()});
  EXPECT_THAT(text.out, HasSubstr("Ways of copying"));
  EXPECT_THAT(text.out, HasSubstr("latency"));
  EXPECT_THAT(text.out, HasSubstr("verify_copy=sample"));
}

// ---- top ----

TEST_F(CofsProgramTest, TopPrintsLines) {
  const ProgramResult top = Cofs({"top", "-n", "2", "-d", "0.1", root()});
  EXPECT_EQ(top.exit_code, 0) << top.err;
  EXPECT_THAT(top.out, HasSubstr("device-copy/s"));
  EXPECT_EQ(std::count(top.out.begin(), top.out.end(), '\n'), 3) << top.out;
  EXPECT_THAT(top.out, Not(HasSubstr("\033")));
  EXPECT_EQ(Cofs({"top", "-n", "1", "/proc"}).exit_code, 2);
  EXPECT_EQ(Cofs({"top", "-d", "0", root()}).exit_code, 1);
}

// ---- probe ----

TEST_F(CofsProgramTest, ProbeOfAMountAsksItsDaemon) {
  for (const std::string& path : {root(), volume().device()}) {
    const ProgramResult probe = Cofs({"probe", "--json", path});
    ASSERT_EQ(probe.exit_code, 0) << probe.err;
    const Json out = Json::parse(probe.out);
    EXPECT_THAT(out["contents"].get<std::string>(), HasSubstr("mounted at " + root()));
    EXPECT_EQ(out["ways"].size(), 5u);
  }
}

TEST_F(CofsProgramTest, ProbeOfAVolumeLeavesItAsItWas) {
  const std::string data = Pattern(1, 0, 5 * kMiB);
  WriteFile(Path("a"), data);
  volume().Unmount();
  const ProgramResult probe = Cofs({"probe", volume().device()});
  EXPECT_EQ(probe.exit_code, 0) << probe.err;
  EXPECT_THAT(probe.out, HasSubstr("cofs volume, not mounted"));
  EXPECT_THAT(probe.out, testing::AnyOf(HasSubstr("in free blocks of the volume"),
                                        HasSubstr("there is no way to be tried")));
  EXPECT_EQ(Cofs({"probe", "--scratch", "0:1M", volume().device()}).exit_code, 1);
  volume().Check();
  volume().Mount();
  EXPECT_TRUE(SameBytes(ReadFileDirect(Path("a")), data));
}

TEST(CofsProbeTest, AsksBeforeItWrites) {
  const ScratchDirectory scratch;
  const std::string image = scratch.path() + "/image";
  const std::string data = Pattern(7, 0, 8 * kMiB);
  WriteFile(image, data);
  const auto probe = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {Bin("cofs"), "probe"});
    arguments.push_back(image);
    return RunProgram(arguments);
  };
  ProgramResult result = probe({});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("--write-test allows one"));
  result = probe({"--write-test"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::AnyOf(HasSubstr("put back"),
                                         HasSubstr("there is no way to be tried")));
  result = probe({"--scratch", "1M:64K"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::AnyOf(HasSubstr("offset 1048576"),
                                         HasSubstr("there is no way to be tried")));
  for (const char* bad : {"1M", "1M:", "x:1M", "1:64K", "0:4K", "7M:2M", "1M:64K:"})
    EXPECT_EQ(probe({"--scratch", bad}).exit_code, 1) << bad;
  EXPECT_TRUE(SameBytes(ReadFile(image), data));
  EXPECT_EQ(RunProgram({Bin("cofs"), "probe", image + "x"}).exit_code, 2);
  EXPECT_EQ(RunProgram({Bin("cofs"), "probe", "/proc"}).exit_code, 2);
}

// ---- cp ----

TEST_F(CofsProgramTest, CpCopiesATree) {
  MakeDirectory(Path("tree"));
  MakeDirectory(Path("tree/sub"));
  WriteFile(Path("tree/a"), Pattern(1, 0, 100000));
  WriteFile(Path("tree/sub/empty"), "");
  ASSERT_TRUE(Succeeds(link(Path("tree/a").c_str(), Path("tree/sub/same").c_str())));
  ASSERT_TRUE(Succeeds(symlink("nowhere", Path("tree/link").c_str())));
  ASSERT_TRUE(Succeeds(mkfifo(Path("tree/fifo").c_str(), 0640)));
  ASSERT_TRUE(Succeeds(chmod(Path("tree/a").c_str(), 04755)));
  ASSERT_TRUE(Succeeds(chown(Path("tree/sub/empty").c_str(), 1000, 1001)));
  ASSERT_TRUE(Succeeds(setxattr(Path("tree/a").c_str(), "user.note", "hello", 5, 0)));
  const timespec times[2] = {{1000, 1}, {2000, 999999999}};
  ASSERT_TRUE(Succeeds(utimensat(AT_FDCWD, Path("tree/a").c_str(), times, 0)));
  ASSERT_TRUE(Succeeds(utimensat(AT_FDCWD, Path("tree/sub").c_str(), times, 0)));

  EXPECT_EQ(Cofs({"cp", Path("tree"), Path("plain")}).exit_code, 2) << "without -r";
  EXPECT_FALSE(Exists(Path("plain")));
  ProgramResult copied = Cofs({"cp", "-a", Path("tree"), Path("copy")});
  EXPECT_EQ(copied.exit_code, 0) << copied.err;
  EXPECT_EQ(copied.out, "");
  EXPECT_TRUE(SameBytes(ReadFile(Path("copy/a")), Pattern(1, 0, 100000)));
  EXPECT_EQ(Stat(Path("copy/a")).st_mode & 07777, 04755u);
  EXPECT_EQ(Stat(Path("copy/a")).st_ino, Stat(Path("copy/sub/same")).st_ino);
  EXPECT_EQ(Stat(Path("copy/a")).st_mtim.tv_nsec, 999999999);
  EXPECT_EQ(Stat(Path("copy/sub")).st_mtim.tv_sec, 2000);
  EXPECT_EQ(Stat(Path("copy/sub/empty")).st_gid, 1001u);
  EXPECT_TRUE(S_ISLNK(Stat(Path("copy/link")).st_mode));
  EXPECT_TRUE(S_ISFIFO(Stat(Path("copy/fifo")).st_mode));
  char value[8];
  EXPECT_EQ(getxattr(Path("copy/a").c_str(), "user.note", value, sizeof(value)), 5);

  // Into a directory that is there, and over what is there.
  EXPECT_EQ(Cofs({"cp", "-r", Path("tree"), Path("copy")}).exit_code, 0);
  EXPECT_TRUE(Exists(Path("copy/tree/sub/empty")));
  EXPECT_EQ(Cofs({"cp", "-a", "-T", Path("tree"), Path("copy")}).exit_code, 0);
  // Into itself.
  EXPECT_EQ(Cofs({"cp", "-r", Path("tree"), Path("tree/sub")}).exit_code, 2);
  // To another file system and back.
  const ScratchDirectory elsewhere;
  EXPECT_EQ(Cofs({"cp", "-a", Path("tree/a"), elsewhere.path()}).exit_code, 0);
  EXPECT_EQ(Cofs({"cp", elsewhere.path() + "/a", Path("back")}).exit_code, 0);
  EXPECT_TRUE(SameBytes(ReadFile(Path("back")), Pattern(1, 0, 100000)));
}

TEST_F(CofsProgramTest, CpReplacesOnlyWithTheWholeCopy) {
  WriteFile(Path("a"), Pattern(1, 0, 100000));
  WriteFile(Path("old"), "old");
  ASSERT_TRUE(Succeeds(chmod(Path("old").c_str(), 0600)));
  EXPECT_EQ(Cofs({"cp", "-n", Path("a"), Path("old")}).exit_code, 0);
  EXPECT_EQ(ReadFile(Path("old")), "old");
  // Copies by a device that is not there fail, and change nothing.
  if (Stats()["copy"]["ways"][2]["state"] == "absent") {
    const ProgramResult failed =
        Cofs({"cp", "--require-offload", Path("a"), Path("old")});
    EXPECT_EQ(failed.exit_code, 2);
    EXPECT_EQ(ReadFile(Path("old")), "old");
    EXPECT_EQ(Cofs({"cp", "--require-offload", Path("a"), Path("new")}).exit_code, 2);
    EXPECT_FALSE(Exists(Path("new")));
  }
  EXPECT_EQ(Cofs({"cp", Path("a"), Path("old")}).exit_code, 0);
  EXPECT_TRUE(SameBytes(ReadFile(Path("old")), Pattern(1, 0, 100000)));
  EXPECT_EQ(Stat(Path("old")).st_mode & 0777, 0600u);
  EXPECT_EQ(ListDirectory(root()), (std::vector<std::string>{"a", "old"}));
  // Wrong lines.
  EXPECT_EQ(Cofs({"cp", Path("a")}).exit_code, 1);
  EXPECT_EQ(Cofs({"cp", "--reflink=maybe", Path("a"), Path("b")}).exit_code, 1);
  EXPECT_EQ(Cofs({"cp", Path("a"), Path("old"), Path("b")}).exit_code, 1);
  EXPECT_EQ(Cofs({"cp", Path("a"), Path("a")}).exit_code, 2);
  EXPECT_EQ(Cofs({"cp", Path("missing"), Path("b")}).exit_code, 2);
}

TEST_F(CofsProgramTest, CpExplains) {
  const Fd source = Open(Path("a"), O_RDWR | O_CREAT);
  WriteAt(source.get(), 0, Pattern(1, 0, 2 * kMiB));
  ASSERT_TRUE(Succeeds(ftruncate(source.get(), 4 * kMiB)));
  ProgramResult copied = Cofs({"cp", "--explain", Path("a"), Path("b")});
  EXPECT_EQ(copied.exit_code, 0) << copied.err;
  EXPECT_THAT(copied.out, HasSubstr("2.0 MiB"));
  EXPECT_THAT(copied.out, HasSubstr("holes 2.0 MiB"));
  EXPECT_THAT(copied.out, HasSubstr("commands: half within"));
  EXPECT_THAT(copied.out, HasSubstr("not by the device: 2.0 MiB"));
  EXPECT_TRUE(SameBytes(ReadFile(Path("b")), ReadFile(Path("a"))));
  copied = Cofs({"cp", "--explain", "--reflink=always", Path("a"), Path("c")});
  EXPECT_EQ(copied.exit_code, 0) << copied.err;
  EXPECT_THAT(copied.out, HasSubstr("shared 2.0 MiB"));
  ASSERT_EQ(Cofs({"set", root(), "copy=share"}).exit_code, 0);
  copied = Cofs({"cp", "--explain", "--reflink=never", Path("a"), Path("d")});
  EXPECT_EQ(copied.exit_code, 0) << copied.err;
  EXPECT_THAT(copied.out, Not(HasSubstr("shared")));
  copied = Cofs({"cp", "--progress=always", Path("a"), Path("e")});
  EXPECT_THAT(copied.err, HasSubstr("of 4.0 MiB"));
}

TEST_F(CofsProgramTest, CpLeavesNoHalfFile) {
  // Through memory, from another file system, so that it takes a while.
  const ScratchDirectory elsewhere;
  const std::string source = elsewhere.path() + "/source";
  const std::string data = Pattern(1, 0, 64 * kMiB);
  WriteFile(source, data);
  int interrupted = 0;
  for (int attempt = 0; attempt < 20 && interrupted < 2; ++attempt) {
    const bool keeps = interrupted == 1;
    std::vector<std::string> line = {Bin("cofs"), "cp", source, Path("copy")};
    if (keeps) line.push_back("--keep-partial");
    BackgroundProgram program(line, elsewhere.path() + "/log");
    while (!Exists(Path("copy"))) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    program.Signal(SIGINT);
    const auto code = program.Wait(HangLimitSeconds() * 1000);
    ASSERT_TRUE(code.has_value());
    if (*code == 128 + SIGINT) {
      ++interrupted;
      EXPECT_EQ(Exists(Path("copy")), keeps);
      if (keeps) {
        EXPECT_LT(static_cast<size_t>(Stat(Path("copy")).st_size), data.size());
      }
    } else {
      EXPECT_EQ(*code, 0) << "it was faster";
      EXPECT_TRUE(SameBytes(ReadFile(Path("copy")), data));
    }
    unlink(Path("copy").c_str());
  }
  EXPECT_EQ(interrupted, 2);
}

}  // namespace
}  // namespace cofs
