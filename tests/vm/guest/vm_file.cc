// Files of known contents (stream.h), for the cases.
//
//   vm_file write FILE OFFSET LENGTH SEED [STREAM_OFFSET]   and fsync
//   vm_file check FILE OFFSET LENGTH SEED [STREAM_OFFSET]   the file holds that
//   vm_file size  FILE BYTES                                the file is so long
//   vm_file scatter | gathered FILE COUNT STRIDE LENGTH SEED
//       the same COUNT times, at multiples of STRIDE: writes, or checks
//   vm_file copy  FROM FROM_OFFSET TO TO_OFFSET LENGTH      copy_file_range(2)
//       prints the bytes copied until the end or an error, and the error's name
//   vm_file mark  DEVICE NUMBER                             reads that 512-byte sector
//
// Exit: 0 done, or equal; 1 not; `copy` ends with 0 whatever the kernel answered.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tests/vm/guest/stream.h"

namespace {

constexpr uint64_t kStep = 1 << 20;

[[noreturn]] void Die(const std::string& what) {
  std::printf("vm_file: %s: %s\n", what.c_str(), strerrorname_np(errno));
  std::exit(1);
}

std::vector<char> Stream(uint64_t seed, uint64_t offset, uint64_t length) {
  std::vector<char> bytes(length);
  cofs::FillFromStream(bytes.data(), seed, offset, length);
  return bytes;
}

int OpenOrDie(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (fd < 0) Die(path);
  return fd;
}

struct Place {
  std::string path;
  uint64_t offset, length, seed, stream_offset;
};

void Write(int fd, const Place& place) {
  for (uint64_t done = 0; done < place.length;) {
    const auto bytes = Stream(place.seed, place.stream_offset + done,
                              std::min(kStep, place.length - done));
    const ssize_t count =
        ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(place.offset + done));
    if (count <= 0) Die(place.path);
    done += static_cast<uint64_t>(count);
  }
}

bool Check(int fd, const Place& place) {
  std::vector<char> found(kStep);
  for (uint64_t done = 0; done < place.length;) {
    const ssize_t count = ::pread(fd, found.data(), std::min(kStep, place.length - done),
                                  static_cast<off_t>(place.offset + done));
    if (count < 0) Die(place.path + " at " + std::to_string(place.offset + done));
    if (count == 0) {
      std::printf("%s ends at %ju\n", place.path.c_str(), uintmax_t{place.offset + done});
      return false;
    }
    const auto bytes =
        Stream(place.seed, place.stream_offset + done, static_cast<uint64_t>(count));
    const auto differs = std::mismatch(bytes.begin(), bytes.end(), found.begin()).first;
    if (differs != bytes.end()) {
      const auto in_step = static_cast<uint64_t>(differs - bytes.begin());
      std::printf("%s differs at %ju\n", place.path.c_str(),
                  uintmax_t{place.offset + done + in_step});
      return false;
    }
    done += static_cast<uint64_t>(count);
  }
  return true;
}

int WriteAll(const std::vector<Place>& places) {
  const int fd = OpenOrDie(places.front().path, O_WRONLY | O_CREAT);
  for (const Place& place : places) Write(fd, place);
  if (::fsync(fd) != 0) Die(places.front().path);
  return 0;
}

int CheckAll(const std::vector<Place>& places) {
  const int fd = OpenOrDie(places.front().path, O_RDONLY);
  for (const Place& place : places)
    if (!Check(fd, place)) return 1;
  return 0;
}

int CheckSize(const std::string& path, uint64_t bytes) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) Die(path);
  if (static_cast<uint64_t>(info.st_size) == bytes) return 0;
  std::printf("%s has %jd bytes\n", path.c_str(), intmax_t{info.st_size});
  return 1;
}

int Copy(const std::string& from, uint64_t from_offset, const std::string& to,
         uint64_t to_offset, uint64_t length) {
  const int source = OpenOrDie(from, O_RDONLY);
  const int destination = OpenOrDie(to, O_RDWR | O_CREAT);
  auto source_at = static_cast<off_t>(from_offset);
  auto destination_at = static_cast<off_t>(to_offset);
  uint64_t done = 0;
  const char* error = "";
  while (done < length) {
    const ssize_t count = ::copy_file_range(source, &source_at, destination,
                                            &destination_at, length - done, 0);
    if (count < 0) error = strerrorname_np(errno);
    if (count <= 0) break;
    done += static_cast<uint64_t>(count);
  }
  std::printf("%ju%s%s\n", uintmax_t{done}, *error != '\0' ? " " : "", error);
  return 0;
}

int Mark(const std::string& path, uint64_t number) {
  const int fd = OpenOrDie(path, O_RDONLY | O_DIRECT);
  alignas(4096) static char sector[512];
  if (::pread(fd, sector, sizeof(sector), static_cast<off_t>(number * 512)) != 512)
    Die(path);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto number = [&](size_t index) {
    return std::strtoull(words[index].c_str(), nullptr, 0);
  };
  const std::string verb = words.empty() ? "" : words[0];
  if ((verb == "write" || verb == "check") && (words.size() == 5 || words.size() == 6)) {
    const Place place{words[1], number(2), number(3), number(4),
                      words.size() == 6 ? number(5) : number(2)};
    return verb == "write" ? WriteAll({place}) : CheckAll({place});
  }
  if ((verb == "scatter" || verb == "gathered") && words.size() == 6) {
    std::vector<Place> places;
    for (uint64_t i = 0; i < number(2); ++i)
      places.push_back({words[1], i * number(3), number(4), number(5), i * number(3)});
    if (places.empty()) return 1;
    return verb == "scatter" ? WriteAll(places) : CheckAll(places);
  }
  if (verb == "size" && words.size() == 3) return CheckSize(words[1], number(2));
  if (verb == "copy" && words.size() == 6)
    return Copy(words[1], number(2), words[3], number(4), number(5));
  if (verb == "mark" && words.size() == 3) return Mark(words[1], number(2));
  std::printf("vm_file: see the source\n");
  return 1;
}
