#include "tests/mount/file_io.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <filesystem>
#include <system_error>
#include <thread>

#include "base/types.h"

namespace cofs {
namespace {

constexpr uint64_t kDefaultSeed = 20;
constexpr size_t kPieceBytes = 1 << 20;

// One round of a 64-bit mixer (the finaliser of SplitMix64, Steele et al. 2014).
uint64_t Mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace

void ThrowErrno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

::testing::AssertionResult Succeeds(long result) {
  if (result >= 0) return ::testing::AssertionSuccess();
  const int error_number = errno;
  return ::testing::AssertionFailure()
         << strerrorname_np(error_number) << " (" << strerror(error_number) << ")";
}

::testing::AssertionResult FailsWith(long result, int error_number) {
  const int actual = errno;
  if (result >= 0) {
    return ::testing::AssertionFailure()
           << "succeeded with " << result << ", expected " << strerrorname_np(error_number);
  }
  if (actual == error_number) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "failed with " << strerrorname_np(actual)
                                       << ", expected " << strerrorname_np(error_number);
}

uint64_t Seed() {
  static const uint64_t seed = [] {
    const char* text = getenv("COFS_SEED");
    const uint64_t value = text ? strtoull(text, nullptr, 0) : kDefaultSeed;
    printf("COFS_SEED=%llu\n", static_cast<unsigned long long>(value));
    return value;
  }();
  return seed;
}

std::string Pattern(uint64_t seed, uint64_t offset, size_t length) {
  std::string bytes(length, '\0');
  const uint64_t base = Mix(seed);
  size_t done = 0;
  while (done < length) {
    const uint64_t position = offset + done;
    const uint64_t word = Mix(base + position / 8);
    const size_t skip = position % 8;
    const size_t count = std::min(8 - skip, length - done);
    memcpy(bytes.data() + done, reinterpret_cast<const char*>(&word) + skip, count);
    done += count;
  }
  return bytes;
}

Fd Open(const std::string& path, int flags, mode_t mode) {
  Fd fd(open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd.valid()) ThrowErrno("open " + path);
  return fd;
}

void WriteAt(int fd, uint64_t offset, std::string_view data) {
  while (!data.empty()) {
    const ssize_t count = pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) ThrowErrno("write at " + std::to_string(offset));
    data.remove_prefix(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
}

std::string ReadAt(int fd, uint64_t offset, size_t length) {
  std::string data(length, '\0');
  size_t done = 0;
  while (done < length) {
    const ssize_t count =
        pread(fd, data.data() + done, length - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) ThrowErrno("read at " + std::to_string(offset + done));
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  data.resize(done);
  return data;
}

void WriteFile(const std::string& path, std::string_view data) {
  const Fd fd = Open(path, O_WRONLY | O_CREAT | O_TRUNC);
  WriteAt(fd.get(), 0, data);
}

std::string ReadFile(const std::string& path) {
  const Fd fd = Open(path, O_RDONLY);
  return ReadAt(fd.get(), 0, static_cast<size_t>(Stat(fd.get()).st_size) + 1);
}

std::string ReadFileDirect(const std::string& path) {
  const Fd fd = Open(path, O_RDONLY | O_DIRECT);
  AlignedBuffer buffer(kPieceBytes);
  std::string data;
  for (;;) {
    // Not far past the end: XFS refuses that where it has reserved space.
    const auto size = static_cast<size_t>(Stat(fd.get()).st_size);
    const size_t left = RoundUp(std::max(size, data.size() + 1) - data.size(), kBlockBytes);
    const size_t wanted = std::min(left, kPieceBytes);
    const ssize_t count =
        pread(fd.get(), buffer.data(), wanted, static_cast<off_t>(data.size()));
    if (count < 0) ThrowErrno("direct read of " + path);
    data.append(buffer.data(), static_cast<size_t>(count));
    if (static_cast<size_t>(count) < wanted) return data;
  }
}

struct stat Stat(const std::string& path) {
  struct stat st;
  if (lstat(path.c_str(), &st) != 0) ThrowErrno("stat " + path);
  return st;
}

struct stat Stat(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) ThrowErrno("fstat");
  return st;
}

bool Exists(const std::string& path) {
  struct stat st;
  if (lstat(path.c_str(), &st) == 0) return true;
  if (errno != ENOENT) ThrowErrno("stat " + path);
  return false;
}

void MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0755) != 0) ThrowErrno("mkdir " + path);
}

