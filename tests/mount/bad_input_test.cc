// What the programs refuse: with an exit code, a sentence, and nothing changed.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "tests/mount/file_io.h"
#include "tests/mount/loop_device.h"
#include "tests/mount/mounted_volume.h"
#include "tests/mount/superblock_bytes.h"

namespace cofs {
namespace {

using Words = std::vector<std::string>;

constexpr uint64_t kMiB = 1 << 20;

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return text;
}

class BadInputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (getenv("COFS_TEST_DIR_ON") != nullptr)
      GTEST_SKIP() << "COFS_TEST_DIR_ON is set: this needs cofs itself";
    if (const auto reason = WhyNoMounts(true)) GTEST_SKIP() << "SKIPPED-AS-A-WHOLE: " << *reason;
    directory_ = scratch_.path() + "/root";
    MakeDirectory(directory_);
  }
  void TearDown() override {
    while (IsMountPoint(directory_) && umount2(directory_.c_str(), MNT_DETACH) == 0) {
    }
  }

  std::string Path(const std::string& name) const { return scratch_.path() + "/" + name; }
  std::string MakeImage(const std::string& name, uint64_t bytes) {
    const Fd fd = Open(Path(name), O_RDWR | O_CREAT | O_EXCL, 0600);
    EXPECT_TRUE(Succeeds(ftruncate(fd.get(), static_cast<off_t>(bytes))));
    return Path(name);
  }
  std::string MakeVolume(const std::string& name, uint64_t bytes = 128 * kMiB) {
    const std::string image = MakeImage(name, bytes);
    const ProgramResult made = RunProgram({Bin("mkfs.cofs"), "-q", image});
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return image;
  }
  static uint32_t Checksum(const std::string& path) {
    const Fd fd = Open(path, O_RDONLY);
    uint32_t sum = 0;
    for (uint64_t at = 0;; at += kMiB) {
      const std::string piece = ReadAt(fd.get(), at, kMiB);
      if (piece.empty()) return sum;
      sum = Crc32c(piece.data(), piece.size(), sum);
    }
  }
  // It fails, and not by a crash; says one of `words`; `untouched` is as it was.
  static void ExpectRefused(const Words& command, const Words& words,
                            const std::string& untouched = "", const RunOptions& options = {}) {
    std::string title;
    for (const std::string& word : command) title += word + " ";
    SCOPED_TRACE(title);
    const uint32_t before = untouched.empty() ? 0 : Checksum(untouched);
    const off_t size = untouched.empty() ? 0 : Stat(untouched).st_size;
    const ProgramResult result = RunProgram(command, options);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_TRUE(result.exit_code > 0 && result.exit_code < 126) << result.exit_code;
    EXPECT_EQ(result.err.find("Sanitizer"), std::string::npos);
    EXPECT_EQ(result.err.find("CHECK failed"), std::string::npos);
    const std::string text = Lower(result.err);
    EXPECT_TRUE(std::any_of(words.begin(), words.end(), [&](const std::string& word) {
      return text.find(word) != std::string::npos;
    })) << "it said: " << result.err << result.out;
    if (untouched.empty()) return;
    EXPECT_EQ(Stat(untouched).st_size, size);
    EXPECT_EQ(Checksum(untouched), before) << untouched << " has changed";
  }
  void ExpectMountRefused(const std::string& image, const Words& words) {
    ExpectRefused({Bin("mount.cofs"), image, directory_}, words, image);
    ExpectRefused({Bin("mount.cofs"), "-f", image, directory_}, words, image);
    EXPECT_FALSE(IsMountPoint(directory_));
  }

  ScratchDirectory scratch_;
  std::string directory_;
};

// ---- mkfs ----

