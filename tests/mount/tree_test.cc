// Trees of real files, and many writers at once.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"
#include "tests/mount/tree_snapshot.h"

namespace cofs {
namespace {

namespace filesystem = std::filesystem;

class TreeTest : public MountTest {
 protected:
  // Directories that every machine has, as they are, until there is enough of them.
  static std::vector<filesystem::path> SourceTrees() {
    constexpr uint64_t kFilesMax = 3000, kBytesMax = 100 << 20;
    uint64_t files = 0, bytes = 0;
    std::vector<filesystem::path> trees;
    for (const char* parent : {"/usr/include", "/usr/share/doc", "/usr/lib/python3"}) {
      if (!filesystem::is_directory(parent)) continue;
      for (const auto& tree : filesystem::directory_iterator(parent)) {
        if (tree.is_symlink() || !tree.is_directory()) continue;
        uint64_t tree_files = 0, tree_bytes = 0;
        for (const auto& entry : filesystem::recursive_directory_iterator(tree)) {
          ++tree_files;
          if (!entry.is_symlink() && entry.is_regular_file()) tree_bytes += entry.file_size();
        }
        if (files + tree_files > kFilesMax || bytes + tree_bytes > kBytesMax) continue;
        files += tree_files;
        bytes += tree_bytes;
        trees.push_back(tree);
      }
    }
    if (files < 100) throw std::runtime_error("no trees to copy");
    return trees;
  }
  // Makes a tree by itself: what the system's trees lack.
  void MakeOddTree(const std::string& top) {
    MakeDirectory(top);
    std::mt19937_64 random(Seed());
    for (int i = 0; i < 12; ++i) {
      const std::string directory = top + "/directory" + std::to_string(i);
      MakeDirectory(directory);
      for (int k = 0; k < 40; ++k) {
        const std::string path = directory + "/file" + std::to_string(k);
        WriteFile(path, Pattern(random(), 0, random() % (k == 0 ? 2000000 : 30000)));
        ASSERT_TRUE(Succeeds(chmod(path.c_str(), 0600 | (random() & 077))));
        if (k % 9 == 0) {
          ASSERT_TRUE(Succeeds(chown(path.c_str(), 1000 + static_cast<uid_t>(k), 100)));
          ASSERT_TRUE(Succeeds(setxattr(path.c_str(), "user.note", &k, sizeof k, 0)));
        }
        if (k % 10 == 1) {
          ASSERT_TRUE(Succeeds(link(path.c_str(), (directory + "/hard" + std::to_string(k)).c_str())));
        }
        if (k % 10 == 2) {
          ASSERT_TRUE(Succeeds(symlink(("../directory0/file" + std::to_string(k)).c_str(),
                                       (directory + "/soft" + std::to_string(k)).c_str())));
        }
      }
      ASSERT_TRUE(Succeeds(mkfifo((directory + "/fifo").c_str(), 0640)));
      const timespec times[2] = {{1000000000 + i, 5}, {1200000000 + i, 123456789}};
      ASSERT_TRUE(Succeeds(utimensat(AT_FDCWD, directory.c_str(), times, 0)));
    }
  }
};

TEST_F(TreeTest, CopiedTreesComeBackAfterARemount) {
  MakeDirectory(Path("copy"));
  std::map<std::string, TreeSnapshot> expected;
  std::vector<std::string> command = {"cp", "-a"};
  for (const filesystem::path& tree : SourceTrees()) {
    expected[tree.filename()] = TakeSnapshot(tree);
    command.push_back(tree);
  }
  command.push_back(Path("copy"));
  const auto compare = [&](const std::string& parent) {
    for (const auto& [name, snapshot] : expected)
      EXPECT_EQ(DifferenceOf(TakeSnapshot(Path(parent + "/" + name)), snapshot), "") << name;
  };
  const ProgramResult copied = RunProgram(command);
  ASSERT_EQ(copied.exit_code, 0) << copied.err;
  compare("copy");
  Remount();
  compare("copy");
  // Copied within the volume, compared by another program, then all of it removed.
  ASSERT_EQ(RunProgram({"cp", "-a", Path("copy"), Path("second")}).exit_code, 0);
  const ProgramResult same = RunProgram({"diff", "-r", "--no-dereference", Path("copy"), Path("second")});
  EXPECT_EQ(same.exit_code, 0) << same.out.substr(0, 2000);
  compare("second");
  ASSERT_EQ(RunProgram({"rm", "-rf", Path("copy"), Path("second")}).exit_code, 0);
  EXPECT_EQ(ListDirectory(root()).size(), 0u);
}

TEST_F(TreeTest, LinksOwnersTimesAndAttributesSurvive) {
  MakeOddTree(Path("made"));
  const TreeSnapshot before = TakeSnapshot(Path("made"));
  Remount();
  EXPECT_EQ(DifferenceOf(TakeSnapshot(Path("made")), before), "");
  const ProgramResult copied = RunProgram({"cp", "-a", Path("made"), Path("copy")});
  ASSERT_EQ(copied.exit_code, 0) << copied.err;
  EXPECT_EQ(DifferenceOf(TakeSnapshot(Path("copy")), before), "");
  // Through tar and back.
  const ProgramResult packed = RunProgram({"tar", "--xattrs", "-C", Path("made"), "-cf",
                                    Path("made.tar"), "."});
  ASSERT_EQ(packed.exit_code, 0) << packed.err;
  MakeDirectory(Path("unpacked"));
  ASSERT_EQ(RunProgram({"tar", "--xattrs", "-C", Path("unpacked"), "-xf", Path("made.tar")}).exit_code,
            0);
  SnapshotOptions options;
  options.times = false;  // tar keeps whole seconds
  EXPECT_EQ(DifferenceOf(TakeSnapshot(Path("unpacked"), options),
                         TakeSnapshot(Path("made"), options)),
            "");
  Remount();
  EXPECT_EQ(DifferenceOf(TakeSnapshot(Path("copy")), before), "");
}

TEST_F(TreeTest, ManyWritersOfManyFiles) {
  constexpr int kThreads = 8;
  const int files = UnderSanitizer() ? 100 : 400;
  const auto size = [](int thread, int file) {
    return static_cast<size_t>((thread * 7919 + file * 104729) % 60000);
  };
  const auto seed = [](int thread, int file) {
    return static_cast<uint64_t>(thread * 100000 + file);
  };
  InThreads(kThreads, [&](int thread) {
    // Half of the threads share a directory, the others have one of their own.
    const std::string directory = thread % 2 ? Path("own" + std::to_string(thread))
                                             : Path("shared");
    mkdir(directory.c_str(), 0755);
    const std::string prefix = directory + "/" + std::to_string(thread) + "-";
    for (int file = 0; file < files; ++file) {
      const std::string name = prefix + std::to_string(file);
      WriteFile(name + ".new", Pattern(seed(thread, file), 0, size(thread, file)));
      ASSERT_TRUE(Succeeds(rename((name + ".new").c_str(), name.c_str())));
      if (file % 3 == 0) {
        ASSERT_TRUE(Succeeds(unlink(name.c_str())));
      }
    }
  });
  Remount();
  for (int thread = 0; thread < kThreads; ++thread) {
    const std::string directory = thread % 2 ? Path("own" + std::to_string(thread))
                                             : Path("shared");
    for (int file = 0; file < files; ++file) {
      const std::string name =
          directory + "/" + std::to_string(thread) + "-" + std::to_string(file);
      ASSERT_EQ(Exists(name), file % 3 != 0) << name;
      if (file % 3 == 0) continue;
      ASSERT_TRUE(SameBytes(ReadFile(name),
                            Pattern(seed(thread, file), 0, size(thread, file))))
          << name;
    }
  }
}

TEST_F(TreeTest, OneFileWrittenByManyThreads) {
  constexpr int kThreads = 8;
  constexpr size_t kPiece = 64 << 10;
  const size_t pieces = UnderSanitizer() ? 80 : 400;
  for (const char* way : {"buffered", "direct", "mixed"}) {
    { const Fd made = Open(Path(way), O_WRONLY | O_CREAT); }
    InThreads(kThreads, [&](int thread) {
      const bool direct =
          way == std::string("direct") || (way == std::string("mixed") && thread % 2);
      const Fd fd = Open(Path(way), O_RDWR | (direct ? O_DIRECT : 0));
      // Interleaved pieces, so that neighbours have different writers.
      for (size_t piece = static_cast<size_t>(thread); piece < pieces; piece += kThreads) {
        const std::string data = Pattern(5, piece * kPiece, kPiece);
        const AlignedBuffer buffer = AlignedCopy(data);
        WriteAt(fd.get(), piece * kPiece, {buffer.data(), kPiece});
      }
    });
    const std::string expected = Pattern(5, 0, pieces * kPiece);
    EXPECT_TRUE(SameBytes(ReadFile(Path(way)), expected)) << way;
  }
  Remount();
  for (const char* way : {"buffered", "direct", "mixed"})
    EXPECT_TRUE(SameBytes(ReadFileDirect(Path(way)), Pattern(5, 0, pieces * kPiece))) << way;
}

TEST_F(TreeTest, TreesMoveWhileOthersWalkThem) {
  MakeDirectory(Path("a"));
  MakeDirectory(Path("b"));
  for (int i = 0; i < 50; ++i) {
    MakeDirectory(Path("a/" + std::to_string(i)));
    WriteFile(Path("a/" + std::to_string(i) + "/file"), std::to_string(i));
  }
  std::atomic<bool> done{false};
  InThreads(4, [&](int thread) {
    if (thread == 0) {
      for (int round = 0; round < 10; ++round) {
        for (int i = 0; i < 50; ++i) {
          const std::string name = std::to_string(i);
          const bool forth = round % 2 == 0;
          ASSERT_TRUE(Succeeds(rename(Path((forth ? "a/" : "b/") + name).c_str(),
                                      Path((forth ? "b/" : "a/") + name).c_str())));
        }
      }
      done = true;
      return;
    }
    while (!done) {
      for (int i = 0; i < 50; ++i) {
        for (const char* side : {"a/", "b/"}) {
          const Fd fd(open(Path(side + std::to_string(i) + "/file").c_str(),
                           O_RDONLY | O_CLOEXEC));
          if (!fd.valid()) {
            ASSERT_EQ(errno, ENOENT);
            continue;
          }
          ASSERT_EQ(ReadAt(fd.get(), 0, 10), std::to_string(i));
        }
      }
    }
  });
  EXPECT_EQ(ListDirectory(Path("a")).size(), 50u);
  EXPECT_EQ(ListDirectory(Path("b")).size(), 0u);
}

}  // namespace
}  // namespace cofs
