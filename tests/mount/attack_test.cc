// What an ordinary user, or root without its capabilities, must not be able to do: by
// names, links, attributes, privileges of files, and ioctl(2) calls of cofs.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>
#include <system_error>
#include <vector>

#include "fs/fuse/cofs_ioctl.h"
#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kBlock = 4096;

int ErrnoOf(long result) { return result < 0 ? errno : 0; }

class AttackTest : public CofsMountTest {
 protected:
  AttackTest() : CofsMountTest({.size_bytes = 256 << 20}) {}
  void SetUp() override {
    CofsMountTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_TRUE(Succeeds(chmod(root().c_str(), 0777)));
  }
  // A file of root with these bytes and this mode.
  std::string Make(const std::string& name, mode_t mode, size_t bytes = 2 * kBlock) {
    WriteFile(Path(name), std::string(bytes, 'r'));
    EXPECT_TRUE(Succeeds(chmod(Path(name).c_str(), mode)));
    return Path(name);
  }
};

// ---- names and links ----

TEST_F(AttackTest, DotsAreNoNames) {
  MakeDirectory(Path("d"));
  WriteFile(Path("f"), "x");
  for (const std::string name : {".", ".."}) {
    const std::string path = Path("d/" + name);
    SCOPED_TRACE(path);
    EXPECT_EQ(ErrnoOf(mkdir(path.c_str(), 0755)), EEXIST);
    EXPECT_EQ(ErrnoOf(symlink("x", path.c_str())), EEXIST);
    EXPECT_EQ(ErrnoOf(link(Path("f").c_str(), path.c_str())), EEXIST);
    EXPECT_NE(ErrnoOf(unlink(path.c_str())), 0);
    EXPECT_NE(ErrnoOf(rmdir(path.c_str())), 0);
    EXPECT_NE(ErrnoOf(rename(path.c_str(), Path("n").c_str())), 0);
    EXPECT_NE(ErrnoOf(rename(Path("f").c_str(), path.c_str())), 0);
  }
  EXPECT_EQ(ListDirectory(Path("d")), std::vector<std::string>{});
  EXPECT_EQ(ListDirectory(root()), (std::vector<std::string>{"d", "f"}));
}

TEST_F(AttackTest, NamesAreBytes) {
  const std::vector<std::string> names = {"\xff\xfe",
                                          "\xc3\x28",
                                          "\xed\xa0\x80",
                                          "line\nbreak",
                                          "\x1b[2J\x1b]0;title\x07",
                                          "\x7f",
                                          std::string(255, '\xff'),
                                          "-rf",
                                          " ",
                                          "a\\b"};
  for (const std::string& name : names) WriteFile(Path(name), name);
  EXPECT_EQ(
      ErrnoOf(open(Path(std::string(256, '\xff')).c_str(), O_CREAT | O_WRONLY, 0644)),
      ENAMETOOLONG);
  Remount();
  for (const std::string& name : names) EXPECT_EQ(ReadFile(Path(name)), name);
  EXPECT_EQ(ListDirectory(root()).size(), names.size());
}

