// names_bench: operations on names per second.
//
//   names_bench [--threads N] [--keep] DIRECTORY [COUNT]
//   names_bench --readdir DIRECTORY [COUNT]
//
// The first prints one line for each kind of operation: "create 12345" and so on. COUNT
// files (10,000 by default) are shared out over N threads (one by default), each with its
// own directory, and 16 directories in that, or more: none gets more than 1,000 files.
// With --keep it ends after the cold stats, and the files stay. The second makes COUNT
// names in one directory and prints how many milliseconds a cold walk of it takes,
// without looking at the files.
//
// Cold: the kernel's dentries and inodes are dropped before, which needs root; else the
// line is left out.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <latch>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kDirectoriesMin = 16;
constexpr int kFilesPerDirectoryMax = 1000;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void Require(bool done, const std::string& what) {
  if (done) return;
  perror(what.c_str());
  exit(1);
}

bool DropCaches() {
  sync();
  const int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool done = write(fd, "3\n", 2) == 2;
  close(fd);
  return done;
}

// The files of one thread.
class Names {
 public:
  Names(const std::string& directory, int count)
      : directory_(directory),
        count_(count),
        directories_(std::max(kDirectoriesMin, (count - 1) / kFilesPerDirectoryMax + 1)) {
    Require(mkdir(directory_.c_str(), 0755) == 0, directory_);
    for (int i = 0; i < directories_; ++i)
      Require(mkdir(Directory(i).c_str(), 0755) == 0, Directory(i));
  }
  void RemoveDirectories() const {
    for (int i = 0; i < directories_; ++i)
      Require(rmdir(Directory(i).c_str()) == 0, Directory(i));
    Require(rmdir(directory_.c_str()) == 0, directory_);
  }

  void Create() const {
    ForAll("create", [this](int i) {
      const int fd =
          open(Path("f", i).c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
      return fd < 0 ? -1 : close(fd);
    });
  }
  void Stat() const {
    struct stat st;
    ForAll("stat", [&](int i) { return stat(Path("f", i).c_str(), &st); });
  }
  void Rename() const {
    ForAll("rename",
           [this](int i) { return rename(Path("f", i).c_str(), Path("r", i).c_str()); });
  }
  void Unlink() const {
    ForAll("unlink", [this](int i) { return unlink(Path("r", i).c_str()); });
  }

 private:
  std::string Directory(int i) const {
    return directory_ + "/d" + std::to_string(i % directories_);
  }
  std::string Path(const char* prefix, int i) const {
    return Directory(i) + "/" + prefix + std::to_string(i);
  }
  void ForAll(const char* what, const std::function<int(int)>& operation) const {
    for (int i = 0; i < count_; ++i) Require(operation(i) == 0, what);
  }

  const std::string directory_;
  const int count_;
  const int directories_;
};

class NamesBench {
 public:
  NamesBench(const std::string& directory, int count, int threads)
      : count_(count / threads * threads) {
    for (int i = 0; i < threads; ++i)
      names_.emplace_back(directory + "/t" + std::to_string(i), count / threads);
  }

  void Run(bool keep) const {
    Measure("create", &Names::Create);
    if (DropCaches()) Measure("stat-cold", &Names::Stat);
    if (keep) return;
    Measure("stat-warm", &Names::Stat);
    Measure("rename", &Names::Rename);
    Measure("unlink", &Names::Unlink);
    for (const Names& names : names_) names.RemoveDirectories();
  }

 private:
  // From the moment when all threads are there until the last one is done.
  void Measure(const char* what, void (Names::*operation)() const) const {
    std::latch start(static_cast<std::ptrdiff_t>(names_.size()) + 1);
    std::vector<std::thread> threads;
    for (const Names& names : names_) {
      threads.emplace_back([&names, operation, &start] {
        start.arrive_and_wait();
        (names.*operation)();
      });
    }
    start.arrive_and_wait();
    const auto begin = Clock::now();
    for (std::thread& thread : threads) thread.join();
    printf("%s %.0f\n", what, count_ / SecondsSince(begin));
    fflush(stdout);
  }

  std::vector<Names> names_;
  const int count_;
};

void ReadDirectory(const std::string& directory, int count) {
  for (int i = 0; i < count; ++i) {
    const std::string path = directory + "/name" + std::to_string(i);
    Require(mknod(path.c_str(), S_IFREG | 0644, 0) == 0, path);
  }
  if (!DropCaches()) return;
  const auto begin = Clock::now();
  DIR* stream = opendir(directory.c_str());
  Require(stream != nullptr, directory);
  int seen = 0;
  while (const dirent* entry = readdir(stream)) seen += entry->d_name[0] == 'n';
  closedir(stream);
  const double seconds = SecondsSince(begin);
  if (seen != count) {
    fprintf(stderr, "%s: %d of %d names seen\n", directory.c_str(), seen, count);
    exit(1);
  }
  printf("readdir %.2f\n", seconds * 1000);
}

int Usage() {
  fprintf(stderr,
          "usage: names_bench [--threads N] [--keep] DIRECTORY [COUNT]\n"
          "       names_bench --readdir DIRECTORY [COUNT]\n");
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 1;
  bool keep = false;
  bool readdir = false;
  int next = 1;
  for (; next < argc && strncmp(argv[next], "--", 2) == 0; ++next) {
    if (strcmp(argv[next], "--keep") == 0)
      keep = true;
    else if (strcmp(argv[next], "--readdir") == 0)
      readdir = true;
    else if (strcmp(argv[next], "--threads") == 0 && next + 1 < argc)
      threads = atoi(argv[++next]);
    else
      return Usage();
  }
  const int arguments = argc - next;
  const int count = arguments > 1 ? atoi(argv[next + 1]) : 10000;
  if (arguments < 1 || arguments > 2 || threads < 1 || count < threads) return Usage();
  if (readdir)
    ReadDirectory(argv[next], count);
  else
    NamesBench(argv[next], count, threads).Run(keep);
  return 0;
}
