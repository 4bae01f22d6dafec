// fsck_bench: how long a check takes, and how much memory.
//
//   fsck_bench IMAGE COUNT [fsck.cofs OPTION...]
//
// Makes a volume with COUNT files of one block in directories of 1000, through the core
// as a mount does, unless IMAGE exists already; then runs fsck.cofs, which is beside this
// program, and prints its time and its largest resident memory.
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "device/file_device.h"
#include "fs/core/volume.h"
#include "mkfs/format.h"

namespace cofs {
namespace {

constexpr uint64_t kFilesOfDirectory = 1000;

void Require(const Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "fsck_bench: %s: %s\n", what, status.error().ToString().c_str());
  std::exit(1);
}

template <typename T>
T Need(Result<T> result, const char* what) {
  if (!result.ok()) Require(Status(result.error()), what);
  return std::move(result).value();
}

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

void Fill(Volume& volume, uint64_t count) {
  AlignedBuffer block = AlignedBuffer::Zeroed(kBlockBytes);
  InodeId directory;
  for (uint64_t i = 0; i < count; ++i) {
    if (i % kFilesOfDirectory == 0) {
      if (i != 0) volume.Forget(directory, 1);
      directory = Need(volume.Create(kRootInode, "directory" + std::to_string(i),
                                     {.mode = S_IFDIR | 0755}),
                       "mkdir")
                      .id;
    }
    const InodeId file = Need(volume.Create(directory, "file" + std::to_string(i),
                                            {.mode = S_IFREG | 0644}),
                              "create")
                             .id;
    std::memcpy(block.data(), &i, sizeof(i));
    Require(volume.Write(file, FileOffset{0}, block.span(), {}), "write");
    volume.Forget(file, 1);
  }
}

void MakeVolume(const std::string& path, uint64_t count) {
  const auto begin = std::chrono::steady_clock::now();
  FormatOptions format;
  format.size_bytes = (2ull << 30) + count * 2 * kBlockBytes;
  Need(FormatVolume(path, format), "mkfs");
  auto volume =
      Need(Volume::Mount(Need(FileDevice::Open(path, OpenMode::kReadWrite), "open"), {}),
           "mount");
  Fill(*volume, count);
  Require(volume->Unmount(), "unmount");
  std::printf("made %llu files in %.1f s\n", static_cast<unsigned long long>(count),
              Seconds(begin));
  std::fflush(stdout);
}

int Check(const std::string& program, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const auto begin = std::chrono::steady_clock::now();
  const pid_t child = ::fork();
  if (child == 0) {
    ::execv(program.c_str(), argv.data());
    std::_Exit(127);
  }
  int status = 0;
  rusage usage = {};
  if (child < 0 || ::wait4(child, &status, 0, &usage) != child) return 1;
  std::printf("fsck.cofs: exit code %d, %.1f s, %.1f s of processor, %ld MiB\n",
              WIFEXITED(status) ? WEXITSTATUS(status) : -1, Seconds(begin),
              static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                  static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
              usage.ru_maxrss >> 10);
  return 0;
}

}  // namespace
}  // namespace cofs

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: fsck_bench IMAGE COUNT [fsck.cofs OPTION...]\n");
    return 2;
  }
  const std::string image = argv[1];
  if (::access(image.c_str(), F_OK) != 0)
    cofs::MakeVolume(image, std::strtoull(argv[2], nullptr, 10));
  std::vector<std::string> arguments(argv + 3, argv + argc);
  if (arguments.empty()) arguments.push_back("-n");
  arguments.push_back(image);
  std::string program = argv[0];
  program.erase(program.rfind('/') + 1);
  return cofs::Check(program + "fsck.cofs", arguments);
}
