// Inodes: files without a name, times, modes, owners, special files.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <set>
#include <string>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

class PosixInodesTest : public MountTest {};

std::string ProcPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

bool operator==(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}
bool Before(const timespec& a, const timespec& b) {
  return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

TEST_F(PosixInodesTest, AnUnlinkedFileLivesWhileItIsOpen) {
  const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  WriteAt(fd.get(), 0, Pattern(1, 0, 100000));
  ASSERT_TRUE(Succeeds(unlink(Path("file").c_str())));
  EXPECT_FALSE(Exists(Path("file")));
  EXPECT_EQ(Stat(fd.get()).st_nlink, 0u);
  WriteAt(fd.get(), 100000, Pattern(1, 100000, 200000));
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, 400000), Pattern(1, 0, 300000)));
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), 1000)));
  ASSERT_TRUE(Succeeds(fchmod(fd.get(), 0600)));
  EXPECT_EQ(Stat(fd.get()).st_size, 1000);
  // A new file of that name is another file.
  WriteFile(Path("file"), "new");
  EXPECT_NE(Stat(Path("file")).st_ino, Stat(fd.get()).st_ino);
  EXPECT_TRUE(FailsWith(
      linkat(AT_FDCWD, ProcPath(fd.get()).c_str(), AT_FDCWD, Path("back").c_str(),
             AT_SYMLINK_FOLLOW),
      ENOENT));
}

TEST_F(PosixInodesTest, ManyUnlinkedFilesAreFreedAtTheEnd) {
  std::vector<Fd> open_files;
  for (int i = 0; i < 300; ++i) {
    open_files.push_back(Open(Path("file"), O_RDWR | O_CREAT | O_EXCL));
    WriteAt(open_files.back().get(), 0, Pattern(i, 0, 20000));
    ASSERT_TRUE(Succeeds(unlink(Path("file").c_str())));
  }
  for (int i = 0; i < 300; ++i)
    EXPECT_TRUE(SameBytes(ReadAt(open_files[i].get(), 0, 30000), Pattern(i, 0, 20000)));
}

TEST_F(PosixInodesTest, TemporaryFilesCanBeLinked) {
  const Fd fd(open(root().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0640));
  if (!fd.valid() && errno == EOPNOTSUPP) GTEST_SKIP() << "O_TMPFILE is not passed on here";
  ASSERT_TRUE(fd.valid()) << strerror(errno);
  WriteAt(fd.get(), 0, "temporary");
  EXPECT_EQ(ListDirectory(root()).size(), 0u);
  EXPECT_EQ(Stat(fd.get()).st_nlink, 0u);
  ASSERT_TRUE(Succeeds(linkat(AT_FDCWD, ProcPath(fd.get()).c_str(), AT_FDCWD,
                              Path("linked").c_str(), AT_SYMLINK_FOLLOW)));
  Fd other(open(root().c_str(), O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0640));
  ASSERT_TRUE(other.valid());
  EXPECT_TRUE(FailsWith(linkat(AT_FDCWD, ProcPath(other.get()).c_str(), AT_FDCWD,
                               Path("refused").c_str(), AT_SYMLINK_FOLLOW),
                        ENOENT));
  other.Reset();
  EXPECT_EQ(ReadFile(Path("linked")), "temporary");
  EXPECT_EQ(Stat(Path("linked")).st_mode & 07777, 0640u);
}

TEST_F(PosixInodesTest, TimesAreKeptToTheNanosecond) {
  // Before 1970, today, past 2038 and 2106.
  const timespec times[] = {
      {-86400, 1}, {0, 0}, {1700000000, 123456789}, {2147483648, 999999999}, {5000000000, 7}};
  for (size_t i = 0; i < std::size(times); ++i) {
    const std::string path = Path(std::to_string(i));
    WriteFile(path, "x");
    const timespec both[2] = {times[i], times[(i + 1) % std::size(times)]};
    ASSERT_TRUE(Succeeds(utimensat(AT_FDCWD, path.c_str(), both, 0)));
  }
  Remount();
  for (size_t i = 0; i < std::size(times); ++i) {
    const struct stat st = Stat(Path(std::to_string(i)));
    const timespec& mtime = times[(i + 1) % std::size(times)];
    EXPECT_TRUE(st.st_atim == times[i]) << i << ": " << st.st_atim.tv_sec;
    EXPECT_TRUE(st.st_mtim == mtime) << i << ": " << st.st_mtim.tv_sec;
  }
}