TEST_F(AttackTest, SymbolicLinksLoopAndDangle) {
  ASSERT_TRUE(Succeeds(symlink("b", Path("a").c_str())));
  ASSERT_TRUE(Succeeds(symlink("a", Path("b").c_str())));
  ASSERT_TRUE(Succeeds(symlink("self/self", Path("self").c_str())));
  for (const char* name : {"a", "self", "a/x"}) {
    EXPECT_EQ(ErrnoOf(open(Path(name).c_str(), O_RDONLY)), ELOOP) << name;
    EXPECT_EQ(ErrnoOf(open(Path(name).c_str(), O_CREAT | O_WRONLY, 0644)), ELOOP) << name;
  }
  ASSERT_TRUE(Succeeds(symlink("target", Path("link").c_str())));
  EXPECT_EQ(ErrnoOf(open(Path("link").c_str(), O_RDONLY)), ENOENT);
  EXPECT_EQ(ErrnoOf(open(Path("link").c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644)),
            EEXIST);
  EXPECT_EQ(ErrnoOf(open(Path("link").c_str(), O_CREAT | O_NOFOLLOW | O_WRONLY, 0644)),
            ELOOP);
  EXPECT_FALSE(Exists(Path("target")));
  // A target may be anything but empty or longer than a path.
  const std::string longest(4095, 'l');
  ASSERT_TRUE(Succeeds(symlink(longest.c_str(), Path("long").c_str())));
  EXPECT_EQ(ErrnoOf(symlink((longest + "l").c_str(), Path("longer").c_str())),
            ENAMETOOLONG);
  EXPECT_EQ(ErrnoOf(symlink("", Path("empty").c_str())), ENOENT);
  ASSERT_TRUE(
      Succeeds(symlink("../../../../../../etc/shadow\n\x1b[1m", Path("out").c_str())));
  Remount();
  char target[8192];
  EXPECT_EQ(readlink(Path("long").c_str(), target, sizeof target), 4095);
  EXPECT_EQ(ErrnoOf(open(Path("long").c_str(), O_RDONLY)), ENAMETOOLONG);
}

TEST_F(AttackTest, StickyDirectoriesKeepWhatIsOthers) {
  MakeDirectory(Path("tmp"));
  ASSERT_TRUE(Succeeds(chmod(Path("tmp").c_str(), 01777)));
  WriteFile(Path("tmp/of_root"), "r");
  MakeDirectory(Path("tmp/dir_of_root"));
  const std::string others = Path("tmp/of_root"), own = Path("tmp/own");
  const auto as_user = [&](const std::function<long()>& call) {
    return AsOrdinaryUser([&] { return ErrnoOf(call()); });
  };
  EXPECT_EQ(as_user([&] {
              WriteFile(own, "u");
              return 0;
            }),
            0);
  EXPECT_EQ(as_user([&] { return unlink(others.c_str()); }), EPERM);
  EXPECT_EQ(as_user([&] { return rename(others.c_str(), Path("tmp/x").c_str()); }),
            EPERM);
  EXPECT_EQ(as_user([&] { return rename(own.c_str(), others.c_str()); }), EPERM);
  EXPECT_EQ(as_user([&] {
              return renameat2(AT_FDCWD, own.c_str(), AT_FDCWD, others.c_str(),
                               RENAME_EXCHANGE);
            }),
            EPERM);
  EXPECT_EQ(as_user([&] { return rmdir(Path("tmp/dir_of_root").c_str()); }), EPERM);
  EXPECT_EQ(as_user([&] { return setxattr(Path("tmp").c_str(), "user.x", "x", 1, 0); }),
            EPERM);
  EXPECT_EQ(ReadFile(others), "r");
  EXPECT_EQ(as_user([&] { return unlink(own.c_str()); }), 0);
}

TEST_F(AttackTest, SetGroupIdIsInheritedAndNotTaken) {
  MakeDirectory(Path("shared"));
  ASSERT_TRUE(Succeeds(chown(Path("shared").c_str(), 0, 1234)));
  ASSERT_TRUE(Succeeds(chmod(Path("shared").c_str(), 02777)));
  // Who is not of the group makes no program of that group.
  EXPECT_EQ(AsOrdinaryUser([&] {
              const Fd fd = Open(Path("shared/f"), O_CREAT | O_EXCL | O_WRONLY, 02777);
              return mkdir(Path("shared/d").c_str(), 0777) == 0 ? 0 : errno;
            }),
            0);
  const struct stat file = Stat(Path("shared/f"));
  EXPECT_EQ(file.st_gid, 1234u);
  EXPECT_EQ(file.st_mode & S_ISGID, 0u);
  EXPECT_EQ(Stat(Path("shared/d")).st_gid, 1234u);
  EXPECT_NE(Stat(Path("shared/d")).st_mode & S_ISGID, 0u);
  EXPECT_EQ(AsOrdinaryUser([&] {
              if (chmod(Path("shared/f").c_str(), 02777) != 0) return errno;
              return (Stat(Path("shared/f")).st_mode & S_ISGID) == 0 ? 0 : 1;
            }),
            0);
}