TEST_F(BadInputTest, MkfsRefusesSizesAndPlaces) {
  const std::string mkfs = Bin("mkfs.cofs");
  const std::string small = MakeImage("small", 8 * kMiB);
  ExpectRefused({mkfs, small}, {"64"}, small);
  ExpectRefused({mkfs, MakeImage("empty", 0)}, {"64", "size", "0 bytes"}, Path("empty"));
  ExpectRefused({mkfs, directory_}, {"directory", "neither", "regular", "block device"});
  ExpectRefused({mkfs, Path("missing")}, {"--size", "no such file"});
  EXPECT_FALSE(Exists(Path("missing")));
  ExpectRefused({mkfs, "--size", "1M", Path("missing")}, {"64"});
  EXPECT_FALSE(Exists(Path("missing")));
  ExpectRefused({mkfs, "--size", "lots", Path("missing")}, {"size"});
  ExpectRefused({mkfs, "--size", "100M", Path("none/missing")}, {"no such file"});
  ExpectRefused({mkfs}, {"device"});
  ExpectRefused({mkfs, "/dev/null"}, {"block device", "neither", "regular"});
}

TEST_F(BadInputTest, MkfsRefusesArguments) {
  const std::string mkfs = Bin("mkfs.cofs");
  const std::string image = MakeImage("image", 128 * kMiB);
  ExpectRefused({mkfs, "-L", std::string(33, 'l'), image}, {"label"}, image);
  ExpectRefused({mkfs, "-U", "not-a-uuid", image}, {"uuid"}, image);
  ExpectRefused({mkfs, "--no-such-option", image}, {"no-such-option"}, image);
  ExpectRefused({mkfs, image, "10M", "more"}, {"more", "argument"}, image);
  const uint32_t before = Checksum(image);
  EXPECT_EQ(RunProgram({mkfs, "-n", image}).exit_code, 0);
  EXPECT_EQ(Checksum(image), before) << "a dry run wrote";
}

TEST_F(BadInputTest, MkfsRefusesWhatHoldsSomething) {
  const std::string mkfs = Bin("mkfs.cofs");
  struct Case {
    const char* name;
    Words make;
    const char* word;
  };
  for (const Case& c : {Case{"xfs", {"mkfs.xfs", "-q"}, "xfs"},
                        Case{"ext4", {"mkfs.ext4", "-q", "-F"}, "ext4"},
                        Case{"swap", {"mkswap"}, "swap"}}) {
    const std::string image = MakeImage(c.name, 400 * kMiB);
    Words make = c.make;
    make.push_back(image);
    if (RunProgram(make).exit_code != 0) continue;  // not installed here
    ExpectRefused({mkfs, image}, {c.word}, image);
    EXPECT_EQ(RunProgram({mkfs, "-f", image}).exit_code, 0);
    EXPECT_EQ(RunProgram({"blkid", "-p", "-o", "value", "-s", "TYPE", image}).out.find(c.word),
              std::string::npos)
        << "the old signature is still there";
  }
  const std::string volume = MakeVolume("volume");
  ExpectRefused({mkfs, volume}, {"cofs"}, volume);
}

TEST_F(BadInputTest, MkfsRefusesWhatIsInUse) {
  const std::string mkfs = Bin("mkfs.cofs");
  MountedTestVolume volume({.size_bytes = 128 * kMiB});
  volume.Mount();
  WriteFile(volume.root() + "/file", "kept");
  ExpectRefused({mkfs, volume.image()}, {"use", "mounted", "cofs"});
  ExpectRefused({mkfs, "-f", volume.image()}, {"use", "mounted"});
  MountedTestVolume on_device({.size_bytes = 128 * kMiB, .block_device = true});
  on_device.Mount();
  WriteFile(on_device.root() + "/file", "kept");
  ExpectRefused({mkfs, "-f", on_device.device()}, {"use", "mounted"});
  ExpectRefused({mkfs, "-f", on_device.image()}, {"use", "loop"});
  for (MountedTestVolume* mounted : {&volume, &on_device}) {
    mounted->Unmount();
    mounted->Check();
    mounted->Mount();
    EXPECT_EQ(ReadFile(mounted->root() + "/file"), "kept");
    mounted->Unmount();
  }
}

// ---- mount ----