TEST_F(PosixInodesTest, TimesCanBeLeftAloneOrSetToNow) {
  WriteFile(Path("file"), "x");
  const timespec old[2] = {{1000, 1}, {2000, 2}};
  ASSERT_TRUE(Succeeds(utimensat(AT_FDCWD, Path("file").c_str(), old, 0)));
  const timespec only_mtime[2] = {{0, UTIME_OMIT}, {3000, 3}};
  ASSERT_TRUE(Succeeds(utimensat(AT_FDCWD, Path("file").c_str(), only_mtime, 0)));
  EXPECT_TRUE((Stat(Path("file")).st_atim == timespec{1000, 1}));
  EXPECT_TRUE((Stat(Path("file")).st_mtim == timespec{3000, 3}));
  const timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  ASSERT_TRUE(Succeeds(utimensat(AT_FDCWD, Path("file").c_str(), now, 0)));
  EXPECT_GT(Stat(Path("file")).st_atime, 3000);
  EXPECT_TRUE((Stat(Path("file")).st_mtim == timespec{3000, 3}));
  // Of a symlink itself.
  ASSERT_TRUE(Succeeds(symlink("file", Path("link").c_str())));
  ASSERT_TRUE(Succeeds(utimensat(AT_FDCWD, Path("link").c_str(), old, AT_SYMLINK_NOFOLLOW)));
  EXPECT_TRUE((Stat(Path("link")).st_mtim == timespec{2000, 2}));
  EXPECT_TRUE((Stat(Path("file")).st_mtim == timespec{3000, 3}));
}

TEST_F(PosixInodesTest, AReadFromThePageCacheMovesTheAccessTime) {
  WriteFile(Path("file"), "just written: the pages are there");
  const timespec written = Stat(Path("file")).st_atim;
  usleep(20000);
  EXPECT_EQ(ReadFile(Path("file")).substr(0, 4), "just");
  const timespec read = Stat(Path("file")).st_atim;
  EXPECT_TRUE(read.tv_sec > written.tv_sec || read.tv_nsec != written.tv_nsec);
  // relatime: not again within a day; and not for those who ask for it.
  usleep(20000);
  ReadFile(Path("file"));
  EXPECT_TRUE(Stat(Path("file")).st_atim.tv_nsec == read.tv_nsec);
  WriteFile(Path("quiet"), "quiet");
  const timespec quiet = Stat(Path("quiet")).st_atim;
  const Fd fd = Open(Path("quiet"), O_RDONLY | O_NOATIME);
  EXPECT_EQ(ReadAt(fd.get(), 0, 5), "quiet");
  EXPECT_TRUE(Stat(Path("quiet")).st_atim.tv_nsec == quiet.tv_nsec);
}

TEST_F(PosixInodesTest, WhatMovesTheTimes) {
  WriteFile(Path("file"), "contents");
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  const auto change = [&](const char* what, bool moves_mtime,
                          const std::function<int()>& call) {
    ASSERT_TRUE(Succeeds(utimensat(AT_FDCWD, Path("file").c_str(), old, 0))) << what;
    const timespec ctime = Stat(Path("file")).st_ctim;
    // The clock of file times may tick only every few milliseconds.
    usleep(20000);
    ASSERT_TRUE(Succeeds(call())) << what;
    const struct stat st = Stat(Path("file"));
    EXPECT_EQ(st.st_mtime != 1000, moves_mtime) << what;
    EXPECT_TRUE(Before(ctime, st.st_ctim)) << what;
  };
  const Fd fd = Open(Path("file"), O_RDWR);
  change("write", true, [&] { return static_cast<int>(pwrite(fd.get(), "x", 1, 0)); });
  change("ftruncate", true, [&] { return ftruncate(fd.get(), 3); });
  change("truncate", true, [&] { return truncate(Path("file").c_str(), 100); });
  change("chmod", false, [&] { return chmod(Path("file").c_str(), 0600); });
  change("chown", false, [&] { return chown(Path("file").c_str(), 1, 1); });
  change("link", false, [&] { return link(Path("file").c_str(), Path("l").c_str()); });
  change("unlink", false, [&] { return unlink(Path("l").c_str()); });
  change("rename", false, [&] {
    return rename(Path("file").c_str(), Path("r").c_str()) |
           rename(Path("r").c_str(), Path("file").c_str());
  });
}