void SyncDirectory(const std::string& path) {
  const Fd fd = Open(path, O_RDONLY | O_DIRECTORY);
  if (fsync(fd.get()) != 0) ThrowErrno("fsync " + path);
}

void RemoveTree(const std::string& path) { std::filesystem::remove_all(path); }

std::vector<std::string> ListDirectory(const std::string& path) {
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) ThrowErrno("opendir " + path);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  const int error_number = errno;
  closedir(directory);
  if (error_number != 0) {
    errno = error_number;
    ThrowErrno("readdir " + path);
  }
  std::sort(names.begin(), names.end());
  return names;
}

::testing::AssertionResult SameBytes(std::string_view actual, std::string_view expected) {
  const size_t common = std::min(actual.size(), expected.size());
  const size_t first = static_cast<size_t>(
      std::mismatch(actual.begin(), actual.begin() + static_cast<long>(common),
                    expected.begin())
          .first -
      actual.begin());
  if (first == common && actual.size() == expected.size())
    return ::testing::AssertionSuccess();
  auto failure = ::testing::AssertionFailure();
  failure << actual.size() << " bytes, expected " << expected.size();
  if (first == common) return failure;
  size_t different = 0;
  for (size_t i = first; i < common; ++i) different += actual[i] != expected[i];
  const bool zeroes = actual.find_first_not_of('\0', first) >= std::min(first + 512, common);
  return failure << "; first difference at " << first << " (in all " << different << "): 0x"
                 << std::hex << int{static_cast<unsigned char>(actual[first])}
                 << ", expected 0x" << int{static_cast<unsigned char>(expected[first])}
                 << (zeroes ? "; zeros there" : "");
}

std::vector<DataRange> DataRanges(int fd) {
  std::vector<DataRange> ranges;
  off_t position = 0;
  for (;;) {
    const off_t data = lseek(fd, position, SEEK_DATA);
    if (data < 0) {
      if (errno == ENXIO) return ranges;
      ThrowErrno("SEEK_DATA");
    }
    const off_t hole = lseek(fd, data, SEEK_HOLE);
    if (hole < 0) ThrowErrno("SEEK_HOLE");
    if (data < position || hole <= data) throw std::logic_error("lseek went backwards");
    const DataRange range{static_cast<uint64_t>(data), static_cast<uint64_t>(hole)};
    if (!ranges.empty() && ranges.back().end == range.begin)
      ranges.back().end = range.end;  // adjacent extents may be told one by one
    else
      ranges.push_back(range);
    position = hole;
  }
}

std::ostream& operator<<(std::ostream& out, const DataRange& range) {
  return out << "[" << range.begin << ", " << range.end << ")";
}

void InThreads(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&body, i] {
      try {
        body(i);
      } catch (const std::exception& e) {
        ADD_FAILURE() << "thread " << i << ": " << e.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

int AsOrdinaryUser(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid < 0) ThrowErrno("fork");
  if (pid == 0) {
    int result = 120;
    try {
      if (setgroups(0, nullptr) == 0 && setgid(kOrdinaryUser) == 0 &&
          setuid(kOrdinaryUser) == 0)
        result = body();
    } catch (const std::exception&) {
    }
    _exit(result);
  }
  int wait_status = 0;
  while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

AlignedBuffer AlignedCopy(std::string_view data) {
  AlignedBuffer buffer(std::max<size_t>(data.size(), 1));
  memcpy(buffer.data(), data.data(), data.size());
  return buffer;
}

}  // namespace cofs
