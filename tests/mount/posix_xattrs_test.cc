// Extended attributes and POSIX ACLs.
#include <endian.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <set>
#include <string>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

class PosixXattrsTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    file_ = Path("file");
    WriteFile(file_, "contents");
  }
  int Set(const std::string& name, const std::string& value, int flags = 0) {
    return lsetxattr(file_.c_str(), name.c_str(), value.data(), value.size(), flags);
  }
  std::string Get(const std::string& name) { return GetOf(file_, name); }
  static std::string GetOf(const std::string& path, const std::string& name) {
    std::string value(1 << 17, '\0');
    const ssize_t size = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0) return std::string("error: ") + strerrorname_np(errno);
    value.resize(static_cast<size_t>(size));
    return value;
  }
  std::set<std::string> List() {
    std::string list(1 << 17, '\0');
    const ssize_t size = llistxattr(file_.c_str(), list.data(), list.size());
    EXPECT_TRUE(Succeeds(size));
    std::set<std::string> names;
    for (ssize_t at = 0; at < size;) {
      names.insert(list.c_str() + at);
      at += static_cast<ssize_t>(strlen(list.c_str() + at)) + 1;
    }
    return names;
  }

  std::string file_;
};

TEST_F(PosixXattrsTest, SetGetListRemove) {
  EXPECT_EQ(List(), std::set<std::string>{});
  ASSERT_TRUE(Succeeds(Set("user.one", "1")));
  ASSERT_TRUE(Succeeds(Set("user.empty", "")));
  ASSERT_TRUE(Succeeds(Set("trusted.binary", std::string("\0\1\xff", 3))));
  Remount();
  EXPECT_EQ(Get("user.one"), "1");
  EXPECT_EQ(Get("user.empty"), "");
  EXPECT_EQ(Get("trusted.binary"), std::string("\0\1\xff", 3));
  EXPECT_EQ(List(), (std::set<std::string>{"user.one", "user.empty", "trusted.binary"}));
  ASSERT_TRUE(Succeeds(Set("user.one", "a longer value than before")));
  EXPECT_EQ(Get("user.one"), "a longer value than before");
  ASSERT_TRUE(Succeeds(lremovexattr(file_.c_str(), "user.one")));
  EXPECT_EQ(Get("user.one"), "error: ENODATA");
  EXPECT_TRUE(FailsWith(lremovexattr(file_.c_str(), "user.one"), ENODATA));
  EXPECT_EQ(List(), (std::set<std::string>{"user.empty", "trusted.binary"}));
}

TEST_F(PosixXattrsTest, CreateAndReplace) {
  EXPECT_TRUE(FailsWith(Set("user.a", "1", XATTR_REPLACE), ENODATA));
  ASSERT_TRUE(Succeeds(Set("user.a", "1", XATTR_CREATE)));
  EXPECT_TRUE(FailsWith(Set("user.a", "2", XATTR_CREATE), EEXIST));
  EXPECT_EQ(Get("user.a"), "1");
  ASSERT_TRUE(Succeeds(Set("user.a", "3", XATTR_REPLACE)));
  EXPECT_EQ(Get("user.a"), "3");
}

TEST_F(PosixXattrsTest, SmallBuffers) {
  ASSERT_TRUE(Succeeds(Set("user.a", "12345")));
  char buffer[4];
  EXPECT_EQ(lgetxattr(file_.c_str(), "user.a", nullptr, 0), 5);
  EXPECT_TRUE(FailsWith(lgetxattr(file_.c_str(), "user.a", buffer, 4), ERANGE));
  EXPECT_EQ(llistxattr(file_.c_str(), nullptr, 0), 7);
  EXPECT_TRUE(FailsWith(llistxattr(file_.c_str(), buffer, 4), ERANGE));
}

TEST_F(PosixXattrsTest, LargeValues) {
  const std::string largest = Pattern(1, 0, 65536);
  if (!OnCofs() && Set("user.large", largest) != 0)
    GTEST_SKIP() << "this file system has no values of 64 KiB";
  ASSERT_TRUE(Succeeds(Set("user.large", largest)));
  EXPECT_TRUE(FailsWith(Set("user.larger", largest + "x"), E2BIG));
  Remount();
  EXPECT_TRUE(SameBytes(Get("user.large"), largest));
}

TEST_F(PosixXattrsTest, LongNames) {
  const std::string name = "user." + std::string(250, 'n');
  ASSERT_TRUE(Succeeds(Set(name, "x")));
  EXPECT_TRUE(FailsWith(Set(name + "n", "x"), ERANGE));  // the kernel's answer
  EXPECT_EQ(Get(name), "x");
  EXPECT_EQ(List(), std::set<std::string>{name});
}

TEST_F(PosixXattrsTest, ManyAttributes) {
  const int count = OnCofs() ? 500 : 20;
  std::set<std::string> names;
  for (int i = 0; i < count; ++i) {
    const std::string name = "user.attribute" + std::to_string(i);
    ASSERT_TRUE(Succeeds(Set(name, std::to_string(i)))) << i;
    names.insert(name);
  }
  Remount();
  EXPECT_EQ(List(), names);
  for (int i = 0; i < count; ++i)
    EXPECT_EQ(Get("user.attribute" + std::to_string(i)), std::to_string(i));
}