TEST_F(PosixInodesTest, AWrittenFileKeepsItsTimesAcrossARemount) {
  WriteFile(Path("file"), "contents");
  const timespec set[2] = {{1111, 11}, {2222, 22}};
  ASSERT_TRUE(Succeeds(utimensat(AT_FDCWD, Path("file").c_str(), set, 0)));
  // As tar and cp -p do: written through a descriptor whose times are set before it
  // is closed; what is still to be written back must not move them.
  {
    const Fd fd = Open(Path("copied"), O_WRONLY | O_CREAT);
    WriteAt(fd.get(), 0, Pattern(1, 0, 300000));
    ASSERT_TRUE(Succeeds(futimens(fd.get(), set)));
  }
  Remount();
  EXPECT_TRUE((Stat(Path("file")).st_mtim == timespec{2222, 22}));
  EXPECT_TRUE((Stat(Path("copied")).st_mtim == timespec{2222, 22}));
}

TEST_F(PosixInodesTest, ModesOfEveryBit) {
  WriteFile(Path("file"), "x");
  MakeDirectory(Path("directory"));
  for (mode_t mode = 0; mode <= 07777; mode += 0111) {
    for (const char* name : {"file", "directory"}) {
      ASSERT_TRUE(Succeeds(chmod(Path(name).c_str(), mode)));
      EXPECT_EQ(Stat(Path(name)).st_mode & 07777, mode);
    }
  }
  ASSERT_TRUE(Succeeds(chmod(Path("file").c_str(), 06751)));
  Remount();
  EXPECT_EQ(Stat(Path("file")).st_mode, S_IFREG | 06751u);
}

TEST_F(PosixInodesTest, TheUmaskIsHonoured) {
  const mode_t before = umask(027);
  const Fd fd = Open(Path("file"), O_WRONLY | O_CREAT, 0666);
  mkdir(Path("directory").c_str(), 0777);
  mkfifo(Path("fifo").c_str(), 0666);
  umask(before);
  EXPECT_EQ(Stat(Path("file")).st_mode & 07777, 0640u);
  EXPECT_EQ(Stat(Path("directory")).st_mode & 07777, 0750u);
  EXPECT_EQ(Stat(Path("fifo")).st_mode & 07777, 0640u);
}

TEST_F(PosixInodesTest, OwnersOfEveryNumber) {
  WriteFile(Path("file"), "x");
  ASSERT_TRUE(Succeeds(symlink("file", Path("link").c_str())));
  for (const uint32_t id : {0u, 1u, 65534u, 65536u, 4294967294u}) {
    ASSERT_TRUE(Succeeds(chown(Path("file").c_str(), id, id / 2)));
    EXPECT_EQ(Stat(Path("file")).st_uid, id);
    EXPECT_EQ(Stat(Path("file")).st_gid, id / 2);
  }
  ASSERT_TRUE(Succeeds(lchown(Path("link").c_str(), 5, 6)));
  ASSERT_TRUE(Succeeds(chown(Path("file").c_str(), 7, static_cast<gid_t>(-1))));
  Remount();
  EXPECT_EQ(Stat(Path("link")).st_uid, 5u);
  EXPECT_EQ(Stat(Path("file")).st_uid, 7u);
  EXPECT_EQ(Stat(Path("file")).st_gid, 4294967294u / 2);
}