// ---- extended attributes ----

std::string Listed(const std::string& path) {
  std::string list(1 << 16, '\0');
  const ssize_t size = llistxattr(path.c_str(), list.data(), list.size());
  return size < 0 ? "error" : list.substr(0, static_cast<size_t>(size));
}

TEST_F(AttackTest, NamespacesOfAttributes) {
  const std::string file = Make("file", 0666);
  ASSERT_TRUE(Succeeds(setxattr(file.c_str(), "trusted.secret", "s", 1, 0)));
  ASSERT_TRUE(Succeeds(setxattr(file.c_str(), "user.open", "o", 1, 0)));
  ASSERT_TRUE(Succeeds(symlink("file", Path("link").c_str())));
  char value[16];
  struct Case {
    const char* what;
    std::function<long()> call;
    int error;
  };
  const Case cases[] = {
      {"reads trusted",
       [&] { return getxattr(file.c_str(), "trusted.secret", value, 16); }, ENODATA},
      {"sets trusted", [&] { return setxattr(file.c_str(), "trusted.x", "x", 1, 0); },
       EPERM},
      {"removes trusted", [&] { return removexattr(file.c_str(), "trusted.secret"); },
       EPERM},
      {"sets security", [&] { return setxattr(file.c_str(), "security.x", "x", 1, 0); },
       EPERM},
      {"sets a capability",
       [&] { return setxattr(file.c_str(), "security.capability", "x", 1, 0); }, EINVAL},
      {"sets an ACL",
       [&] { return setxattr(file.c_str(), "system.posix_acl_access", "x", 1, 0); },
       EOPNOTSUPP},
      {"sets another space", [&] { return setxattr(file.c_str(), "other.x", "x", 1, 0); },
       EOPNOTSUPP},
      {"sets one of a symlink",
       [&] { return lsetxattr(Path("link").c_str(), "user.x", "x", 1, 0); }, EPERM},
      {"sets one without a name",
       [&] { return setxattr(file.c_str(), "user.", "x", 1, 0); }, EINVAL},
      {"sets its own", [&] { return setxattr(file.c_str(), "user.own", "x", 1, 0); }, 0},
  };
  for (const Case& c : cases) {
    const int got = AsOrdinaryUser([&] { return ErrnoOf(c.call()); });
    // Kernels differ in which check comes first.
    const bool is_acl_or_capability = c.error == EINVAL || c.error == EOPNOTSUPP;
    EXPECT_TRUE(got == c.error || (is_acl_or_capability &&
                                   (got == EPERM || got == EOPNOTSUPP || got == EINVAL)))
        << c.what << ": " << strerror(got);
  }
  EXPECT_EQ(AsOrdinaryUser([&] {
              return Listed(file).find("trusted") == std::string::npos &&
                             Listed(file).find("user.open") != std::string::npos
                         ? 0
                         : 1;
            }),
            0);
  EXPECT_NE(Listed(file).find("trusted.secret"), std::string::npos);
  const std::string locked = Make("private", 0600);
  EXPECT_EQ(AsOrdinaryUser(
                [&] { return ErrnoOf(setxattr(locked.c_str(), "user.x", "x", 1, 0)); }),
            EACCES);
  const std::string largest(65536, 'v');
  EXPECT_TRUE(Succeeds(setxattr(file.c_str(), "user.large", largest.data(), 65536, 0)));
  EXPECT_EQ(ErrnoOf(setxattr(file.c_str(), "user.larger", largest.data(), 65537, 0)),
            E2BIG);
}

// ---- privileges of files ----

// cap_net_raw=ep, as setcap(8) stores it (VFS_CAP_REVISION_2).
constexpr uint32_t kCapability[5] = {0x02000001, 1 << 13, 0, 0, 0};

bool HasCapability(const std::string& path) {
  char value[64];
  return getxattr(path.c_str(), "security.capability", value, sizeof value) > 0;
}