TEST_F(BadInputTest, MountRefusesWhatIsNoVolume) {
  ExpectMountRefused(MakeImage("zeros", 128 * kMiB), {"not a cofs volume"});
  ExpectMountRefused(MakeImage("empty", 0), {"not a cofs volume", "short", "small", "0 bytes"});
  ExpectMountRefused(MakeImage("tiny", 5000), {"not a cofs volume", "short", "small"});
  WriteFile(Path("text"), std::string(3000000, 't'));
  ExpectMountRefused(Path("text"), {"not a cofs volume"});
  const std::string foreign = MakeImage("foreign", 400 * kMiB);
  if (RunProgram({"mkfs.ext4", "-q", "-F", foreign}).exit_code == 0)
    ExpectMountRefused(foreign, {"not a cofs volume"});
  const std::string mount = Bin("mount.cofs");
  ExpectRefused({mount, Path("missing"), directory_}, {"no such file"});
  ExpectRefused({mount, directory_, directory_}, {"neither", "directory"});
  ExpectRefused({mount, "/dev/null", directory_}, {"neither", "block device"});
}

TEST_F(BadInputTest, MountRefusesDamage) {
  const std::string volume = MakeVolume("volume");
  const auto damaged = [&](const std::string& name) {
    EXPECT_EQ(RunProgram({"cp", "--sparse=always", volume, Path(name)}).exit_code, 0);
    return Path(name);
  };
  const auto flip = [](const std::string& image, uint64_t offset) {
    const Fd fd = Open(image, O_RDWR);
    std::string byte = ReadAt(fd.get(), offset, 1);
    byte[0] ^= 0x10;
    WriteAt(fd.get(), offset, byte);
  };

  const std::string truncated = damaged("truncated");
  ASSERT_TRUE(Succeeds(truncate(truncated.c_str(), 100 * kMiB)));
  ExpectMountRefused(truncated, {"truncated", "short"});

  const std::string both = damaged("both superblocks");
  for (const uint64_t place : SuperblockBytes::kPlaces) flip(both, place + 100);
  ExpectMountRefused(both, {"superblock", "damaged"});

  const std::string magic = damaged("both magics");
  for (const uint64_t place : SuperblockBytes::kPlaces) flip(magic, place);
  ExpectMountRefused(magic, {"not a cofs volume"});

  const std::string journal = damaged("journal");
  const std::string block = SuperblockBytes::Newest(journal);
  const auto begin = SuperblockBytes::Field<uint64_t>(block, SuperblockBytes::kJournalAt);
  flip(journal, begin + 40);
  ExpectMountRefused(journal, {"journal", "damaged"});

  const std::string pool = damaged("pool");
  {  // everything before and behind the journal, up to the end of what is written
    const auto length = SuperblockBytes::Field<uint64_t>(block, SuperblockBytes::kJournalBytesAt);
    const Fd fd = Open(pool, O_RDWR);
    WriteAt(fd.get(), 2 * kMiB, std::string(begin - 2 * kMiB, '\x5a'));
    WriteAt(fd.get(), begin + length, std::string(8 * kMiB, '\x5a'));
  }
  ExpectMountRefused(pool, {"damaged", "corrupt"});
}

TEST_F(BadInputTest, OneSuperblockIsEnough) {
  const std::string volume = MakeVolume("volume");
  for (const uint64_t place : SuperblockBytes::kPlaces) {
    ASSERT_EQ(RunProgram({"cp", volume, Path("copy")}).exit_code, 0);
    {
      const Fd fd = Open(Path("copy"), O_RDWR);
      WriteAt(fd.get(), place, std::string(4096, '\xee'));
    }
    const ProgramResult mounted = RunProgram({Bin("mount.cofs"), Path("copy"), directory_});
    EXPECT_EQ(mounted.exit_code, 0) << mounted.err;
    EXPECT_TRUE(IsMountPoint(directory_));
    EXPECT_TRUE(Succeeds(umount2(directory_.c_str(), 0)));
    const ProgramResult checked = RunProgram({Bin("fsck.cofs"), "-n", Path("copy")});
    EXPECT_TRUE(checked.exit_code == 0 || checked.exit_code == 4) << checked.exit_code;
  }
}