TEST_F(PosixInodesTest, PermissionsBindOrdinaryUsers) {
  ASSERT_TRUE(Succeeds(chmod(root().c_str(), 0755)));
  WriteFile(Path("private"), "x");
  ASSERT_TRUE(Succeeds(chmod(Path("private").c_str(), 0600)));
  MakeDirectory(Path("open"));
  ASSERT_TRUE(Succeeds(chmod(Path("open").c_str(), 01777)));
  WriteFile(Path("open/of_root"), "x");
  const auto error_of = [](long result) { return result < 0 ? errno : 0; };
  EXPECT_EQ(AsOrdinaryUser([&] { return error_of(open(Path("private").c_str(), O_RDONLY)); }),
            EACCES);
  EXPECT_EQ(AsOrdinaryUser([&] { return error_of(mkdir(Path("new").c_str(), 0755)); }), EACCES);
  // The sticky bit: others' files stay, one's own can be removed.
  EXPECT_EQ(AsOrdinaryUser([&] { return error_of(unlink(Path("open/of_root").c_str())); }),
            EPERM);
  EXPECT_EQ(AsOrdinaryUser([&] {
              WriteFile(Path("open/own"), "y");
              return Stat(Path("open/own")).st_uid == kOrdinaryUser ? 0 : 1;
            }),
            0);
  EXPECT_EQ(AsOrdinaryUser([&] { return error_of(unlink(Path("open/own").c_str())); }), 0);
  EXPECT_EQ(AsOrdinaryUser([&] { return error_of(chmod(Path("private").c_str(), 0777)); }),
            EPERM);
}

TEST_F(PosixInodesTest, AWriteClearsSetUserId) {
  for (const char* way : {"buffered", "direct", "truncate", "fallocate"}) {
    WriteFile(Path(way), std::string(8192, 'x'));
    ASSERT_TRUE(Succeeds(chmod(Path(way).c_str(), 06777)));
    const int result = AsOrdinaryUser([&] {
      const std::string path = Path(way);
      if (way == std::string("truncate")) return truncate(path.c_str(), 1) ? errno : 0;
      const bool direct = way == std::string("direct");
      const Fd fd = Open(path, O_RDWR | (direct ? O_DIRECT : 0));
      if (way == std::string("fallocate"))
        return fallocate(fd.get(), 0, 0, 16384) ? errno : 0;
      const AlignedBuffer data = AlignedCopy(std::string(4096, 'y'));
      WriteAt(fd.get(), 0, {data.data(), direct ? 4096u : 1u});
      return 0;
    });
    EXPECT_EQ(result, 0) << way;
    EXPECT_EQ(Stat(Path(way)).st_mode & 07777, 0777u) << way;
  }
  WriteFile(Path("chown"), "x");
  ASSERT_TRUE(Succeeds(chmod(Path("chown").c_str(), 06777)));
  ASSERT_TRUE(Succeeds(chown(Path("chown").c_str(), 1, 1)));
  EXPECT_EQ(Stat(Path("chown")).st_mode & 07777, 0777u);
  Remount();
  EXPECT_EQ(Stat(Path("buffered")).st_mode & 07777, 0777u);
}

// Without execute permission for the group: kept for its members, dropped for others.
TEST_F(PosixInodesTest, FallocateClearsSetGroupIdOfAGroupThatIsNotTheCallers) {
  for (const gid_t group : {gid_t{0}, gid_t{kOrdinaryUser}}) {
    const std::string path = Path(std::to_string(group));
    WriteFile(path, std::string(8192, 'x'));
    ASSERT_TRUE(Succeeds(chown(path.c_str(), 0, group)));
    ASSERT_TRUE(Succeeds(chmod(path.c_str(), 06666)));
    const int result = AsOrdinaryUser([&] {
      return fallocate(Open(path, O_RDWR).get(), 0, 0, 16384) == 0 ? 0 : errno;
    });
    EXPECT_EQ(result, 0);
    EXPECT_EQ(Stat(path).st_mode & 07777, group == 0 ? 0666u : 02666u);
  }
}