// The mode alone, as `stat -c %A` asks for it: the kernel answers from what it has cached
// while it does not know that the mode has changed.
uint32_t CachedModeOf(const std::string& path) {
  struct statx attributes {};
  EXPECT_TRUE(Succeeds(statx(AT_FDCWD, path.c_str(), 0, STATX_MODE, &attributes)));
  return attributes.stx_mode;
}

struct Change {
  const char* name;
  std::function<long(const std::string& path)> run;  // -1: errno
};

cofs_ioc_copy_arm CloneArm() {
  cofs_ioc_copy_arm arm{};
  arm.length = kBlock;
  arm.how = COFS_ARM_CLONE;
  return arm;
}

std::vector<Change> Changes(const std::string& source) {
  const auto direct = [](const std::string& path) -> long {
    const Fd fd = Open(path, O_WRONLY | O_DIRECT);
    const AlignedBuffer data = AlignedCopy(std::string(kBlock, 'd'));
    return pwrite(fd.get(), data.data(), kBlock, 0);
  };
  const auto copy = [source](const std::string& path, bool clones) -> long {
    const Fd from = Open(source, O_RDONLY), to = Open(path, O_RDWR);
    cofs_ioc_copy_arm arm = CloneArm();
    if (clones && ioctl(to.get(), COFS_IOC_COPY_ARM, &arm) != 0) return -1;
    off_t from_offset = 0, to_offset = 0;
    return copy_file_range(from.get(), &from_offset, to.get(), &to_offset, kBlock, 0);
  };
  return {
      {"write",
       [](const std::string& path) {
         return pwrite(Open(path, O_WRONLY).get(), "x", 1, 0);
       }},
      {"append",
       [](const std::string& path) {
         return write(Open(path, O_WRONLY | O_APPEND).get(), "x", 1);
       }},
      {"synchronous write",
       [](const std::string& path) {
         return pwrite(Open(path, O_WRONLY | O_SYNC).get(), "x", 1, 0);
       }},
      {"direct write", direct},
      {"truncate", [](const std::string& path) { return truncate(path.c_str(), 5); }},
      {"ftruncate",
       [](const std::string& path) { return ftruncate(Open(path, O_RDWR).get(), 9); }},
      {"open with O_TRUNC",
       [](const std::string& path) {
         return Open(path, O_WRONLY | O_TRUNC).valid() ? 0 : -1;
       }},
      {"fallocate",
       [](const std::string& path) {
         return fallocate(Open(path, O_RDWR).get(), 0, 0, 1 << 20);
       }},
      {"punch",
       [](const std::string& path) {
         return fallocate(Open(path, O_RDWR).get(),
                          FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kBlock);
       }},
      {"copy", [copy](const std::string& path) { return copy(path, false); }},
      {"clone", [copy](const std::string& path) { return copy(path, true); }},
  };
}

TEST_F(AttackTest, ChangesByUsersTakePrivilegesAway) {
  const std::string source = Make("source", 0644);
  for (const Change& change : Changes(source)) {
    SCOPED_TRACE(change.name);
    // Set-user-ID and set-group-ID; without x for the group it is no privilege.
    const std::string both = Make(std::string("both ") + change.name, 06777);
    EXPECT_EQ(AsOrdinaryUser([&] { return ErrnoOf(change.run(both)); }), 0);
    EXPECT_EQ(CachedModeOf(both) & 07777, 0777u);
    EXPECT_EQ(Stat(both).st_mode & 07777, 0777u);
    const std::string capable = Make(std::string("capable ") + change.name, 0777);
    ASSERT_TRUE(Succeeds(setxattr(capable.c_str(), "security.capability", kCapability,
                                  sizeof kCapability, 0)));
    EXPECT_EQ(AsOrdinaryUser([&] { return ErrnoOf(change.run(capable)); }), 0);
    EXPECT_FALSE(HasCapability(capable));
  }
  Remount();
  for (const Change& change : Changes(source)) {
    EXPECT_EQ(Stat(Path(std::string("both ") + change.name)).st_mode & 07777, 0777u);
    EXPECT_FALSE(HasCapability(Path(std::string("capable ") + change.name)))
        << change.name;
  }
}

