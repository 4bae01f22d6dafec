// Names: creating, finding, linking, renaming and removing them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

namespace cofs {
namespace {

int RenameAt2(const std::string& from, const std::string& to, unsigned flags) {
  return static_cast<int>(
      syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
}

int Rename(const std::string& from, const std::string& to) {
  return rename(from.c_str(), to.c_str());
}

class PosixNamesTest : public MountTest {};

TEST_F(PosixNamesTest, OfEveryLength) {
  for (size_t length = 1; length <= 255; ++length)
    WriteFile(Path(std::string(length, 'n')), std::to_string(length));
  Remount();
  EXPECT_EQ(ListDirectory(root()).size(), 255u);
  for (size_t length = 1; length <= 255; ++length)
    EXPECT_EQ(ReadFile(Path(std::string(length, 'n'))), std::to_string(length));
}

TEST_F(PosixNamesTest, OverLongNamesAreRefusedEverywhere) {
  const std::string name = Path(std::string(256, 'n')), file = Path("file");
  WriteFile(file, "x");
  EXPECT_TRUE(FailsWith(open(name.c_str(), O_CREAT | O_WRONLY, 0644), ENAMETOOLONG));
  EXPECT_TRUE(FailsWith(open(name.c_str(), O_RDONLY), ENAMETOOLONG));
  EXPECT_TRUE(FailsWith(access(name.c_str(), F_OK), ENAMETOOLONG));
  EXPECT_TRUE(FailsWith(mkdir(name.c_str(), 0755), ENAMETOOLONG));
  EXPECT_TRUE(FailsWith(mknod(name.c_str(), S_IFIFO | 0644, 0), ENAMETOOLONG));
  EXPECT_TRUE(FailsWith(symlink("target", name.c_str()), ENAMETOOLONG));
  EXPECT_TRUE(FailsWith(link(file.c_str(), name.c_str()), ENAMETOOLONG));
  EXPECT_TRUE(FailsWith(Rename(file, name), ENAMETOOLONG));
  EXPECT_TRUE(FailsWith(Rename(name, file), ENAMETOOLONG));
  EXPECT_TRUE(FailsWith(RenameAt2(file, name, RENAME_EXCHANGE), ENAMETOOLONG));
  EXPECT_TRUE(FailsWith(unlink(name.c_str()), ENAMETOOLONG));
  EXPECT_TRUE(FailsWith(rmdir(name.c_str()), ENAMETOOLONG));
  EXPECT_EQ(ListDirectory(root()), std::vector<std::string>{"file"});
}

TEST_F(PosixNamesTest, OfEveryByte) {
  for (int byte = 1; byte < 256; ++byte) {
    if (byte == '/') continue;
    const std::string name = std::string("x") + static_cast<char>(byte);
    WriteFile(Path(name), std::to_string(byte));
  }
  Remount();
  for (int byte = 1; byte < 256; ++byte) {
    if (byte == '/') continue;
    const std::string name = std::string("x") + static_cast<char>(byte);
    EXPECT_EQ(ReadFile(Path(name)), std::to_string(byte));
  }
}

TEST_F(PosixNamesTest, MissingAndWrongKinds) {
  WriteFile(Path("file"), "x");
  MakeDirectory(Path("directory"));
  EXPECT_TRUE(FailsWith(unlink(Path("none").c_str()), ENOENT));
  EXPECT_TRUE(FailsWith(rmdir(Path("none").c_str()), ENOENT));
  EXPECT_TRUE(FailsWith(unlink(Path("directory").c_str()), EISDIR));
  EXPECT_TRUE(FailsWith(rmdir(Path("file").c_str()), ENOTDIR));
  EXPECT_TRUE(FailsWith(mkdir(Path("file").c_str(), 0755), EEXIST));
  EXPECT_TRUE(FailsWith(access(Path("file/below").c_str(), F_OK), ENOTDIR));
  EXPECT_TRUE(FailsWith(open(Path("file").c_str(), O_CREAT | O_EXCL | O_RDWR, 0644), EEXIST));
  EXPECT_TRUE(FailsWith(open(Path("directory").c_str(), O_WRONLY), EISDIR));
  WriteFile(Path("directory/inner"), "x");
  EXPECT_TRUE(FailsWith(rmdir(Path("directory").c_str()), ENOTEMPTY));
  EXPECT_TRUE(FailsWith(rmdir(Path("directory/.").c_str()), EINVAL));
}

TEST_F(PosixNamesTest, SymbolicLinksOfEveryLength) {
  std::vector<size_t> lengths = {1, 59, 60, 255, 256, 1000, 2048, 4094, 4095};
  if (!OnCofs()) lengths.resize(6);  // XFS ends at 1023
  for (const size_t length : lengths) {
    const std::string target(length, 't');
    ASSERT_TRUE(Succeeds(symlink(target.c_str(), Path(std::to_string(length)).c_str())))
        << length;
  }
  EXPECT_TRUE(
      FailsWith(symlink(std::string(4096, 't').c_str(), Path("long").c_str()), ENAMETOOLONG));
  EXPECT_TRUE(FailsWith(symlink("", Path("empty").c_str()), ENOENT));
  Remount();
  for (const size_t length : lengths) {
    const std::string path = Path(std::to_string(length));
    char target[5000];
    ASSERT_EQ(readlink(path.c_str(), target, sizeof target), static_cast<ssize_t>(length));
    EXPECT_EQ(std::string(target, length), std::string(length, 't'));
    EXPECT_EQ(Stat(path).st_size, static_cast<off_t>(length));
    EXPECT_TRUE(S_ISLNK(Stat(path).st_mode));
  }
}

TEST_F(PosixNamesTest, SymbolicLinksAreFollowed) {
  MakeDirectory(Path("directory"));
  WriteFile(Path("directory/file"), "through the link");
  ASSERT_TRUE(Succeeds(symlink("directory/file", Path("link").c_str())));
  ASSERT_TRUE(Succeeds(symlink("loop", Path("loop").c_str())));
  EXPECT_EQ(ReadFile(Path("link")), "through the link");
  EXPECT_TRUE(FailsWith(open(Path("loop").c_str(), O_RDONLY), ELOOP));
  EXPECT_TRUE(FailsWith(open(Path("link").c_str(), O_RDONLY | O_NOFOLLOW), ELOOP));
}

TEST_F(PosixNamesTest, HardLinksShareOneInode) {
  WriteFile(Path("a"), "one");
  MakeDirectory(Path("directory"));
  for (int i = 0; i < 100; ++i) {
    const std::string name = Path("directory/" + std::to_string(i));
    ASSERT_TRUE(Succeeds(link(Path("a").c_str(), name.c_str())));
  }
  EXPECT_EQ(Stat(Path("a")).st_nlink, 101u);
  WriteFile(Path("directory/50"), "two");
  Remount();
  EXPECT_EQ(ReadFile(Path("a")), "two");
  EXPECT_EQ(Stat(Path("a")).st_nlink, 101u);
  EXPECT_EQ(Stat(Path("a")).st_ino, Stat(Path("directory/99")).st_ino);
  ASSERT_TRUE(Succeeds(unlink(Path("a").c_str())));
  for (int i = 0; i < 99; ++i)
    ASSERT_TRUE(Succeeds(unlink(Path("directory/" + std::to_string(i)).c_str())));
  EXPECT_EQ(Stat(Path("directory/99")).st_nlink, 1u);
  EXPECT_EQ(ReadFile(Path("directory/99")), "two");
  EXPECT_TRUE(FailsWith(link(Path("directory").c_str(), Path("b").c_str()), EPERM));
  EXPECT_TRUE(FailsWith(link(Path("directory/99").c_str(), Path("directory").c_str()), EEXIST));
  EXPECT_TRUE(FailsWith(link(Path("none").c_str(), Path("b").c_str()), ENOENT));
}

TEST_F(PosixNamesTest, RenameOverAFile) {
  WriteFile(Path("a"), "a");
  WriteFile(Path("b"), "b");
  const ino_t inode = Stat(Path("a")).st_ino;
  const Fd replaced = Open(Path("b"), O_RDONLY);
  ASSERT_TRUE(Succeeds(Rename(Path("a"), Path("b"))));
  EXPECT_FALSE(Exists(Path("a")));
  EXPECT_EQ(Stat(Path("b")).st_ino, inode);
  EXPECT_EQ(ReadFile(Path("b")), "a");
  EXPECT_EQ(ReadAt(replaced.get(), 0, 10), "b");
  EXPECT_EQ(Stat(replaced.get()).st_nlink, 0u);
}

TEST_F(PosixNamesTest, RenameOfTwoNamesOfOneFileDoesNothing) {
  WriteFile(Path("a"), "a");
  ASSERT_TRUE(Succeeds(link(Path("a").c_str(), Path("b").c_str())));
  ASSERT_TRUE(Succeeds(Rename(Path("a"), Path("b"))));
  EXPECT_TRUE(Exists(Path("a")));
  EXPECT_EQ(Stat(Path("b")).st_nlink, 2u);
  ASSERT_TRUE(Succeeds(Rename(Path("a"), Path("a"))));
  EXPECT_EQ(Stat(Path("a")).st_nlink, 2u);
}

TEST_F(PosixNamesTest, RenameOfKindsOverEachOther) {
  WriteFile(Path("file"), "x");
  MakeDirectory(Path("empty"));
  MakeDirectory(Path("full"));
  WriteFile(Path("full/file"), "x");
  MakeDirectory(Path("moved"));
  EXPECT_TRUE(FailsWith(Rename(Path("file"), Path("empty")), EISDIR));
  EXPECT_TRUE(FailsWith(Rename(Path("empty"), Path("file")), ENOTDIR));
  EXPECT_LT(Rename(Path("moved"), Path("full")), 0);
  EXPECT_TRUE(errno == ENOTEMPTY || (errno == EEXIST && !OnCofs())) << strerror(errno);
  EXPECT_TRUE(FailsWith(Rename(Path("none"), Path("file")), ENOENT));
  EXPECT_TRUE(FailsWith(Rename(Path("full"), Path("full/below")), EINVAL));
  EXPECT_TRUE(FailsWith(Rename(Path("full/file"), Path("none/file")), ENOENT));
  ASSERT_TRUE(Succeeds(Rename(Path("full"), Path("empty"))));
  EXPECT_EQ(ListDirectory(Path("empty")), std::vector<std::string>{"file"});
  EXPECT_FALSE(Exists(Path("full")));
  EXPECT_TRUE(Exists(Path("moved")));
}

TEST_F(PosixNamesTest, RenameOfADirectoryMovesItsParent) {
  MakeDirectory(Path("a"));
  MakeDirectory(Path("b"));
  MakeDirectory(Path("a/moved"));
  WriteFile(Path("a/moved/file"), "x");
  EXPECT_EQ(Stat(Path("a")).st_nlink, 3u);
  ASSERT_TRUE(Succeeds(Rename(Path("a/moved"), Path("b/moved"))));
  EXPECT_EQ(Stat(Path("a")).st_nlink, 2u);
  EXPECT_EQ(Stat(Path("b")).st_nlink, 3u);
  Remount();
  EXPECT_EQ(Stat(Path("b/moved/..")).st_ino, Stat(Path("b")).st_ino);
  EXPECT_TRUE(FailsWith(Rename(Path("b"), Path("b/moved/inside")), EINVAL));
  EXPECT_TRUE(FailsWith(Rename(Path("b/moved/file"), Path("b")), ENOTEMPTY));
  EXPECT_TRUE(FailsWith(Rename(Path("b/moved"), Path("b")), ENOTEMPTY));
}

TEST_F(PosixNamesTest, RenameWithoutReplacing) {
  WriteFile(Path("a"), "a");
  WriteFile(Path("b"), "b");
  EXPECT_TRUE(FailsWith(RenameAt2(Path("a"), Path("b"), RENAME_NOREPLACE), EEXIST));
  EXPECT_EQ(ReadFile(Path("b")), "b");
  ASSERT_TRUE(Succeeds(RenameAt2(Path("a"), Path("c"), RENAME_NOREPLACE)));
  EXPECT_EQ(ReadFile(Path("c")), "a");
  EXPECT_TRUE(FailsWith(
      RenameAt2(Path("b"), Path("c"), RENAME_NOREPLACE | RENAME_EXCHANGE), EINVAL));
}

TEST_F(PosixNamesTest, RenameExchanges) {
  MakeDirectory(Path("one"));
  MakeDirectory(Path("one/directory"));
  WriteFile(Path("one/directory/inside"), "x");
  MakeDirectory(Path("two"));
  WriteFile(Path("two/file"), "contents");
  EXPECT_TRUE(FailsWith(RenameAt2(Path("one"), Path("none"), RENAME_EXCHANGE), ENOENT));
  EXPECT_TRUE(FailsWith(RenameAt2(Path("one"), Path("one/directory"), RENAME_EXCHANGE), EINVAL));
  ASSERT_TRUE(
      Succeeds(RenameAt2(Path("one/directory"), Path("two/file"), RENAME_EXCHANGE)));
  Remount();
  EXPECT_EQ(ReadFile(Path("one/directory")), "contents");
  EXPECT_EQ(ReadFile(Path("two/file/inside")), "x");
  EXPECT_EQ(Stat(Path("two/file/..")).st_ino, Stat(Path("two")).st_ino);
  EXPECT_EQ(Stat(Path("one")).st_nlink, 2u);
  EXPECT_EQ(Stat(Path("two")).st_nlink, 3u);
  // Of two directories, and of a file with itself.
  ASSERT_TRUE(Succeeds(RenameAt2(Path("one"), Path("two"), RENAME_EXCHANGE)));
  EXPECT_EQ(ReadFile(Path("two/directory")), "contents");
  ASSERT_TRUE(Succeeds(RenameAt2(Path("two/directory"), Path("two/directory"), RENAME_EXCHANGE)));
}

TEST_F(PosixNamesTest, LinkCountsOfDirectories) {
  const nlink_t before = Stat(root()).st_nlink;
  MakeDirectory(Path("a"));
  EXPECT_EQ(Stat(root()).st_nlink, before + 1);
  MakeDirectory(Path("a/b"));
  MakeDirectory(Path("a/c"));
  EXPECT_EQ(Stat(Path("a")).st_nlink, 4u);
  ASSERT_TRUE(Succeeds(rmdir(Path("a/b").c_str())));
  EXPECT_EQ(Stat(Path("a")).st_nlink, 3u);
  ASSERT_TRUE(Succeeds(Rename(Path("a/c"), Path("c"))));
  EXPECT_EQ(Stat(Path("a")).st_nlink, 2u);
  EXPECT_EQ(Stat(root()).st_nlink, before + 2);
}

TEST_F(PosixNamesTest, DeepPaths) {
  // 120 levels with names of 200 bytes are beyond PATH_MAX: go down by openat.
  const std::string name(200, 'd');
  Fd directory = Open(root(), O_RDONLY | O_DIRECTORY);
  for (int level = 0; level < 120; ++level) {
    ASSERT_TRUE(Succeeds(mkdirat(directory.get(), name.c_str(), 0755)));
    directory = Fd(openat(directory.get(), name.c_str(), O_RDONLY | O_DIRECTORY));
    ASSERT_TRUE(directory.valid());
  }
  const Fd file(openat(directory.get(), "file", O_RDWR | O_CREAT, 0644));
  WriteAt(file.get(), 0, "deep");
  for (int level = 0; level < 120; ++level) {
    directory = Fd(openat(directory.get(), "..", O_RDONLY | O_DIRECTORY));
    ASSERT_TRUE(directory.valid()) << level;
  }
  EXPECT_EQ(Stat(directory.get()).st_ino, Stat(root()).st_ino);
  RemoveTree(Path(name));
  EXPECT_EQ(ListDirectory(root()).size(), 0u);
}

TEST_F(PosixNamesTest, AWorkingDirectoryThatIsGone) {
  MakeDirectory(Path("a"));
  const Fd directory = Open(Path("a"), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(Succeeds(rmdir(Path("a").c_str())));
  EXPECT_EQ(Stat(directory.get()).st_nlink, 0u);
  EXPECT_TRUE(FailsWith(openat(directory.get(), "file", O_CREAT | O_WRONLY, 0644), ENOENT));
  EXPECT_TRUE(FailsWith(mkdirat(directory.get(), "b", 0755), ENOENT));
  EXPECT_TRUE(FailsWith(faccessat(directory.get(), "file", F_OK, 0), ENOENT));
}

TEST_F(PosixNamesTest, AHundredTemporaryRenames) {
  // How editors save: write a new file, rename it over the old one.
  for (int round = 0; round < 100; ++round) {
    WriteFile(Path("saved.tmp"), "round " + std::to_string(round));
    ASSERT_TRUE(Succeeds(Rename(Path("saved.tmp"), Path("saved"))));
    EXPECT_EQ(ReadFile(Path("saved")), "round " + std::to_string(round));
  }
  Remount();
  EXPECT_EQ(ReadFile(Path("saved")), "round 99");
  EXPECT_EQ(ListDirectory(root()), std::vector<std::string>{"saved"});
}

TEST_F(PosixNamesTest, CreateAndRemoveInParallel) {
  // Eight threads fight for the names of one directory: each exclusive creation has
  // one winner, each removal too.
  std::atomic<int> created{0}, removed{0};
  InThreads(8, [&](int) {
    for (int i = 0; i < 200; ++i) {
      const std::string path = Path("name" + std::to_string(i % 20));
      const Fd fd(open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
      if (fd.valid()) {
        ++created;
      } else {
        EXPECT_EQ(errno, EEXIST);
      }
      if (unlink(path.c_str()) == 0) {
        ++removed;
      } else {
        EXPECT_EQ(errno, ENOENT);
      }
    }
  });
  const int left = static_cast<int>(ListDirectory(root()).size());
  EXPECT_EQ(created - removed, left);
}

}  // namespace
}  // namespace cofs