TEST_F(PosixInodesTest, SetGroupIdDirectoriesHandOnTheirGroup) {
  MakeDirectory(Path("shared"));
  ASSERT_TRUE(Succeeds(chown(Path("shared").c_str(), 0, 1234)));
  ASSERT_TRUE(Succeeds(chmod(Path("shared").c_str(), 02775)));
  WriteFile(Path("shared/file"), "x");
  MakeDirectory(Path("shared/directory"));
  ASSERT_TRUE(Succeeds(mkfifo(Path("shared/fifo").c_str(), 0644)));
  ASSERT_TRUE(Succeeds(symlink("file", Path("shared/link").c_str())));
  EXPECT_EQ(Stat(Path("shared/file")).st_gid, 1234u);
  EXPECT_EQ(Stat(Path("shared/fifo")).st_gid, 1234u);
  EXPECT_EQ(Stat(Path("shared/link")).st_gid, 1234u);
  EXPECT_EQ(Stat(Path("shared/directory")).st_gid, 1234u);
  EXPECT_EQ(Stat(Path("shared/directory")).st_mode & 07777, 02755u);
  EXPECT_EQ(Stat(Path("shared/file")).st_mode & 07777, 0644u);
}

TEST_F(PosixInodesTest, SpecialFiles) {
  ASSERT_TRUE(Succeeds(mknod(Path("fifo").c_str(), S_IFIFO | 0600, 0)));
  ASSERT_TRUE(Succeeds(mknod(Path("char").c_str(), S_IFCHR | 0600, makedev(1, 3))));
  const dev_t large = OnCofs() ? makedev(4095, 1048575) : makedev(511, 262143);
  ASSERT_TRUE(Succeeds(mknod(Path("large").c_str(), S_IFCHR | 0600, large)));
  ASSERT_TRUE(Succeeds(mknod(Path("block").c_str(), S_IFBLK | 0600, makedev(7, 200))));
  ASSERT_TRUE(Succeeds(mknod(Path("regular").c_str(), S_IFREG | 0600, 0)));
  MakeDirectory(Path("s"));
  ASSERT_TRUE(Succeeds(chdir(Path("s").c_str())));  // paths of sockets are short
  Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address{AF_UNIX, "socket"};
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  EXPECT_TRUE(Succeeds(bind(listener.get(), generic, sizeof address)));
  EXPECT_TRUE(Succeeds(listen(listener.get(), 1)));
  Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_TRUE(Succeeds(connect(client.get(), generic, sizeof address)));
  ASSERT_TRUE(Succeeds(chdir("/")));

  listener.Reset();
  client.Reset();
  Remount();
  EXPECT_TRUE(S_ISFIFO(Stat(Path("fifo")).st_mode));
  EXPECT_TRUE(S_ISCHR(Stat(Path("char")).st_mode));
  EXPECT_EQ(Stat(Path("char")).st_rdev, makedev(1, 3));
  EXPECT_EQ(Stat(Path("large")).st_rdev, large);
  EXPECT_TRUE(S_ISBLK(Stat(Path("block")).st_mode));
  EXPECT_EQ(Stat(Path("block")).st_rdev, makedev(7, 200));
  EXPECT_TRUE(S_ISREG(Stat(Path("regular")).st_mode));
  EXPECT_TRUE(S_ISSOCK(Stat(Path("s/socket")).st_mode));
  const Fd reader = Open(Path("fifo"), O_RDONLY | O_NONBLOCK);
  const Fd writer = Open(Path("fifo"), O_WRONLY | O_NONBLOCK);
  char byte = 0;
  EXPECT_EQ(write(writer.get(), "f", 1), 1);
  EXPECT_EQ(read(reader.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'f');
}

TEST_F(PosixInodesTest, InodeNumbersAreStableAndUnique) {
  std::vector<ino_t> inodes;
  for (int i = 0; i < 200; ++i) {
    WriteFile(Path(std::to_string(i)), "x");
    inodes.push_back(Stat(Path(std::to_string(i))).st_ino);
  }
  Remount();
  std::set<ino_t> unique;
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(Stat(Path(std::to_string(i))).st_ino, inodes[static_cast<size_t>(i)]);
    unique.insert(inodes[static_cast<size_t>(i)]);
  }
  EXPECT_EQ(unique.size(), 200u);
}