TEST_F(AttackTest, ChangesByRootTakeCapabilitiesAway) {
  // Set-ID bits stay for who may set them; the capability is of the old contents.
  const std::string source = Make("source", 0644);
  for (const Change& change : Changes(source)) {
    SCOPED_TRACE(change.name);
    const std::string path = Make(std::string("of root ") + change.name, 06777);
    ASSERT_TRUE(Succeeds(setxattr(path.c_str(), "security.capability", kCapability,
                                  sizeof kCapability, 0)));
    EXPECT_EQ(ErrnoOf(change.run(path)), 0);
    EXPECT_FALSE(HasCapability(path));
    EXPECT_EQ(Stat(path).st_mode & 07777, 06777u);
  }
}

TEST_F(AttackTest, ANewOwnerGetsNoPrivileges) {
  const std::string path = Make("file", 06777);
  ASSERT_TRUE(Succeeds(
      setxattr(path.c_str(), "security.capability", kCapability, sizeof kCapability, 0)));
  ASSERT_TRUE(Succeeds(chown(path.c_str(), kOrdinaryUser, kOrdinaryUser)));
  EXPECT_EQ(Stat(path).st_mode & 07777, 0777u);
  EXPECT_FALSE(HasCapability(path));
}

// ---- ioctl(2) calls of cofs ----

// What an unprivileged caller changes loses its privileges, without an ftruncate(2) too.
TEST_F(AttackTest, AShiftDropsSetUserId) {
  const std::string path = Make("program", 0644);
  WriteFile(path, std::string(4 * kBlock, 'p'));
  ASSERT_TRUE(Succeeds(chmod(path.c_str(), 06777)));
  const int result = AsOrdinaryUser([&] {
    cofs_ioc_shift shift{0, kBlock, COFS_SHIFT_COLLAPSE, 0, 0};
    return ioctl(Open(path, O_RDWR).get(), COFS_IOC_SHIFT, &shift) == 0 ? 0 : errno;
  });
  EXPECT_EQ(result, 0);
  EXPECT_EQ(Stat(path).st_mode & 07777, 0777u);
}

TEST_F(AttackTest, HandlesSayWhatMayBeDone) {
  const std::string source = Make("source", 0644), target = Make("target", 0644);
  const std::string secret = Make("secret", 0222);
  const int result = AsOrdinaryUser([&] {
    const Fd reader = Open(target, O_RDONLY), blind = Open(secret, O_WRONLY);
    WriteFile(Path("own"), std::string(2 * kBlock, 'o'));
    const Fd own = Open(Path("own"), O_RDWR);
    cofs_ioc_copy_arm arm = CloneArm();
    cofs_ioc_unshare unshare{0, kBlock};
    cofs_ioc_shift shift{0, kBlock, COFS_SHIFT_INSERT, 0, 0};
    cofs_ioc_copy_report report{};
    cofs_ioc_ticket ticket{};
    cofs_ioc_dedupe dedupe{};
    dedupe.length = kBlock;
    // Nothing is written through a descriptor for reading.
    if (ioctl(reader.get(), COFS_IOC_COPY_ARM, &arm) == 0 || errno != EBADF) return 1;
    if (ioctl(reader.get(), COFS_IOC_UNSHARE, &unshare) == 0 || errno != EBADF) return 2;
    if (ioctl(reader.get(), COFS_IOC_SHIFT, &shift) == 0 || errno != EBADF) return 13;
    if (ioctl(reader.get(), COFS_IOC_COPY_REPORT, &report) == 0 || errno != EBADF)
      return 3;
    // Nothing is read through one for writing: neither by a ticket nor by a clone.
    if (ioctl(blind.get(), COFS_IOC_TICKET, &ticket) == 0 || errno != EBADF) return 4;
    if (ioctl(own.get(), COFS_IOC_COPY_ARM, &arm) != 0) return 5;
    off_t from = 0, to = 0;
    if (copy_file_range(blind.get(), &from, own.get(), &to, kBlock, 0) >= 0 ||
        errno != EBADF)
      return 6;
    // A ticket for one's own file does not open the destination of another.
    if (ioctl(own.get(), COFS_IOC_TICKET, &ticket) != 0) return 7;
    std::memcpy(dedupe.ticket, ticket.ticket, sizeof dedupe.ticket);
    if (ioctl(reader.get(), COFS_IOC_DEDUPE, &dedupe) == 0 || errno != EPERM) return 8;
    // Nor does a directory stand for a file.
    const Fd directory = Open(root(), O_RDONLY | O_DIRECTORY);
    if (ioctl(directory.get(), COFS_IOC_COPY_ARM, &arm) == 0) return 9;
    if (ioctl(directory.get(), COFS_IOC_UNSHARE, &unshare) == 0) return 10;
    if (ioctl(directory.get(), COFS_IOC_SHIFT, &shift) == 0) return 14;
    if (ioctl(directory.get(), COFS_IOC_TICKET, &ticket) == 0) return 11;
    return ReadFile(Path("own")) == std::string(2 * kBlock, 'o') ? 0 : 12;
  });
  EXPECT_EQ(result, 0);
  EXPECT_TRUE(SameBytes(ReadFile(target), std::string(2 * kBlock, 'r')));
}