TEST_F(BadInputTest, MountRefusesNewerFormats) {
  const std::string version = MakeVolume("version");
  SuperblockBytes::Change<uint32_t>(version, SuperblockBytes::kVersionAt, 2);
  ExpectMountRefused(version, {"newer", "version", "unknown"});
  const std::string feature = MakeVolume("feature");
  SuperblockBytes::Change<uint64_t>(feature, SuperblockBytes::kIncompatAt, uint64_t{1} << 63);
  ExpectMountRefused(feature, {"newer", "feature", "unknown"});
  ExpectRefused({Bin("fsck.cofs"), "-n", feature}, {"newer", "feature", "unknown"}, feature);
}

TEST_F(BadInputTest, MountRefusesArguments) {
  const std::string mount = Bin("mount.cofs");
  const std::string image = MakeVolume("volume");
  WriteFile(Path("file"), "x");
  ExpectRefused({mount, image, Path("missing")}, {"no such file"}, image);
  ExpectRefused({mount, image, Path("file")}, {"not a directory"}, image);
  ExpectRefused({mount, image}, {"directory", "usage", "mount point"}, image);
  ExpectRefused({mount}, {"device", "usage", "source"});
  for (const char* option : {"nosuchoption", "copy=teleport", "cache=lots", "cache=0",
                             "commit=0", "commit=-1", "threads=0", "copy", "ro=5"}) {
    const std::string name = std::string(option).substr(0, std::string(option).find('='));
    ExpectRefused({mount, "-o", option, image, directory_}, {name}, image);
    ExpectRefused({mount, "-o", std::string("rw,") + option + ",noatime", image, directory_},
                  {name}, image);
  }
  EXPECT_FALSE(IsMountPoint(directory_));
  const ProgramResult sloppy =
      RunProgram({mount, "-s", "-o", "nosuchoption", image, directory_});
  EXPECT_EQ(sloppy.exit_code, 0) << sloppy.err;
  EXPECT_TRUE(Succeeds(umount2(directory_.c_str(), 0)));
}

TEST_F(BadInputTest, AMountedImageIsLeftAlone) {
  MountedTestVolume volume({.size_bytes = 128 * kMiB});
  volume.Mount();
  WriteFile(volume.root() + "/file", "kept");
  ExpectRefused({Bin("mount.cofs"), volume.image(), directory_}, {"use", "mounted", "locked"});
  ExpectRefused({Bin("fsck.cofs"), "-n", volume.image()}, {"use", "mounted", "locked"});
  EXPECT_EQ(ReadFile(volume.root() + "/file"), "kept");
  volume.Unmount();
  volume.Check();
}

TEST_F(BadInputTest, WithoutPermissionNothingHappens) {
  const std::string image = MakeVolume("volume");
  ASSERT_TRUE(Succeeds(chmod(scratch_.path().c_str(), 0755)));
  ASSERT_TRUE(Succeeds(chown(directory_.c_str(), kOrdinaryUser, kOrdinaryUser)));
  const RunOptions ordinary{.uid = kOrdinaryUser, .directory = "/"};
  if (RunProgram({Bin("mount.cofs"), "-V"}, ordinary).exit_code != 0)
    GTEST_SKIP() << "an ordinary user can't reach the programs of this build";
  ExpectRefused({Bin("mount.cofs"), image, directory_}, {"permission", "denied"}, image,
                ordinary);
  ExpectRefused({Bin("mkfs.cofs"), "-f", image}, {"permission", "denied"}, image, ordinary);
  ExpectRefused({Bin("fsck.cofs"), "-n", image}, {"permission", "denied"}, image, ordinary);
}

// ---- fsck and cofs ----

TEST_F(BadInputTest, FsckSaysWhatItCannotCheck) {
  const std::string fsck = Bin("fsck.cofs");
  ExpectRefused({fsck, "-n", Path("missing")}, {"no such file"});
  ExpectRefused({fsck, "-n", directory_}, {"neither", "directory", "block device"});
  const std::string zeros = MakeImage("zeros", 128 * kMiB);
  ExpectRefused({fsck, "-n", zeros}, {"not a cofs volume"}, zeros);
  ExpectRefused({fsck}, {"device"});
  ExpectRefused({fsck, "--no-such-option", zeros}, {"no-such-option"}, zeros);
  const std::string volume = MakeVolume("volume");
  const uint32_t before = Checksum(volume);
  EXPECT_EQ(RunProgram({fsck, "-n", volume}).exit_code, 0);
  EXPECT_EQ(RunProgram({fsck, "-n", "--data", "--json", volume}).exit_code, 0);
  EXPECT_EQ(Checksum(volume), before) << "fsck -n wrote";
}

