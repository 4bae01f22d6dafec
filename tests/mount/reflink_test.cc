// cofs-reflink.so with the programs that it is for: cp, xfs_io, filefrag, qemu-img,
// duperemove. Every result is compared again after a remount, and by fsck.cofs.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <string>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kPart = 1 << 20;

std::string Library() {
  return std::filesystem::weakly_canonical(BinDirectory() + "/../lib/cofs-reflink.so");
}

ProgramResult RunWithLibrary(std::vector<std::string> argv, const RunOptions& options = {}) {
  argv.insert(argv.begin(), {"env", "LD_PRELOAD=" + Library()});
  return RunProgram(argv, options);
}

// Runs, and expects success.
std::string OutputOf(const std::vector<std::string>& argv) {
  const ProgramResult result = RunWithLibrary(argv);
  std::string command;
  for (const std::string& word : argv) command += word + " ";
  EXPECT_EQ(result.exit_code, 0) << command << result.out << result.err;
  return result.out + result.err;
}

bool HasProgram(const std::string& name) {
  return RunProgram({"sh", "-c", "command -v " + name}).exit_code == 0;
}

RunOptions AsOther() {
  RunOptions options;
  options.uid = kOrdinaryUser;
  return options;
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct Mode {
  const char* name;
  const char* options;
};

class ReflinkTest : public CofsMountTest, public ::testing::WithParamInterface<Mode> {
 protected:
  ReflinkTest() : CofsMountTest({.options = GetParam().options}) {}
  // The file as it is now, and after a remount.
  void Expect(const std::string& name, const std::string& data) {
    EXPECT_TRUE(SameBytes(ReadFile(Path(name)), data)) << name;
    expected_.emplace_back(name, data);
  }
  void TearDown() override {
    if (!IsSkipped() && !HasFatalFailure()) {
      Remount();
      for (const auto& [name, data] : expected_)
        EXPECT_TRUE(SameBytes(ReadFile(Path(name)), data)) << name << " after a remount";
    }
    CofsMountTest::TearDown();
  }
  // Bytes that others map too, as xfs_io's fiemap tells (flag 0x2000).
  uint64_t SharedBytes(const std::string& name) {
    std::istringstream lines(OutputOf({"xfs_io", "-r", "-c", "fiemap -v", Path(name)}));
    uint64_t sectors = 0;
    for (std::string line; std::getline(lines, line);) {
      unsigned long long number, first, last, from, to, total;
      unsigned flags = 0;
      if (std::sscanf(line.c_str(), " %llu: [%llu..%llu]: %llu..%llu %llu 0x%x", &number,
                      &first, &last, &from, &to, &total, &flags) == 7 &&
          (flags & 0x2000) != 0)
        sectors += total;
    }
    return sectors * 512;
  }

 private:
  std::vector<std::pair<std::string, std::string>> expected_;
};

INSTANTIATE_TEST_SUITE_P(Caches, ReflinkTest,
                         ::testing::Values(Mode{"WritebackCache", ""},
                                           Mode{"WriteThrough", "nowriteback_cache"}),
                         [](const auto& mode) { return std::string(mode.param.name); });

TEST_P(ReflinkTest, CpReflinkAlways) {
  const std::string data = Pattern(1, 0, 5 * kPart + 123);
  WriteFile(Path("a"), data);  // dirty yet
  ASSERT_NE(RunProgram({"cp", "--reflink=always", Path("a"), Path("b")}).exit_code, 0)
      << "the kernel does it by itself: the library is not needed any more";
  OutputOf({"cp", "--reflink=always", Path("a"), Path("b")});
  Expect("a", data);
  Expect("b", data);
  EXPECT_EQ(SharedBytes("a"), 5 * kPart + kBlock);
  EXPECT_EQ(SharedBytes("b"), 5 * kPart + kBlock);
  // Over a longer file, a tree, an empty file, one of nothing but a hole.
  WriteFile(Path("c"), Pattern(2, 0, 9 * kPart));
  OutputOf({"cp", "--reflink=always", Path("a"), Path("c")});
  Expect("c", data);
  MakeDirectory(Path("tree"));
  for (int i = 0; i < 20; ++i)
    WriteFile(Path("tree/" + std::to_string(i)), Pattern(3, 0, 1000u * static_cast<size_t>(i)));
  ASSERT_TRUE(Succeeds(truncate(Path("tree/0").c_str(), 3 * kPart)));
  OutputOf({"cp", "-a", "--reflink=always", Path("tree"), Path("tree2")});
  for (int i = 1; i < 20; ++i)
    Expect("tree2/" + std::to_string(i), Pattern(3, 0, 1000u * static_cast<size_t>(i)));
  Expect("tree2/0", std::string(3 * kPart, '\0'));
}

TEST_P(ReflinkTest, MappedDirtyPages) {
  const auto map = [](const Fd& fd, size_t length) {
    void* memory = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (memory == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    return static_cast<char*>(memory);
  };
  std::string a = Pattern(1, 0, 4 * kPart), b = Pattern(2, 0, 4 * kPart);
  WriteFile(Path("a"), a);
  WriteFile(Path("b"), b);
  {
    const Fd fd_a = Open(Path("a"), O_RDWR), fd_b = Open(Path("b"), O_RDWR);
    char* const map_a = map(fd_a, a.size());
    char* const map_b = map(fd_b, b.size());
    map_a[kPart + 1] = a[kPart + 1] = 'A';
    map_b[2] = b[2] = 'B';
    map_b[kPart + 2] = 'C';  // under the clone
    map_b[3 * kPart + 2] = b[3 * kPart + 2] = 'D';
    OutputOf({"xfs_io", "-c", "reflink " + Path("a") + " 1m 1m 2m", Path("b")});
    b.replace(kPart, 2 * kPart, a, kPart, 2 * kPart);
    EXPECT_TRUE(SameBytes({map_b, b.size()}, b));
    // Dirty again while shared: each keeps its own.
    map_a[kPart + 5] = a[kPart + 5] = 'E';
    map_b[kPart + 6] = b[kPart + 6] = 'F';
    munmap(map_a, a.size());
    munmap(map_b, b.size());
  }
  Expect("a", a);
  Expect("b", b);
}

// One extent; what others share of it is told apart, and no more once they are gone.
TEST_P(ReflinkTest, FiemapTellsWhichPartIsShared) {
  const std::string a = Pattern(1, 0, 4 * kPart);
  WriteFile(Path("a"), a);
  const std::string reflink = "reflink " + Path("a") + " ";
  OutputOf({"xfs_io", "-f", "-c", reflink + "1m 0 1m", Path("b")});
  EXPECT_EQ(SharedBytes("a"), kPart);
  EXPECT_EQ(SharedBytes("b"), kPart);
  OutputOf({"xfs_io", "-f", "-c", reflink + "3m 1m 1m", Path("b")});
  EXPECT_EQ(SharedBytes("a"), 2 * kPart);
  const std::string map = OutputOf({"xfs_io", "-r", "-c", "fiemap -v", Path("a")});
  EXPECT_TRUE(Contains(map, "1: [2048..4095]:") && Contains(map, "3: [6144..8191]:")) << map;
  ASSERT_EQ(truncate(Path("b").c_str(), 0), 0);
  EXPECT_EQ(SharedBytes("a"), 0u);
  Expect("a", a);
}

TEST_P(ReflinkTest, XfsIoDedupe) {
  const std::string a = Pattern(1, 0, 4 * kPart);
  std::string b = a;
  b[3 * kPart + 10] = static_cast<char>(b[3 * kPart + 10] ^ 1);
  WriteFile(Path("a"), a);
  WriteFile(Path("b"), b);  // dirty, both
  const std::string dedupe = "dedupe " + Path("a") + " ";
  EXPECT_TRUE(Contains(OutputOf({"xfs_io", "-c", dedupe + "0 0 2m", Path("b")}),
                       "deduped 2097152/2097152"));
  EXPECT_EQ(SharedBytes("b"), 2 * kPart);
  const ProgramResult differs =
      RunWithLibrary({"xfs_io", "-c", dedupe + "2m 2m 2m", Path("b")});
  EXPECT_TRUE(Contains(differs.out + differs.err, "did not match")) << differs.out << differs.err;
  // An end inside of a block is left out, and counted.
  EXPECT_TRUE(Contains(OutputOf({"xfs_io", "-c", dedupe + "0 0 5000", Path("b")}),
                       "deduped 5000/5000"));
  const ProgramResult odd = RunWithLibrary({"xfs_io", "-c", dedupe + "1 1 4k", Path("b")});
  EXPECT_TRUE(Contains(odd.out + odd.err, "Invalid argument")) << odd.out << odd.err;
  EXPECT_EQ(SharedBytes("b"), 2 * kPart);
  Expect("a", a);
  Expect("b", b);
}

TEST_P(ReflinkTest, UnshareGivesBlocksOfItsOwn) {
  const std::string a = Pattern(1, 0, 2 * kPart);
  WriteFile(Path("a"), a);
  OutputOf({"cp", "--reflink=always", Path("a"), Path("b")});
  OutputOf({"xfs_io", "-c", "funshare 0 1m", Path("b")});
  EXPECT_EQ(SharedBytes("b"), kPart);
  OutputOf({"fallocate", "-l", "3m", Path("b")});  // other modes are left alone
  Expect("a", a);
  Expect("b", a + std::string(kPart, '\0'));
}

// Dirty pages before, behind and in the range; cached ones; a mapping that stays.
TEST_P(ReflinkTest, CollapseAndInsertMoveWhatLiesBehind) {
  std::string model = Pattern(1, 0, 2 * kPart + 100);
  WriteFile(Path("a"), model);
  const Fd file = Open(Path("a"), O_RDWR);
  void* mapped = mmap(nullptr, 2 * kPart, PROT_READ, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  const auto* seen = static_cast<const char*>(mapped);
  ASSERT_EQ(seen[kPart], model[kPart]);
  for (const uint64_t at : {uint64_t{10}, 5 * kBlock + 7, kPart + 33}) {
    WriteAt(file.get(), at, "dirty");
    model.replace(at, 5, "dirty");
  }
  OutputOf({"xfs_io", "-c", "fcollapse 16k 64k", Path("a")});
  model.erase(4 * kBlock, 16 * kBlock);
  EXPECT_EQ(std::string_view(seen, kPart), std::string_view(model).substr(0, kPart));
  EXPECT_EQ(ReadFile(Path("a")), model);
  WriteAt(file.get(), 8 * kBlock + 1, "again");
  model.replace(8 * kBlock + 1, 5, "again");
  OutputOf({"fallocate", "-i", "-o", "8k", "-l", "1m", Path("a")});
  model.insert(2 * kBlock, kPart, '\0');
  EXPECT_EQ(std::string_view(seen, kPart), std::string_view(model).substr(0, kPart));
  ASSERT_EQ(munmap(mapped, 2 * kPart), 0);
  EXPECT_EQ(ReadFile(Path("a")), model);
  for (const char* refused : {"fcollapse 1 4k", "fcollapse 0 1g", "finsert 1g 4k"}) {
    const ProgramResult result = RunWithLibrary({"xfs_io", "-c", refused, Path("a")});
    EXPECT_TRUE(Contains(result.out + result.err, "Invalid argument")) << refused;
  }
  // Larger than the caller may make it: nothing has changed.
  const ProgramResult large = RunWithLibrary(
      {"sh", "-c", "ulimit -f 4000; trap '' XFSZ; exec fallocate -i -o 8k -l 8m " + Path("a")});
  EXPECT_TRUE(Contains(large.err, "File too large")) << large.err;
  Expect("a", model);
}

TEST_P(ReflinkTest, FiemapAndFilefrag) {
  const std::string data = Pattern(1, 0, 2 * kPart);
  {
    const Fd file = Open(Path("a"), O_RDWR | O_CREAT);
    WriteAt(file.get(), 0, data);
    ASSERT_TRUE(Succeeds(fallocate(file.get(), 0, 4 * kPart, kPart)));
    ASSERT_TRUE(Succeeds(ftruncate(file.get(), 8 * kPart)));
  }
  const std::string all = OutputOf({"xfs_io", "-r", "-c", "fiemap -v", Path("a")});
  EXPECT_TRUE(Contains(all, "0: [0..4095]:")) << all;
  EXPECT_TRUE(Contains(all, "1: [4096..8191]:")) << all;
  EXPECT_TRUE(Contains(all, "hole")) << all;
  EXPECT_TRUE(Contains(all, "0x801")) << "an unwritten extent, the last: " << all;
  const std::string frag = OutputOf({"filefrag", "-v", Path("a")});
  EXPECT_TRUE(Contains(frag, "last,unwritten")) << frag;
  // More extents than one answer of the daemon holds.
  std::string model(2000 * kBlock, '\0');
  {
    const Fd file = Open(Path("b"), O_RDWR | O_CREAT);
    for (uint64_t i = 0; i < 1000; ++i) {
      const std::string block = Pattern(i, 0, kBlock);
      WriteAt(file.get(), 2 * i * kBlock, block);
      model.replace(2 * i * kBlock, kBlock, block);
    }
    ASSERT_TRUE(Succeeds(ftruncate(file.get(), 2000 * kBlock)));
  }
  const std::string many = OutputOf({"filefrag", "-s", "-v", Path("b")});
  EXPECT_TRUE(Contains(many, "\n 999: ")) << many;
  EXPECT_FALSE(Contains(many, "\n1000: ")) << many;
  EXPECT_TRUE(Contains(many.substr(many.find("\n 999: ")), "last")) << many;
  Expect("a", data + std::string(6 * kPart, '\0'));
  Expect("b", model);
}

TEST_P(ReflinkTest, QemuImg) {
  if (!HasProgram("qemu-img")) GTEST_SKIP() << "qemu-img is not installed (qemu-utils)";
  const std::string data = Pattern(1, 0, 8 * kPart);
  WriteFile(Path("a.raw"), data);
  OutputOf({"qemu-img", "create", "-f", "qcow2", Path("new.qcow2"), "1G"});
  OutputOf({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", Path("a.raw"), Path("a.qcow2")});
  // -C: by copy_file_range.
  OutputOf({"qemu-img", "convert", "-C", "-f", "qcow2", "-O", "raw", Path("a.qcow2"),
            Path("b.raw")});
  OutputOf({"cp", "--reflink=always", Path("a.qcow2"), Path("b.qcow2")});
  OutputOf({"qemu-img", "compare", Path("a.raw"), Path("b.qcow2")});
  OutputOf({"qemu-img", "check", Path("b.qcow2")});
  OutputOf({"qemu-img", "map", Path("b.qcow2")});
  Expect("a.raw", data);
  Expect("b.raw", data);
}

TEST_P(ReflinkTest, Duperemove) {
  if (!HasProgram("duperemove")) GTEST_SKIP() << "duperemove is not installed";
  const std::string a = Pattern(1, 0, 4 * kPart), b = Pattern(2, 0, kPart) + a;
  WriteFile(Path("a"), a);
  WriteFile(Path("a2"), a);
  WriteFile(Path("b"), b);
  const ProgramResult result = RunWithLibrary(
      {"duperemove", "-d", "-r", "-b", "128k", "--io-threads=1", "--cpu-threads=1", root()});
  Expect("a", a);
  Expect("a2", a);
  Expect("b", b);
  if (Contains(result.out + result.err, "Can only dedupe files on btrfs or xfs"))
    GTEST_SKIP() << "this duperemove works on btrfs and xfs alone, by the type of the file "
                    "system: nothing of cofs was tried";
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_EQ(SharedBytes("a2"), 4 * kPart);
}

TEST_P(ReflinkTest, RightsAreThoseOfTheDescriptors) {
  const std::string secret = Pattern(1, 0, kPart);
  WriteFile(Path("secret"), secret);
  ASSERT_TRUE(Succeeds(chmod(Path("secret").c_str(), 0622)));  // others may write, not read
  ASSERT_TRUE(Succeeds(chmod(root().c_str(), 0777)));
  // A descriptor of the secret that is open for writing only: no source.
  const std::string script = "exec 3>>" + Path("secret") + "; exec 4<>" + Path("mine") +
                             "; python3 -c 'import fcntl; fcntl.ioctl(4, 0x40049409, 3)'";
  const ProgramResult result = RunWithLibrary({"sh", "-c", script}, AsOther());
  EXPECT_NE(result.exit_code, 0);
  EXPECT_TRUE(Contains(result.err, "Bad file descriptor")) << result.err;
  EXPECT_EQ(Stat(Path("mine")).st_size, 0);
  const ProgramResult denied = RunWithLibrary(
      {"cp", "--reflink=always", Path("secret"), Path("mine")}, AsOther());
  EXPECT_TRUE(Contains(denied.err, "Permission denied")) << denied.err;
  // The control: one's own file.
  const ProgramResult own = RunWithLibrary(
      {"sh", "-c", "echo text >" + Path("own") + " && cp --reflink=always " + Path("own") +
                       " " + Path("own2")},
      AsOther());
  EXPECT_EQ(own.exit_code, 0) << own.err;
  Expect("own2", "text\n");
  Expect("secret", secret);
}

TEST_P(ReflinkTest, OtherFileSystemsAreLeftAlone) {
  const ScratchDirectory elsewhere;
  const std::string a = elsewhere.path() + "/a", b = elsewhere.path() + "/b";
  WriteFile(a, Pattern(1, 0, 100000));
  const std::vector<std::vector<std::string>> commands = {
      {"cp", "--reflink=always", a, b},
      {"cp", "--reflink=auto", a, b},
      {"xfs_io", "-c", "reflink " + a + " 0 0 4k", b},
      {"xfs_io", "-c", "dedupe " + a + " 0 0 4k", b},
      {"xfs_io", "-c", "funshare 0 4k", b},
      {"xfs_io", "-r", "-c", "fiemap", a},
      {"cp", "--reflink=always", a, Path("c")},
  };
  for (const auto& command : commands) {
    const ProgramResult plain = RunProgram(command);
    const ProgramResult with = RunWithLibrary(command);
    EXPECT_EQ(plain.exit_code, with.exit_code) << command[2];
    EXPECT_EQ(plain.out, with.out) << command[2];
    EXPECT_EQ(plain.err, with.err) << command[2];
  }
  EXPECT_TRUE(SameBytes(ReadFile(b), Pattern(1, 0, 100000)));
}

}  // namespace
}  // namespace cofs