TEST_F(PosixXattrsTest, OfEveryKindOfInode) {
  MakeDirectory(Path("directory"));
  ASSERT_TRUE(Succeeds(symlink("file", Path("link").c_str())));
  const auto set = [&](const char* name, const char* attribute) {
    return lsetxattr(Path(name).c_str(), attribute, "v", 1, 0);
  };
  ASSERT_TRUE(Succeeds(set("directory", "user.a")));
  ASSERT_TRUE(Succeeds(set("link", "trusted.a")));
  EXPECT_TRUE(FailsWith(set("link", "user.a"), EPERM));
  EXPECT_EQ(GetOf(Path("directory"), "user.a"), "v");
  EXPECT_EQ(GetOf(Path("link"), "trusted.a"), "v");
  EXPECT_EQ(Get("trusted.a"), "error: ENODATA");
}

TEST_F(PosixXattrsTest, GoWithTheirFile) {
  ASSERT_TRUE(Succeeds(Set("user.a", "1")));
  ASSERT_TRUE(Succeeds(link(file_.c_str(), Path("second").c_str())));
  ASSERT_TRUE(Succeeds(unlink(file_.c_str())));
  ASSERT_TRUE(Succeeds(rename(Path("second").c_str(), Path("third").c_str())));
  EXPECT_EQ(GetOf(Path("third"), "user.a"), "1");
  // A new file of the old name has none of them.
  WriteFile(file_, "new");
  EXPECT_EQ(List(), std::set<std::string>{});
}

TEST_F(PosixXattrsTest, ChangesMoveTheChangeTime) {
  const timespec before = Stat(file_).st_ctim;
  usleep(20000);
  ASSERT_TRUE(Succeeds(Set("user.a", "1")));
  const timespec after = Stat(file_).st_ctim;
  EXPECT_TRUE(before.tv_sec < after.tv_sec || before.tv_nsec != after.tv_nsec);
}

// ---- ACLs, in the kernel's form (include/uapi/linux/posix_acl_xattr.h) ----
struct AclEntry {
  uint16_t tag, permissions;
  uint32_t id;
};
constexpr uint32_t kNobody = UINT32_MAX;
constexpr uint16_t kUserObj = 1, kUser = 2, kGroupObj = 4, kMask = 0x10, kOther = 0x20;

std::string Acl(const std::vector<AclEntry>& entries) {
  std::string bytes;
  const auto put = [&](auto value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  put(htole32(2));
  for (const AclEntry& entry : entries) {
    put(htole16(entry.tag));
    put(htole16(entry.permissions));
    put(htole32(entry.id));
  }
  return bytes;
}

TEST_F(PosixXattrsTest, AccessListsGrantToOneUser) {
  ASSERT_TRUE(Succeeds(chmod(root().c_str(), 0755)));
  ASSERT_TRUE(Succeeds(chmod(file_.c_str(), 0600)));
  const auto read = [&] {
    return AsOrdinaryUser([&] { return open(file_.c_str(), O_RDONLY) < 0 ? errno : 0; });
  };
  EXPECT_EQ(read(), EACCES);
  const std::string acl = Acl({{kUserObj, 6, kNobody},
                               {kUser, 4, kOrdinaryUser},
                               {kGroupObj, 0, kNobody},
                               {kMask, 4, kNobody},
                               {kOther, 0, kNobody}});
  ASSERT_TRUE(Succeeds(Set("system.posix_acl_access", acl)));
  EXPECT_EQ(read(), 0);
  EXPECT_EQ(Stat(file_).st_mode & 0777, 0640u);  // the group bits show the mask
  ASSERT_TRUE(Succeeds(chmod(file_.c_str(), 0600)));  // masks everything
  EXPECT_EQ(read(), EACCES);
  ASSERT_TRUE(Succeeds(chmod(file_.c_str(), 0640)));
  Remount();
  EXPECT_EQ(read(), 0);
}

TEST_F(PosixXattrsTest, DefaultListsAreInherited) {
  MakeDirectory(Path("directory"));
  const std::string acl = Acl({{kUserObj, 7, kNobody},
                               {kUser, 5, kOrdinaryUser},
                               {kGroupObj, 5, kNobody},
                               {kMask, 5, kNobody},
                               {kOther, 0, kNobody}});
  ASSERT_TRUE(Succeeds(lsetxattr(Path("directory").c_str(), "system.posix_acl_default",
                                 acl.data(), acl.size(), 0)));
  WriteFile(Path("directory/file"), "x");
  MakeDirectory(Path("directory/inner"));
  Remount();
  EXPECT_EQ(GetOf(Path("directory/inner"), "system.posix_acl_default"), acl);
  const std::string of_file = GetOf(Path("directory/file"), "system.posix_acl_access");
  EXPECT_EQ(of_file, Acl({{kUserObj, 6, kNobody},
                          {kUser, 5, kOrdinaryUser},
                          {kGroupObj, 5, kNobody},
                          {kMask, 4, kNobody},
                          {kOther, 0, kNobody}}));
  EXPECT_EQ(Stat(Path("directory/file")).st_mode & 0777, 0640u);
}

}  // namespace
}  // namespace cofs
