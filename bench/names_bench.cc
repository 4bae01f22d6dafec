// names_bench: operations on names per second, one thread.
//
//   names_bench DIRECTORY [COUNT]
//
// Prints one line for each: "create 12345" and so on. Creation and removal go over all
// COUNT files (10,000 by default) in 16 directories; the stats are cold: the kernel's
// dentries and inodes are dropped before (which needs root, else the line is left out).
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

namespace {

constexpr int kDirectories = 16;

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

class NamesBench {
 public:
  NamesBench(std::string directory, int count)
      : directory_(std::move(directory)), count_(count) {}

  void Run() {
    Measure("mkdir", kDirectories, [&](int i) { return mkdir(Directory(i).c_str(), 0755); });
    Measure("create", count_, [&](int i) {
      const int fd = open(Path("f", i).c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
      return fd < 0 ? -1 : close(fd);
    });
    struct stat st;
    const auto stat_one = [&](int i) { return stat(Path("f", i).c_str(), &st); };
    if (DropCaches()) Measure("stat-cold", count_, stat_one);
    Measure("stat-warm", count_, stat_one);
    Measure("rename", count_, [&](int i) {
      return rename(Path("f", i).c_str(), Path("r", i).c_str());
    });
    Measure("unlink", count_, [&](int i) { return unlink(Path("r", i).c_str()); });
    for (int i = 0; i < kDirectories; ++i)
      Require(rmdir(Directory(i).c_str()) == 0, "rmdir");
  }

 private:
  std::string Directory(int i) const {
    return directory_ + "/d" + std::to_string(i % kDirectories);
  }
  std::string Path(const char* prefix, int i) const {
    return Directory(i) + "/" + prefix + std::to_string(i);
  }
  static void Measure(const char* name, int count, const std::function<int(int)>& operation) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) Require(operation(i) == 0, name);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    if (count > kDirectories) printf("%s %.0f\n", name, count / seconds.count());
  }

  const std::string directory_;
  const int count_;
};

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 2 ? atoi(argv[2]) : 10000;
  if (argc < 2 || argc > 3 || count <= kDirectories) {
    fprintf(stderr, "usage: names_bench DIRECTORY [COUNT]\n");
    return 1;
  }
  NamesBench(argv[1], count).Run();
  return 0;
}