TEST_F(BadInputTest, FsckFindsDamage) {
  MountedTestVolume volume({.size_bytes = 128 * kMiB});
  volume.Mount();
  for (int i = 0; i < 300; ++i)
    WriteFile(volume.root() + "/" + std::to_string(i), Pattern(1, 0, 5000));
  volume.Unmount();
  volume.Check();
  // All of the metadata behind the journal is overwritten.
  const std::string block = SuperblockBytes::Newest(volume.image());
  const auto begin = SuperblockBytes::Field<uint64_t>(block, SuperblockBytes::kJournalAt) +
                     SuperblockBytes::Field<uint64_t>(block, SuperblockBytes::kJournalBytesAt);
  {
    const Fd fd = Open(volume.image(), O_RDWR);
    WriteAt(fd.get(), begin, std::string(4 * kMiB, '\x5a'));
  }
  const ProgramResult checked = RunProgram({Bin("fsck.cofs"), "-n", volume.image()});
  EXPECT_TRUE(checked.exit_code == 4 || checked.exit_code == 8) << checked.exit_code;
  EXPECT_NE(checked.out + checked.err, "");
}

TEST_F(BadInputTest, CofsNeedsAMountedVolume) {
  const std::string cofs = Bin("cofs");
  ExpectRefused({cofs, "stat", scratch_.path()}, {"not", "cofs"});
  ExpectRefused({cofs, "stat", Path("missing")}, {"no such file"});
  ExpectRefused({cofs, "stat"}, {"path"});
  ExpectRefused({cofs}, {"subcommand"});
  ExpectRefused({cofs, "fly"}, {"fly", "subcommand"});
  WriteFile(Path("file"), "x");
  ExpectRefused({cofs, "map", Path("file")}, {"not", "cofs"});
  MountedTestVolume volume({.size_bytes = 128 * kMiB});
  volume.Mount();
  const ProgramResult stat = RunProgram({cofs, "stat", volume.root()});
  EXPECT_EQ(stat.exit_code, 0) << stat.err;
  EXPECT_NE(stat.out, "");
  const ProgramResult json = RunProgram({cofs, "stat", "--json", volume.root()});
  EXPECT_EQ(json.exit_code, 0) << json.err;
  EXPECT_EQ(json.out.substr(0, 1), "{");
  volume.Unmount();
}

// ---- the daemon ----

class DaemonTest : public CofsMountTest {
 protected:
  DaemonTest() : CofsMountTest({.size_bytes = 256 * kMiB}) {}
};

TEST_F(DaemonTest, SignalsUnmountCleanly) {
  for (const int signal_number : {SIGTERM, SIGINT, SIGHUP}) {
    const std::string name = "file" + std::to_string(signal_number);
    WriteFile(Path(name), Pattern(1, 0, 3000000));  // not synced
    volume().SignalDaemon(signal_number);
    volume().ExpectEnd();
    EXPECT_TRUE(SuperblockBytes::IsClean(volume().image())) << strsignal(signal_number);
    volume().Check();
    volume().Mount();
    EXPECT_FALSE(SuperblockBytes::IsClean(volume().image()) && Exists(Path("none")));
    EXPECT_TRUE(SameBytes(ReadFile(Path(name)), Pattern(1, 0, 3000000)))
        << strsignal(signal_number);
  }
}

TEST_F(DaemonTest, TheCleanFlagIsClearWhileFilesAreWritten) {
  WriteFile(Path("file"), "x");
  SyncDirectory(root());
  const Fd fd = Open(Path("file"), O_RDONLY);
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  EXPECT_FALSE(SuperblockBytes::IsClean(volume().image()));
}

