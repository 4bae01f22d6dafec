// Random bytes as arguments of every ioctl(2) of cofs, on a real mount, by root and by an
// ordinary user at once: the daemon lives, contents that nobody has changed stay, and the
// volume is clean afterwards. COFS_SEED=n takes others, COFS_LONG=1 ten minutes of it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <iostream>
#include <iterator>
#include <random>

#include "fuzz/ioctl_commands.h"
#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

constexpr size_t kFileBytes = 300'000;
constexpr uint64_t kOddNumbers[] = {0,
                                    1,
                                    2,
                                    4095,
                                    4096,
                                    8192,
                                    65536,
                                    299'008,
                                    300'000,
                                    1 << 20,
                                    UINT32_MAX,
                                    uint64_t{1} << 40,
                                    INT64_MAX - 4095,
                                    INT64_MAX,
                                    uint64_t{1} << 63,
                                    UINT64_MAX - 4095,
                                    UINT64_MAX};

class Caller {
 public:
  Caller(std::string directory, uint64_t seed, int seconds)
      : directory_(std::move(directory)), random_(seed), seconds_(seconds) {}

  uint64_t Run() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds_);
    OpenFiles();
    uint64_t count = 0;
    while (std::chrono::steady_clock::now() < end) {
      CallOnce();
      if (++count % 500 == 0) OpenFiles();
    }
    return count;
  }

 private:
  void OpenFiles() {
    files_.clear();
    for (const int flags : {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_DIRECT, O_ACCMODE})
      for (const char* name : {"a", "b"})
        files_.emplace_back(open((directory_ + name).c_str(), flags | O_CLOEXEC));
    files_.emplace_back(open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    files_.emplace_back(open((directory_ + "../kept").c_str(), O_RDONLY | O_CLOEXEC));
  }
  int AnyFile() { return files_[random_() % files_.size()].get(); }
  uint64_t Odd() { return kOddNumbers[random_() % std::size(kOddNumbers)]; }

  // Numbers that make sense, with some that don't: pure noise is refused at the door.
  void FillNumbers(std::string& bytes) {
    for (size_t at = 0; at + 8 <= std::min<size_t>(bytes.size(), 128); at += 8) {
      const uint64_t number = random_() % 3 == 0   ? Odd()
                              : random_() % 4 == 0 ? random_()
                                                   : random_() % 80 * 4096;
      std::memcpy(bytes.data() + at, &number, 8);
    }
    if (bytes.size() >= 32 && random_() % 2 == 0) {
      const uint64_t how = random_() % 7;  // cofs_ioc_copy_arm::how, and no reserved bits
      std::memcpy(bytes.data() + 24, &how, 8);
    }
  }

  void CallOnce() {
    unsigned long command = kIoctlCommands[random_() % std::size(kIoctlCommands)];
    // Other sizes, other directions, other numbers.
    if (random_() % 8 == 0) command ^= 1ul << random_() % 32;
    if (random_() % 16 == 0)
      command = _IOC(random_() % 4, COFS_IOC_MAGIC, random_() % 16, random_() % 0x3fff);
    std::string bytes(0x4000 + 64, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    if (random_() % 4 != 0) FillNumbers(bytes);
    if (command == COFS_IOC_SET && random_() % 2 == 0) {
      constexpr std::string_view kOptions[] = {
          "copy=share", "copy=auto,clone=share", "verify_copy=all", "copy=,,", "=",
          "cache=1"};
      const std::string_view options = kOptions[random_() % std::size(kOptions)];
      const uint64_t length = options.size();
      std::memcpy(bytes.data(), &length, 8);
      options.copy(bytes.data() + 8, options.size());
    }
    if (command == COFS_IOC_DEDUPE && random_() % 4 != 0)
      std::memcpy(bytes.data(), ticket_, sizeof ticket_);
    // A flag that binds root would end the fun.
    if (command == FS_IOC_SETFLAGS || command == FS_IOC_FSSETXATTR) bytes[0] &= ~0x38;
    if (ioctl(AnyFile(), command, bytes.data()) == 0 && command == COFS_IOC_TICKET)
      std::memcpy(ticket_, bytes.data(), sizeof ticket_);
    if (random_() % 4 == 0) {
      off_t from = static_cast<off_t>(random_() % 80 * 4096);
      off_t to = static_cast<off_t>(random_() % 80 * 4096);
      static_cast<void>(
          copy_file_range(AnyFile(), &from, AnyFile(), &to, random_() % 100'000, 0));
    }
    if (random_() % 16 == 0)
      static_cast<void>(pwrite(AnyFile(), bytes.data(), 5000,
                               static_cast<off_t>(random_() % kFileBytes)));
  }

  const std::string directory_;
  std::mt19937_64 random_;
  const int seconds_;
  std::vector<Fd> files_;
  uint64_t ticket_[2] = {};
};

class IoctlFuzzTest : public CofsMountTest {
 protected:
  IoctlFuzzTest() : CofsMountTest({.size_bytes = 256 << 20}) {}
};

TEST_F(IoctlFuzzTest, RandomArguments) {
  const char* is_long = getenv("COFS_LONG");
  const int seconds = is_long != nullptr && *is_long == '1' ? 600 : 5;
  const uint64_t seed = Seed();
  const std::string kept = Pattern(seed, 0, kFileBytes);
  WriteFile(Path("kept"), kept);
  ASSERT_TRUE(Succeeds(chmod(Path("kept").c_str(), 0644)));
  MakeDirectory(Path("d"));
  ASSERT_TRUE(Succeeds(chmod(Path("d").c_str(), 0777)));
  for (const char* name : {"d/a", "d/b"}) {
    WriteFile(Path(name), kept);
    ASSERT_TRUE(Succeeds(chmod(Path(name).c_str(), 0666)));
  }
  // Children, so that the ordinary user is one from the beginning.
  std::vector<pid_t> children;
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  for (int i = 0; i < 4; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    signal(SIGXFSZ, SIG_IGN);
    bool is_ready = i % 2 == 0;
    if (!is_ready) is_ready = setgid(kOrdinaryUser) == 0 && setuid(kOrdinaryUser) == 0;
    uint64_t count = 0;
    if (is_ready)
      count = Caller(Path("d") + "/", seed + static_cast<uint64_t>(i), seconds).Run();
    const ssize_t written = write(pipe_ends[1], &count, sizeof count);
    _exit(is_ready && written == sizeof count ? 0 : 1);
  }
  uint64_t total = 0;
  for (const pid_t child : children) {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    uint64_t count = 0;
    if (read(pipe_ends[0], &count, sizeof count) == sizeof count) total += count;
  }
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  std::cout << "COFS_SEED=" << seed << ": " << total << " calls\n";
  EXPECT_GT(total, 100u);
  EXPECT_TRUE(SameBytes(ReadFile(Path("kept")), kept));
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("kept")), kept));
  // TearDown unmounts and has the volume checked.
}

}  // namespace
}  // namespace cofs