TEST_F(PosixInodesTest, FileLocks) {
  const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_len = 100;
  ASSERT_TRUE(Succeeds(fcntl(fd.get(), F_SETLK, &lock)));
  ASSERT_TRUE(Succeeds(chmod(Path("file").c_str(), 0666)));
  EXPECT_EQ(AsOrdinaryUser([&] {
              const Fd other = Open(Path("file"), O_RDWR);
              struct flock wanted {};
              wanted.l_type = F_WRLCK;
              wanted.l_start = 50;
              wanted.l_len = 10;
              if (fcntl(other.get(), F_SETLK, &wanted) == 0) return 1;
              wanted.l_start = 100;
              return fcntl(other.get(), F_SETLK, &wanted) == 0 ? 0 : 2;
            }),
            0);
}

TEST_F(PosixInodesTest, StatfsIsPlausible) {
  struct statvfs before, after;
  ASSERT_TRUE(Succeeds(statvfs(root().c_str(), &before)));
  EXPECT_GT(before.f_blocks, 0u);
  EXPECT_GT(before.f_bsize, 0u);
  EXPECT_EQ(before.f_namemax, 255u);
  EXPECT_LE(before.f_bavail, before.f_bfree);
  EXPECT_LE(before.f_bfree, before.f_blocks);
  if (!OnCofs()) return;
  EXPECT_LE(before.f_blocks * before.f_frsize, setup_.size_bytes);
  EXPECT_GE(before.f_blocks * before.f_frsize, setup_.size_bytes / 10 * 9);
  const Fd fd = Open(Path("file"), O_WRONLY | O_CREAT);
  WriteAt(fd.get(), 0, Pattern(1, 0, 64 << 20));
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  ASSERT_TRUE(Succeeds(statvfs(root().c_str(), &after)));
  const uint64_t used = (before.f_bfree - after.f_bfree) * before.f_frsize;
  EXPECT_GE(used, 64u << 20);
  EXPECT_LE(used, 96u << 20);
}

// chattr(1); 0 takes all flags away.
void SetInodeFlags(const std::string& path, int flags) {
  const Fd fd = Open(path, O_RDONLY);
  ASSERT_TRUE(Succeeds(ioctl(fd.get(), FS_IOC_SETFLAGS, &flags)));
}

TEST_F(PosixInodesTest, ImmutableAndAppendOnlyFiles) {
  if (!OnCofs()) GTEST_SKIP() << "of cofs";
  const std::string file = Path("file");
  WriteFile(file, "contents");
  const auto may_open = [&](int flags) {
    const int fd = open(file.c_str(), flags);
    if (fd >= 0) close(fd);
    return fd >= 0;
  };
  const timespec old[2] = {{1000, 0}, {1000, 0}};

  SetInodeFlags(file, FS_IMMUTABLE_FL);
  for (const int flags : {O_WRONLY, O_RDWR, O_WRONLY | O_APPEND, O_RDWR | O_TRUNC})
    EXPECT_TRUE(!may_open(flags) && errno == EPERM) << flags;
  EXPECT_TRUE(may_open(O_RDONLY));
  EXPECT_TRUE(FailsWith(utimensat(AT_FDCWD, file.c_str(), nullptr, 0), EPERM));
  EXPECT_TRUE(FailsWith(unlink(file.c_str()), EPERM));
  EXPECT_TRUE(FailsWith(chmod(file.c_str(), 0600), EPERM));

  SetInodeFlags(file, FS_APPEND_FL);
  for (const int flags : {O_WRONLY, O_RDWR, O_RDWR | O_TRUNC, O_WRONLY | O_APPEND | O_TRUNC})
    EXPECT_TRUE(!may_open(flags) && errno == EPERM) << flags;
  EXPECT_TRUE(Succeeds(utimensat(AT_FDCWD, file.c_str(), nullptr, 0)));
  EXPECT_TRUE(FailsWith(utimensat(AT_FDCWD, file.c_str(), old, 0), EPERM));
  EXPECT_TRUE(FailsWith(unlink(file.c_str()), EPERM));
  {
    const Fd fd = Open(file, O_WRONLY | O_APPEND);
    EXPECT_EQ(write(fd.get(), "!", 1), 1);
    EXPECT_TRUE(Succeeds(fsync(fd.get())));
  }
  Remount();
  EXPECT_EQ(ReadFile(file), "contents!");
  SetInodeFlags(file, 0);
  EXPECT_TRUE(Succeeds(unlink(file.c_str())));
}

}  // namespace
}  // namespace cofs