// As root of a user namespace of its own: all capabilities, of nothing outside of it. 77
// when this kernel does not let users make one.
int AsRootOfANamespace(const std::function<int()>& body) {
  const auto put = [](const char* path, std::string_view text) {
    const Fd fd = Open(path, O_WRONLY);
    if (write(fd.get(), text.data(), text.size()) < 0)
      throw std::system_error(errno, std::generic_category(), path);
  };
  return AsOrdinaryUser([&] {
    // The change of user has made /proc/self root's.
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0 || unshare(CLONE_NEWUSER) != 0) return 77;
    put("/proc/self/setgroups", "deny");
    put("/proc/self/uid_map", "0 65534 1");
    put("/proc/self/gid_map", "0 65534 1");
    return geteuid() == 0 ? body() : 78;
  });
}

int SetOptions(const std::string& path, std::string_view options) {
  const Fd fd = Open(path, O_RDONLY | O_DIRECTORY);
  cofs_ioc_set set{};
  set.length = static_cast<__u32>(options.size());
  options.copy(set.options, options.size());
  return ErrnoOf(ioctl(fd.get(), COFS_IOC_SET, &set));
}

int Trim(const std::string& path) {
  const Fd fd = Open(path, O_RDONLY | O_DIRECTORY);
  fstrim_range range{0, UINT64_MAX, 0};
  return ErrnoOf(ioctl(fd.get(), FITRIM, &range));
}

int ShutDown(const std::string& path) {
  const Fd fd = Open(path, O_RDONLY | O_DIRECTORY);
  uint32_t how = 0;
  return ErrnoOf(ioctl(fd.get(), _IOR('X', 125, uint32_t), &how));  // FS_IOC_SHUTDOWN
}

