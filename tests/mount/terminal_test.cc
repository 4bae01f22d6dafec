// Names that command a terminal: no program of cofs prints them as they are.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

// Clears the screen, sets its title, CSI as one byte (C1), invalid UTF-8, a line end.
const std::string kEvil = "\x1b[2J\x1b]0;title\x07\x9b\x31m\xc2\x9b\n-";

class TerminalTest : public CofsMountTest {
 protected:
  TerminalTest() : CofsMountTest({.size_bytes = 128 << 20}) {}

  // Line ends, and nothing else that is no letter.
  static void ExpectTame(const std::string& text, const std::string& what) {
    for (const unsigned char c : text)
      if ((c < 0x20 && c != '\n') || c > 0x7e) {
        ADD_FAILURE() << what << " printed byte " << int{c} << " in: " << Escaped(text);
        return;
      }
  }
  static std::string Escaped(const std::string& text) {
    std::string out;
    for (const char c : text) out += c >= 0x20 && c <= 0x7e ? c : '?';
    return out;
  }
  static ProgramResult RunTame(const std::vector<std::string>& command) {
    const ProgramResult result = RunProgram(command);
    const std::string what = Escaped(command[0] + " " + command[1]);
    ExpectTame(result.out, what);
    ExpectTame(result.err, what);
    EXPECT_LT(result.exit_code, 126) << what;
    return result;
  }
};

TEST_F(TerminalTest, CofsPrintsNoControls) {
  const std::string cofs = Bin("cofs"), evil = Path(kEvil),
                    missing = Path("missing" + kEvil);
  WriteFile(evil, std::string(100'000, 'e'));
  MakeDirectory(Path("to"));
  EXPECT_EQ(RunTame({cofs, "cp", "-v", "--explain", evil, Path("to")}).exit_code, 0);
  EXPECT_EQ(RunTame({cofs, "cp", "-rv", root(), Path("to/" + kEvil)}).exit_code != 0,
            true);
  EXPECT_NE(RunTame({cofs, "cp", missing, Path("to")}).exit_code, 0);
  EXPECT_NE(RunTame({cofs, "cp", evil, missing + "/x/y"}).exit_code, 0);
  EXPECT_EQ(RunTame({cofs, "clone", evil, Path("c" + kEvil)}).exit_code, 0);
  EXPECT_NE(RunTame({cofs, "clone", missing, Path("d" + kEvil)}).exit_code, 0);
  EXPECT_EQ(RunTame({cofs, "map", evil}).exit_code, 0);
  for (const char* command : {"map", "stat", "top", "trim", "probe"})
    EXPECT_NE(RunTame({cofs, command, missing}).exit_code, 0) << command;
  EXPECT_NE(RunTame({cofs, "set", root(), kEvil + "=" + kEvil}).exit_code, 0);
  EXPECT_NE(RunTame({cofs, "set", missing, "copy=auto"}).exit_code, 0);
  // As a shell makes them of "*".
  EXPECT_NE(RunTame({cofs, "cp", "--" + kEvil, Path("to")}).exit_code, 0);
  EXPECT_NE(RunTame({cofs, kEvil}).exit_code, 0);
  const ProgramResult bar =
      RunProgram({cofs, "cp", "--progress=always", evil, Path("to/bar")});
  EXPECT_EQ(bar.err.find("\x1b[2J"), std::string::npos);
  EXPECT_EQ(bar.err.find('\x9b'), std::string::npos);
}

TEST_F(TerminalTest, ProgramsPrintNoControlsOfArguments) {
  const std::string missing = "/nonexistent/" + kEvil;
  EXPECT_NE(RunTame({Bin("mkfs.cofs"), missing}).exit_code, 0);
  EXPECT_NE(RunTame({Bin("mkfs.cofs"), "--" + kEvil}).exit_code, 0);
  EXPECT_NE(
      RunTame({Bin("mkfs.cofs"), "-L", std::string(30, 'l') + kEvil, missing}).exit_code,
      0);
  EXPECT_NE(RunTame({Bin("fsck.cofs"), "-n", missing}).exit_code, 0);
  EXPECT_NE(RunTame({Bin("fsck.cofs"), "-" + kEvil}).exit_code, 0);
  EXPECT_NE(RunTame({Bin("mount.cofs"), missing, root()}).exit_code, 0);
  EXPECT_NE(RunTame({Bin("mount.cofs"), "-o", kEvil, volume().image(), root()}).exit_code,
            0);
  EXPECT_NE(RunTame({Bin("mount.cofs"), "--" + kEvil}).exit_code, 0);
}

TEST_F(TerminalTest, CheckersPrintNoControlsOfNames) {
  const std::string evil = Path(kEvil);
  {
    const Fd fd = Open(evil, O_RDWR | O_CREAT);
    WriteAt(fd.get(), 0, std::string(20'000, 'e'));
    ASSERT_TRUE(Succeeds(fsync(fd.get())));
  }
  const std::string map = RunProgram({Bin("cofs"), "map", "--json", evil}).out;
  const size_t at = map.find("\"device_offset\": ");
  ASSERT_NE(at, std::string::npos) << map;
  const uint64_t place = std::stoull(map.substr(at + 17));
  volume().Unmount();
  const Fd image = Open(volume().image(), O_RDWR);
  const std::string before = ReadAt(image.get(), place, 1);
  WriteAt(image.get(), place, "X");
  const ProgramResult found =
      RunTame({Bin("fsck.cofs"), "-n", "--data", volume().image()});
  EXPECT_EQ(found.exit_code, 4);
  EXPECT_NE(found.out.find("data-checksum"), std::string::npos) << found.out;
  RunTame({Bin("fsck.cofs"), "-n", "--data", "--json", volume().image()});
  // The daemon says so too, when the file is read.
  volume().Mount();
  {
    const Fd fd(open(evil.c_str(), O_RDONLY | O_CLOEXEC));
    char byte;
    EXPECT_TRUE(FailsWith(read(fd.get(), &byte, 1), EIO));
  }
  volume().UnmountFailed();
  ExpectTame(ReadFile(volume().log_path()), "the daemon's log");
  WriteAt(image.get(), place, before);
}

}  // namespace
}  // namespace cofs