TEST_F(DaemonTest, AReadOnlyMountWritesNothing) {
  WriteFile(Path("file"), "kept");
  volume().Unmount();
  const std::string before = ReadFile(volume().image());
  volume().Mount("ro");
  EXPECT_EQ(ReadFile(Path("file")), "kept");
  EXPECT_TRUE(FailsWith(open(Path("new").c_str(), O_CREAT | O_WRONLY, 0644), EROFS));
  EXPECT_TRUE(FailsWith(unlink(Path("file").c_str()), EROFS));
  EXPECT_TRUE(FailsWith(open(Path("file").c_str(), O_WRONLY), EROFS));
  EXPECT_TRUE(FailsWith(chmod(Path("file").c_str(), 0600), EROFS));
  volume().Unmount();
  EXPECT_TRUE(SameBytes(ReadFile(volume().image()), before));
}

// It needs recovery, too.
TEST_F(DaemonTest, AWriteProtectedDeviceIsMountedReadOnly) {
  WriteFile(Path("file"), "kept");
  { ASSERT_TRUE(Succeeds(fsync(Open(Path("file"), O_RDWR).get()))); }
  volume().Kill();
  const std::string before = ReadFile(volume().image());
  {
    const LoopDevice loop(volume().image());
    const Fd device = Open(loop.path(), O_RDONLY);
    int read_only = 1;
    ASSERT_TRUE(Succeeds(ioctl(device.get(), BLKROSET, &read_only)));
    const ProgramResult mounted =
        RunProgram({Bin("mount.cofs"), loop.path(), root(), "-o", "rw"});
    read_only = 0;  // outlives the loop device otherwise, for the next one of this number
    ASSERT_TRUE(Succeeds(ioctl(device.get(), BLKROSET, &read_only)));
    ASSERT_EQ(mounted.exit_code, 0) << mounted.err;
    EXPECT_THAT(mounted.err, ::testing::HasSubstr("is write-protected, mounted read-only"));
    EXPECT_EQ(ReadFile(Path("file")), "kept");
    EXPECT_TRUE(FailsWith(open(Path("new").c_str(), O_CREAT | O_WRONLY, 0644), EROFS));
    EXPECT_EQ(RunProgram({"umount", root()}).exit_code, 0);
  }
  EXPECT_TRUE(SameBytes(ReadFile(volume().image()), before));
}

TEST_F(DaemonTest, MountReturnsWhenTheMountIsLive) {
  volume().Unmount();
  for (int round = 0; round < 5; ++round) {
    const ProgramResult mounted =
        RunProgram({Bin("mount.cofs"), volume().image(), root(), "-o", "noatime"});
    ASSERT_EQ(mounted.exit_code, 0) << mounted.err;
    ASSERT_TRUE(IsMountPoint(root()));
    WriteFile(Path("file" + std::to_string(round)), "x");
    EXPECT_TRUE(Succeeds(umount2(root().c_str(), 0)));
    // The daemon may still be at work; whoever opens the volume waits for it.
    volume().Check();
  }
  volume().Mount();
  EXPECT_EQ(ListDirectory(root()).size(), 5u);
}

class BlockDeviceDaemonTest : public CofsMountTest {
 protected:
  BlockDeviceDaemonTest() : CofsMountTest({.size_bytes = 256 * kMiB, .block_device = true}) {}
};

TEST_F(BlockDeviceDaemonTest, UnmountWaitsForTheDaemon) {
  WriteFile(Path("file"), Pattern(1, 0, 20 << 20));
  ASSERT_TRUE(Succeeds(umount2(root().c_str(), 0)));
  EXPECT_TRUE(SuperblockBytes::IsClean(volume().image()));
  volume().ExpectEnd();
  volume().Mount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("file")), Pattern(1, 0, 20 << 20)));
}

TEST_F(BlockDeviceDaemonTest, ASecondMountShowsTheFirst) {
  WriteFile(Path("file"), "seen twice");
  const ScratchDirectory elsewhere;
  const ProgramResult again = RunProgram({Bin("mount.cofs"), volume().device(), elsewhere.path()});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  if (again.exit_code == 0) {
    EXPECT_EQ(ReadFile(elsewhere.path() + "/file"), "seen twice");
    EXPECT_TRUE(Succeeds(umount2(elsewhere.path().c_str(), 0)));
  }
  EXPECT_EQ(ReadFile(Path("file")), "seen twice");
}

}  // namespace
}  // namespace cofs