TEST_F(AttackTest, OnlyAdministratorsAdminister) {
  EXPECT_EQ(SetOptions(root(), "copy=auto"), 0);
  EXPECT_EQ(Trim(root()), 0);
  EXPECT_EQ(AsOrdinaryUser([&] { return SetOptions(root(), "copy=share"); }), EPERM);
  EXPECT_EQ(AsOrdinaryUser([&] { return Trim(root()); }), EPERM);
  const int set = AsRootOfANamespace([&] { return SetOptions(root(), "copy=share"); });
  if (set == 77) GTEST_SKIP() << "users make no namespaces here";
  EXPECT_EQ(set, EPERM);
  EXPECT_EQ(AsRootOfANamespace([&] { return Trim(root()); }), EPERM);
  EXPECT_EQ(AsRootOfANamespace([&] { return ShutDown(root()); }), EPERM);
  // Root that has given its capabilities away.
  const auto as_root_without = [&](const std::function<int()>& body) {
    const pid_t child = fork();
    if (child == 0) {
      int result = 120;
      try {
        if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) == 0) {
          __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
          __user_cap_data_struct none[2] = {};
          if (syscall(SYS_capset, &header, none) == 0) result = body();
        }
      } catch (const std::exception&) {
      }
      _exit(result);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 121;
  };
  EXPECT_EQ(as_root_without([&] { return SetOptions(root(), "copy=share"); }), EPERM);
  EXPECT_EQ(as_root_without([&] { return Trim(root()); }), EPERM);
  EXPECT_EQ(as_root_without([&] { return ShutDown(root()); }), EPERM);
  EXPECT_EQ(AsOrdinaryUser([&] { return ShutDown(root()); }), EPERM);
}

int SetFlags(const std::string& path, int flags) {
  const Fd fd = Open(path, O_RDONLY);
  return ErrnoOf(ioctl(fd.get(), FS_IOC_SETFLAGS, &flags));
}

TEST_F(AttackTest, FlagsOfFiles) {
  const std::string others = Make("others", 0666), own = Path("own");
  EXPECT_EQ(AsOrdinaryUser([&] {
              WriteFile(own, "o");
              return 0;
            }),
            0);
  for (const int flag : {FS_IMMUTABLE_FL, FS_APPEND_FL})
    EXPECT_EQ(AsOrdinaryUser([&] { return SetFlags(own, flag); }), EPERM);
  const int denied = AsOrdinaryUser([&] { return SetFlags(others, FS_NODUMP_FL); });
  EXPECT_TRUE(denied == EPERM || denied == EACCES) << denied;
  EXPECT_EQ(AsOrdinaryUser([&] { return SetFlags(own, FS_NODUMP_FL); }), 0);

  // chattr +i binds root too, by whichever way.
  const std::string source = Make("source", 0644);
  const Fd open_before = Open(others, O_RDWR);
  ASSERT_EQ(SetFlags(others, FS_IMMUTABLE_FL), 0);
  for (const Change& change : Changes(source)) {
    try {
      EXPECT_NE(ErrnoOf(change.run(others)), 0) << change.name;
    } catch (const std::system_error&) {  // could not even open it
    }
  }
  cofs_ioc_unshare unshare{0, kBlock};
  EXPECT_EQ(ErrnoOf(unlink(others.c_str())), EPERM);
  EXPECT_EQ(ErrnoOf(rename(others.c_str(), Path("moved").c_str())), EPERM);
  EXPECT_EQ(ErrnoOf(link(others.c_str(), Path("linked").c_str())), EPERM);
  EXPECT_EQ(ErrnoOf(chmod(others.c_str(), 0777)), EPERM);
  EXPECT_EQ(ErrnoOf(setxattr(others.c_str(), "user.x", "x", 1, 0)), EPERM);
  static_cast<void>(ioctl(open_before.get(), COFS_IOC_UNSHARE, &unshare));
  EXPECT_TRUE(SameBytes(ReadFile(others), std::string(2 * kBlock, 'r')));
  ASSERT_EQ(SetFlags(others, FS_APPEND_FL), 0);
  EXPECT_EQ(ErrnoOf(open(others.c_str(), O_WRONLY)), EPERM);
  EXPECT_EQ(ErrnoOf(open(others.c_str(), O_WRONLY | O_APPEND | O_TRUNC)), EPERM);
  EXPECT_EQ(ErrnoOf(truncate(others.c_str(), 0)), EPERM);
  EXPECT_EQ(write(Open(others, O_WRONLY | O_APPEND).get(), "more", 4), 4);
  EXPECT_TRUE(SameBytes(ReadFile(others), std::string(2 * kBlock, 'r') + "more"));
  ASSERT_EQ(SetFlags(others, 0), 0);
}

}  // namespace
}  // namespace cofs
