// Directories: reading them while they change, positions, many entries.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

class PosixDirectoriesTest : public MountTest {
 protected:
  void MakeFiles(const std::string& directory, const std::string& prefix, int count) {
    const Fd parent = Open(directory, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < count; ++i) {
      const Fd fd(openat(parent.get(), (prefix + std::to_string(i)).c_str(),
                         O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
      ASSERT_TRUE(fd.valid()) << prefix << i << ": " << strerror(errno);
    }
  }
};

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// How often each name is seen in one pass.
std::map<std::string, int> CountNames(DIR* directory) {
  std::map<std::string, int> seen;
  while (const dirent* entry = readdir(directory)) ++seen[entry->d_name];
  return seen;
}

TEST_F(PosixDirectoriesTest, EntriesTellInodeAndType) {
  WriteFile(Path("file"), "x");
  MakeDirectory(Path("directory"));
  ASSERT_TRUE(Succeeds(symlink("file", Path("symlink").c_str())));
  ASSERT_TRUE(Succeeds(mkfifo(Path("fifo").c_str(), 0644)));
  const std::map<std::string, unsigned char> types = {
      {"file", DT_REG}, {"directory", DT_DIR}, {"symlink", DT_LNK}, {"fifo", DT_FIFO},
      {".", DT_DIR},    {"..", DT_DIR}};
  const Directory directory(opendir(root().c_str()));
  size_t count = 0;
  while (const dirent* entry = readdir(directory.get())) {
    const std::string name = entry->d_name;
    ASSERT_TRUE(types.contains(name)) << name;
    EXPECT_EQ(entry->d_type, types.at(name)) << name;
    if (name != "..") {
      EXPECT_EQ(entry->d_ino, Stat(Path(name)).st_ino) << name;
    }
    ++count;
  }
  EXPECT_EQ(count, types.size());
}

TEST_F(PosixDirectoriesTest, EveryEntryThatStaysIsSeenOnce) {
  constexpr int kStaying = 3000;
  MakeFiles(root(), "staying", kStaying);
  MakeFiles(root(), "going", 2000);
  std::atomic<int> readers{2};
  struct Leaving {
    std::atomic<int>& count;
    ~Leaving() { --count; }
  };
  InThreads(3, [&](int thread) {
    if (thread == 0) {  // removes, adds and renames as long as the others read
      for (int i = 0; readers > 0; i = (i + 1) % 2000) {
        const std::string name = Path("going" + std::to_string(i));
        unlink(name.c_str());
        WriteFile(Path("coming" + std::to_string(i)), "");
        rename(Path("coming" + std::to_string(i)).c_str(), name.c_str());
      }
      return;
    }
    const Leaving leaving{readers};
    for (int pass = 0; pass < 4; ++pass) {
      const Directory directory(opendir(root().c_str()));
      const auto seen = CountNames(directory.get());
      for (int i = 0; i < kStaying; ++i) {
        const auto found = seen.find("staying" + std::to_string(i));
        const int times = found == seen.end() ? 0 : found->second;
        EXPECT_EQ(times, 1) << "staying" << i;
      }
    }
  });
}

TEST_F(PosixDirectoriesTest, RemovingWhileReading) {
  // How rm -r works: every entry is removed as it is read.
  MakeFiles(root(), "file", 5000);
  const Directory directory(opendir(root().c_str()));
  int removed = 0;
  while (const dirent* entry = readdir(directory.get())) {
    if (entry->d_name[0] == '.') continue;
    ASSERT_TRUE(Succeeds(unlinkat(dirfd(directory.get()), entry->d_name, 0)));
    ++removed;
  }
  EXPECT_EQ(removed, 5000);
  EXPECT_EQ(ListDirectory(root()).size(), 0u);
}

TEST_F(PosixDirectoriesTest, PositionsComeBack) {
  MakeFiles(root(), "file", 1000);
  const Directory directory(opendir(root().c_str()));
  std::vector<std::pair<long, std::string>> entries;  // position before, name
  for (;;) {
    const long position = telldir(directory.get());
    const dirent* entry = readdir(directory.get());
    if (entry == nullptr) break;
    entries.emplace_back(position, entry->d_name);
  }
  ASSERT_EQ(entries.size(), 1002u);
  for (size_t i = 0; i < entries.size(); i += 7) {
    const auto& [position, name] = entries[(i * 31) % entries.size()];
    seekdir(directory.get(), position);
    const dirent* entry = readdir(directory.get());
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->d_name, name);
  }
  rewinddir(directory.get());
  EXPECT_EQ(CountNames(directory.get()).size(), 1002u);
}

TEST_F(PosixDirectoriesTest, PositionsOutliveTheirEntry) {
  MakeFiles(root(), "file", 500);
  const Directory directory(opendir(root().c_str()));
  std::vector<std::string> names;
  std::vector<long> after;
  while (const dirent* entry = readdir(directory.get())) {
    names.push_back(entry->d_name);
    after.push_back(telldir(directory.get()));
  }
  // The entry of the position is removed; the walk goes on behind it.
  ASSERT_TRUE(Succeeds(unlink(Path(names[250]).c_str())));
  seekdir(directory.get(), after[250]);
  std::vector<std::string> rest;
  while (const dirent* entry = readdir(directory.get())) rest.push_back(entry->d_name);
  EXPECT_EQ(rest, std::vector<std::string>(names.begin() + 251, names.end()));
}

TEST_F(PosixDirectoriesTest, PositionsOutliveARemount) {
  MakeFiles(root(), "file", 500);
  std::vector<std::string> names;
  long middle = 0;
  {
    const Directory directory(opendir(root().c_str()));
    while (const dirent* entry = readdir(directory.get())) {
      names.push_back(entry->d_name);
      if (names.size() == 200) middle = entry->d_off;
    }
  }
  Remount();
  const Directory directory(opendir(root().c_str()));
  ASSERT_TRUE(Succeeds(lseek(dirfd(directory.get()), middle, SEEK_SET)));
  std::vector<std::string> rest;
  while (const dirent* entry = readdir(directory.get())) rest.push_back(entry->d_name);
  EXPECT_EQ(rest, std::vector<std::string>(names.begin() + 200, names.end()));
}

TEST_F(PosixDirectoriesTest, ChangesAreSeenByTheNextPass) {
  const Directory directory(opendir(root().c_str()));
  EXPECT_EQ(CountNames(directory.get()).size(), 2u);
  WriteFile(Path("new"), "x");
  rewinddir(directory.get());
  EXPECT_EQ(CountNames(directory.get()).size(), 3u);
  ASSERT_TRUE(Succeeds(unlink(Path("new").c_str())));
  rewinddir(directory.get());
  EXPECT_EQ(CountNames(directory.get()).size(), 2u);
}

TEST_F(PosixDirectoriesTest, TimesOfADirectoryFollowItsEntries) {
  MakeDirectory(Path("d"));
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  const auto mtime_moves = [&](const char* what, const std::function<int()>& change) {
    ASSERT_TRUE(Succeeds(utimensat(AT_FDCWD, Path("d").c_str(), old, 0)));
    ASSERT_TRUE(Succeeds(change())) << what;
    EXPECT_GT(Stat(Path("d")).st_mtime, 1000) << what;
  };
  mtime_moves("create", [&] { return mknod(Path("d/a").c_str(), S_IFREG | 0644, 0); });
  mtime_moves("link", [&] { return link(Path("d/a").c_str(), Path("d/b").c_str()); });
  mtime_moves("rename", [&] { return rename(Path("d/a").c_str(), Path("d/c").c_str()); });
  mtime_moves("symlink", [&] { return symlink("x", Path("d/s").c_str()); });
  mtime_moves("unlink", [&] { return unlink(Path("d/b").c_str()); });
  mtime_moves("mkdir", [&] { return mkdir(Path("d/e").c_str(), 0755); });
  mtime_moves("rmdir", [&] { return rmdir(Path("d/e").c_str()); });
}

TEST_F(PosixDirectoriesTest, AHundredThousandFiles) {
  const int count = UnderSanitizer() ? 10000 : 100000;
  MakeDirectory(Path("many"));
  MakeFiles(Path("many"), "file", count);
  if (HasFailure()) return;
  const Fd parent = Open(Path("many"), O_RDONLY | O_DIRECTORY);
  {
    const Directory directory(opendir(Path("many").c_str()));
    const auto seen = CountNames(directory.get());
    EXPECT_EQ(seen.size(), static_cast<size_t>(count) + 2);
    for (const auto& [name, times] : seen) ASSERT_EQ(times, 1) << name;
  }
  struct stat st;
  for (int i = 0; i < count; i += 11) {
    const std::string name = "file" + std::to_string(i);
    ASSERT_TRUE(Succeeds(fstatat(parent.get(), name.c_str(), &st, 0))) << name;
  }
  for (int i = 0; i < count; i += 3) {
    const std::string name = "file" + std::to_string(i);
    ASSERT_TRUE(Succeeds(unlinkat(parent.get(), name.c_str(), 0))) << name;
  }
  const int removed = (count + 2) / 3;
  EXPECT_EQ(ListDirectory(Path("many")).size(), static_cast<size_t>(count - removed));
  EXPECT_TRUE(FailsWith(fstatat(parent.get(), "file0", &st, 0), ENOENT));
  EXPECT_TRUE(Succeeds(fstatat(parent.get(), "file1", &st, 0)));
}

}  // namespace
}  // namespace cofs
