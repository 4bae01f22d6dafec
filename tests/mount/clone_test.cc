// Clones, dedupe and unsharing through the ioctl(2) interface, and `cofs clone`.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>

#include "fs/fuse/cofs_ioctl.h"
#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kPart = 1 << 20;

struct CopyPlace {
  uint64_t from = 0, to = 0, length = 0;
};

int ArmFor(int fd, CopyPlace place, uint32_t how = COFS_ARM_CLONE) {
  cofs_ioc_copy_arm arm{};
  arm.source_offset = place.from;
  arm.destination_offset = place.to;
  arm.length = place.length;
  arm.how = how;
  return ioctl(fd, COFS_IOC_COPY_ARM, &arm);
}

ssize_t CopyOnce(int source, int destination, CopyPlace place) {
  auto from = static_cast<off_t>(place.from), to = static_cast<off_t>(place.to);
  return copy_file_range(source, &from, destination, &to, place.length, 0);
}

// Armed, then copied: the first answer.
ssize_t CloneOnce(int source, int destination, CopyPlace place) {
  if (ArmFor(destination, place) != 0) return -1;
  return CopyOnce(source, destination, place);
}

// How many bytes of a file others map too, as its map tells.
uint64_t SharedBytes(int fd) {
  uint64_t bytes = 0;
  cofs_ioc_map map{};
  map.end = UINT64_MAX;
  if (ioctl(fd, COFS_IOC_MAP, &map) != 0)
    throw std::system_error(errno, std::generic_category(), "COFS_IOC_MAP");
  for (uint32_t i = 0; i < map.count; ++i)
    if ((map.extents[i].flags & COFS_EXTENT_SHARED) != 0) bytes += map.extents[i].length;
  return bytes;
}

cofs_ioc_copy_report ReportOf(int fd, uint32_t flags = COFS_REPORT_RESET) {
  cofs_ioc_copy_report report{};
  report.flags = flags;
  if (ioctl(fd, COFS_IOC_COPY_REPORT, &report) != 0)
    throw std::system_error(errno, std::generic_category(), "COFS_IOC_COPY_REPORT");
  return report;
}

struct Mode {
  const char* name;
  const char* options;
};

class CloneTest : public CofsMountTest, public ::testing::WithParamInterface<Mode> {
 protected:
  CloneTest() : CofsMountTest({.options = GetParam().options}) {}
  void SetUp() override {
    CofsMountTest::SetUp();
    if (IsSkipped()) return;
    source_ = Open(Path("source"), O_RDWR | O_CREAT);
    destination_ = Open(Path("destination"), O_RDWR | O_CREAT);
  }
  void TearDown() override {
    source_.Reset();
    destination_.Reset();
    CofsMountTest::TearDown();
  }
  void ExpectFile(const std::string& name, const std::string& expected) {
    EXPECT_TRUE(SameBytes(ReadFile(Path(name)), expected)) << name;
  }
  // As it is after everything was written back and read again from the device.
  void ExpectAfterRemount(const std::string& source, const std::string& destination) {
    ExpectFile("source", source);
    ExpectFile("destination", destination);
    source_.Reset();
    destination_.Reset();
    Remount();
    ExpectFile("source", source);
    ExpectFile("destination", destination);
  }

  Fd source_, destination_;
};

INSTANTIATE_TEST_SUITE_P(Caches, CloneTest,
                         ::testing::Values(Mode{"WritebackCache", ""},
                                           Mode{"WriteThrough", "nowriteback_cache"}),
                         [](const auto& mode) { return std::string(mode.param.name); });

TEST_P(CloneTest, DirtyPagesOfBothFiles) {
  // Written, and written through a mapping, by nobody synced.
  std::string source = Pattern(1, 0, 4 * kPart), destination = Pattern(2, 0, 6 * kPart);
  WriteAt(source_.get(), 0, source);
  WriteAt(destination_.get(), 0, destination);
  const auto map = [](int fd, size_t length) {
    void* memory = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    return static_cast<char*>(memory);
  };
  char* const source_map = map(source_.get(), source.size());
  char* const destination_map = map(destination_.get(), destination.size());
  const auto scribble = [](char* memory, std::string& model, size_t at, char value) {
    memory[at] = model[at] = value;
  };
  scribble(source_map, source, kPart + 7, 'S');
  scribble(source_map, source, 3 * kPart + 9, 'T');
  scribble(destination_map, destination, 5, 'A');
  scribble(destination_map, destination, 2 * kPart + 5, 'B');  // goes under the clone
  scribble(destination_map, destination, 5 * kPart + 5, 'C');
  const CopyPlace place{kPart, kPart, 3 * kPart};
  ASSERT_EQ(CloneOnce(source_.get(), destination_.get(), place),
            static_cast<ssize_t>(place.length));
  destination.replace(place.to, place.length, source, place.from, place.length);
  EXPECT_TRUE(SameBytes({destination_map, destination.size()}, destination));
  EXPECT_TRUE(SameBytes({source_map, source.size()}, source));
  EXPECT_EQ(SharedBytes(destination_.get()), 3 * kPart);
  // The two part again.
  scribble(source_map, source, 2 * kPart, 'X');
  scribble(destination_map, destination, 2 * kPart + 1, 'Y');
  munmap(source_map, source.size());
  munmap(destination_map, destination.size());
  ExpectAfterRemount(source, destination);
}

TEST_P(CloneTest, GrowsTheDestination) {
  const std::string source = Pattern(1, 0, 2 * kPart + 100);
  WriteAt(source_.get(), 0, source);
  ASSERT_EQ(CloneOnce(source_.get(), destination_.get(), {0, kPart, source.size()}),
            static_cast<ssize_t>(source.size()));
  EXPECT_EQ(Stat(destination_.get()).st_size, static_cast<off_t>(kPart + source.size()));
  ExpectAfterRemount(source, std::string(kPart, '\0') + source);
}

TEST_P(CloneTest, Rules) {
  const std::string source = Pattern(1, 0, 10 * kBlock + 100);
  const std::string destination = Pattern(2, 0, 20 * kBlock);
  WriteAt(source_.get(), 0, source);
  WriteAt(destination_.get(), 0, destination);
  const int from = source_.get(), to = destination_.get();
  EXPECT_TRUE(FailsWith(CloneOnce(from, to, {1, 0, kBlock}), EINVAL));
  EXPECT_TRUE(FailsWith(CloneOnce(from, to, {0, 1, kBlock}), EINVAL));
  EXPECT_TRUE(FailsWith(CloneOnce(from, to, {0, 0, 100}), EINVAL));
  // Longer than the source: not a part of it.
  EXPECT_TRUE(FailsWith(CloneOnce(from, to, {0, 0, 11 * kBlock}), EINVAL));
  // Its last block into the middle of the destination.
  EXPECT_TRUE(FailsWith(CloneOnce(from, to, {0, 0, source.size()}), EINVAL));
  // Not the copy that was armed.
  ASSERT_EQ(ArmFor(to, {0, 0, kBlock}), 0);
  EXPECT_TRUE(FailsWith(CopyOnce(from, to, {kBlock, 0, kBlock}), EINVAL));
  // That has ended it: an ordinary copy.
  EXPECT_EQ(CopyOnce(from, to, {10, 20, 30}), 30);
  // A clone onto itself.
  EXPECT_TRUE(FailsWith(CloneOnce(from, from, {0, kBlock, 2 * kBlock}), EINVAL));
  // Taken back.
  ASSERT_EQ(ArmFor(to, {0, 0, kBlock}), 0);
  ASSERT_EQ(ArmFor(to, {0, 0, 0}), 0);
  EXPECT_EQ(CopyOnce(from, to, {10, 20, 30}), 30);
  EXPECT_EQ(SharedBytes(to), 0u);
  // Of another thread.
  ASSERT_EQ(ArmFor(to, {0, 0, kBlock}), 0);
  std::thread([&] { EXPECT_EQ(CopyOnce(from, to, {10, 20, 30}), 30); }).join();
  EXPECT_EQ(CopyOnce(from, to, {0, 0, kBlock}), static_cast<ssize_t>(kBlock));
  EXPECT_EQ(SharedBytes(to), kBlock);
  // Only for a file that is open for writing; only ways that there are.
  const Fd reader = Open(Path("destination"), O_RDONLY);
  EXPECT_TRUE(FailsWith(ArmFor(reader.get(), {0, 0, kBlock}), EBADF));
  EXPECT_TRUE(FailsWith(ArmFor(to, {0, 0, kBlock}, 0), EINVAL));
  EXPECT_TRUE(FailsWith(ArmFor(to, {0, 0, kBlock}, 99), EINVAL));
  EXPECT_TRUE(FailsWith(ArmFor(to, {0, UINT64_MAX, kBlock}), EINVAL));
  const Fd directory = Open(root(), O_RDONLY | O_DIRECTORY);
  EXPECT_TRUE(FailsWith(ArmFor(directory.get(), {0, 0, kBlock}), EBADF));
}

TEST_P(CloneTest, MoreThanOneRequestTakesTheSourceAsItWas) {
  // The kernel cuts a copy at 4 GiB less a page.
  constexpr uint64_t kGiB = 1 << 30, kLength = 10 * kGiB + 5;
  ASSERT_TRUE(Succeeds(ftruncate(source_.get(), kLength)));
  const uint64_t places[] = {0, 4 * kGiB - 2 * kBlock, 8 * kGiB - 3 * kBlock, 10 * kGiB};
  const auto part = [&](int i) { return Pattern(static_cast<uint64_t>(i), 0, i == 3 ? 5 : 5 * kBlock); };
  for (int i = 0; i < 4; ++i) WriteAt(source_.get(), places[i], part(i));
  ASSERT_EQ(ArmFor(destination_.get(), {0, 0, kLength}), 0);
  uint64_t done = 0;
  int requests = 0;
  while (done < kLength) {
    const ssize_t count = CopyOnce(source_.get(), destination_.get(),
                                   {done, done, kLength - done});
    ASSERT_GT(count, 0) << strerror(errno);
    done += static_cast<uint64_t>(count);
    if (++requests > 1) continue;
    ASSERT_LT(done, kLength) << "one request did it all: this test tests nothing";
    for (int i = 0; i < 4; ++i) WriteAt(source_.get(), places[i], std::string(5, 'N'));
    ASSERT_TRUE(Succeeds(fsync(source_.get())));
  }
  EXPECT_EQ(Stat(destination_.get()).st_size, static_cast<off_t>(kLength));
  for (int i = 0; i < 4; ++i)
    EXPECT_TRUE(SameBytes(ReadAt(destination_.get(), places[i], part(i).size()), part(i))) << i;
  // All data is shared but what has been written since.
  const cofs_ioc_copy_report report = ReportOf(destination_.get());
  EXPECT_EQ(report.bytes, kLength);
  EXPECT_EQ(report.copies, static_cast<uint64_t>(requests));
  EXPECT_EQ(report.ways[COFS_WAY_SHARED].bytes, 16 * kBlock);
  EXPECT_EQ(report.ways[COFS_WAY_BUFFERED].bytes, 0u);
  // An arm that waits for its next piece holds a snapshot; closing the file drops it.
  ASSERT_EQ(ArmFor(destination_.get(), {0, 0, kLength}), 0);
  ASSERT_GT(CopyOnce(source_.get(), destination_.get(), {0, 0, kLength}), 0);
  destination_ = Open(Path("destination"), O_RDWR);
  EXPECT_TRUE(SameBytes(ReadAt(destination_.get(), 0, 5), "NNNNN"));
}

TEST_P(CloneTest, ReportsSayHowBytesWent) {
  WriteAt(source_.get(), 0, Pattern(1, 0, 2 * kPart));
  ASSERT_TRUE(Succeeds(ftruncate(source_.get(), 4 * kPart)));
  const int from = source_.get(), to = destination_.get();
  EXPECT_EQ(ReportOf(to).bytes, 0u);
  ASSERT_EQ(CopyOnce(from, to, {0, 0, 4 * kPart}), static_cast<ssize_t>(4 * kPart));
  cofs_ioc_copy_report report = ReportOf(to, 0);
  EXPECT_EQ(report.copies, 1u);
  EXPECT_EQ(report.bytes, 4 * kPart);
  EXPECT_EQ(report.ways[COFS_WAY_HOLES].bytes, 2 * kPart);
  uint64_t moved = 0;
  for (const int way : {COFS_WAY_HOST_FILE, COFS_WAY_BUFFERED, COFS_WAY_DEVICE})
    moved += report.ways[way].bytes;
  EXPECT_EQ(moved, 2 * kPart);
  // Without a reset they add up.
  ASSERT_EQ(CopyOnce(from, to, {1, 0, 100}), 100);
  report = ReportOf(to);
  EXPECT_EQ(report.copies, 2u);
  EXPECT_EQ(report.ways[COFS_WAY_MEMORY].bytes, 100u);
  EXPECT_EQ(ReportOf(to).copies, 0u);
  // Armed with a policy.
  ASSERT_EQ(ArmFor(to, {0, 0, kPart}, COFS_ARM_BUFFERED), 0);
  ASSERT_EQ(CopyOnce(from, to, {0, 0, kPart}), static_cast<ssize_t>(kPart));
  EXPECT_EQ(ReportOf(to).ways[COFS_WAY_BUFFERED].bytes, kPart);
  ASSERT_EQ(ArmFor(to, {0, 0, kPart}, COFS_ARM_SHARE), 0);
  ASSERT_EQ(CopyOnce(from, to, {0, 0, kPart}), static_cast<ssize_t>(kPart));
  EXPECT_EQ(ReportOf(to).ways[COFS_WAY_SHARED].bytes, kPart);
  const Fd reader = Open(Path("destination"), O_RDONLY);
  report = {};
  EXPECT_TRUE(FailsWith(ioctl(reader.get(), COFS_IOC_COPY_REPORT, &report), EBADF));
}

TEST_P(CloneTest, OnlyTheDeviceAndItCanNot) {
  // A device copy is asked for that no way does for these offsets: the kernel must not
  // copy behind our back.
  WriteAt(source_.get(), 0, Pattern(1, 0, kPart));
  ASSERT_EQ(ArmFor(destination_.get(), {1, 0, kPart - 1}, COFS_ARM_DEVICE), 0);
  EXPECT_TRUE(FailsWith(CopyOnce(source_.get(), destination_.get(), {1, 0, kPart - 1}),
                        EREMOTEIO));
  EXPECT_EQ(Stat(destination_.get()).st_size, 0);
}

// ---- dedupe and unsharing ----

int Ticket(int fd, cofs_ioc_dedupe& dedupe) {
  cofs_ioc_ticket ticket{};
  const int result = ioctl(fd, COFS_IOC_TICKET, &ticket);
  std::memcpy(dedupe.ticket, ticket.ticket, sizeof(dedupe.ticket));
  return result;
}

TEST_P(CloneTest, DedupeNeedsRights) {
  const std::string data = Pattern(1, 0, kPart);
  WriteAt(source_.get(), 0, data);
  WriteAt(destination_.get(), 0, data);
  ASSERT_TRUE(Succeeds(fsync(source_.get())));
  ASSERT_TRUE(Succeeds(fsync(destination_.get())));
  cofs_ioc_dedupe dedupe{};
  dedupe.length = kPart;
  // A ticket is for those who can read.
  EXPECT_TRUE(
      FailsWith(Ticket(Open(Path("source"), O_WRONLY).get(), dedupe), EBADF));
  EXPECT_TRUE(
      FailsWith(Ticket(Open(root(), O_RDONLY | O_DIRECTORY).get(), dedupe), EBADF));
  ASSERT_EQ(Ticket(source_.get(), dedupe), 0);
  // Made up, of another thread, of another user.
  cofs_ioc_dedupe forged = dedupe;
  forged.ticket[1] ^= 1;
  EXPECT_TRUE(FailsWith(ioctl(destination_.get(), COFS_IOC_DEDUPE, &forged), ESTALE));
  std::thread([&] {
    cofs_ioc_dedupe stolen = dedupe;
    EXPECT_TRUE(FailsWith(ioctl(destination_.get(), COFS_IOC_DEDUPE, &stolen), ESTALE));
  }).join();
  ASSERT_TRUE(Succeeds(fchmod(destination_.get(), 0666)));
  EXPECT_EQ(AsOrdinaryUser([&] {
              cofs_ioc_dedupe stolen = dedupe;
              return ioctl(destination_.get(), COFS_IOC_DEDUPE, &stolen) == 0 ? 0 : errno;
            }),
            ESTALE);
  // A destination that is open for reading alone needs its owner, or root.
  EXPECT_EQ(AsOrdinaryUser([&] {
              cofs_ioc_dedupe mine{};
              mine.length = kPart;
              if (Ticket(source_.get(), mine) != 0) return errno;
              const Fd reader = Open(Path("destination"), O_RDONLY);
              return ioctl(reader.get(), COFS_IOC_DEDUPE, &mine) == 0 ? 0 : errno;
            }),
            EPERM);
  EXPECT_EQ(SharedBytes(destination_.get()), 0u);
  EXPECT_EQ(AsOrdinaryUser([&] {
              cofs_ioc_dedupe mine{};
              mine.length = kPart;
              if (Ticket(source_.get(), mine) != 0) return errno;
              const Fd both = Open(Path("destination"), O_RDWR);
              return ioctl(both.get(), COFS_IOC_DEDUPE, &mine) == 0 ? 0 : errno;
            }),
            0);
  EXPECT_EQ(SharedBytes(destination_.get()), kPart);
  ASSERT_EQ(ioctl(destination_.get(), COFS_IOC_DEDUPE, &dedupe), 0) << "the first is good yet";
  EXPECT_EQ(dedupe.deduped_bytes, kPart);
  EXPECT_EQ(dedupe.differs, 0u);
  ExpectAfterRemount(data, data);
}

TEST_P(CloneTest, UnshareAndWriteBack) {
  const std::string data = Pattern(1, 0, 2 * kPart);
  WriteAt(source_.get(), 0, data);
  ASSERT_EQ(CloneOnce(source_.get(), destination_.get(), {0, 0, 2 * kPart}),
            static_cast<ssize_t>(2 * kPart));
  std::string model = data;
  model.replace(5, 3, "new");
  WriteAt(destination_.get(), 5, "new");
  cofs_ioc_write_back all{};
  ASSERT_EQ(ioctl(destination_.get(), COFS_IOC_WRITE_BACK, &all), 0);
  EXPECT_EQ(SharedBytes(destination_.get()), 2 * kPart - kBlock);
  cofs_ioc_unshare unshare{kPart, 4 * kPart};
  EXPECT_TRUE(FailsWith(
      ioctl(Open(Path("destination"), O_RDONLY).get(), COFS_IOC_UNSHARE, &unshare), EBADF));
  ASSERT_EQ(ioctl(destination_.get(), COFS_IOC_UNSHARE, &unshare), 0);
  EXPECT_EQ(SharedBytes(destination_.get()), kPart - kBlock);
  EXPECT_EQ(Stat(destination_.get()).st_size, static_cast<off_t>(2 * kPart));
  ExpectAfterRemount(data, model);
}

// ---- clone=device ----

class DeviceCloneTest : public CofsMountTest {
 protected:
  DeviceCloneTest() : CofsMountTest({.options = "clone=device"}) {}
};

TEST_F(DeviceCloneTest, CopiesByTheDeviceOrFails) {
  const std::string data = Pattern(1, 0, 80 * kPart + 100);
  WriteFile(Path("a"), data);
  {
    const Fd source = Open(Path("a"), O_RDWR), clone = Open(Path("b"), O_RDWR | O_CREAT);
    // The rules of clones hold whatever is done.
    EXPECT_TRUE(FailsWith(CloneOnce(source.get(), clone.get(), {1, 0, kBlock}), EINVAL));
    EXPECT_TRUE(FailsWith(CloneOnce(source.get(), clone.get(), {0, 0, 100}), EINVAL));
    ASSERT_EQ(ArmFor(clone.get(), {0, 0, data.size()}), 0);
    uint64_t done = 0;
    while (done < data.size()) {
      const ssize_t count =
          CopyOnce(source.get(), clone.get(), {done, done, data.size() - done});
      if (count < 0) {
        // Neither shared nor copied by the kernel behind our back.
        EXPECT_EQ(errno, EREMOTEIO);
        EXPECT_EQ(done, 0u);
        EXPECT_EQ(Stat(clone.get()).st_size, 0);
        break;
      }
      ASSERT_GT(count, 0);
      done += static_cast<uint64_t>(count);
    }
    EXPECT_EQ(SharedBytes(clone.get()), 0u);
    if (done > 0) {
      const cofs_ioc_copy_report report = ReportOf(clone.get());
      EXPECT_EQ(report.ways[COFS_WAY_SHARED].bytes, 0u);
      EXPECT_EQ(report.ways[COFS_WAY_BUFFERED].bytes, 0u);
      EXPECT_EQ(report.ways[COFS_WAY_MEMORY].bytes, 0u);
    }
    // The program says what is wrong, and leaves nothing.
    const ProgramResult result =
        RunProgram({Bin("cofs"), "clone", Path("a"), Path("c")});
    EXPECT_EQ(result.exit_code, done > 0 ? 0 : 2) << result.err;
    EXPECT_EQ(Exists(Path("c")), done > 0);
    if (done == 0) {
      EXPECT_NE(result.err.find("clone=device"), std::string::npos) << result.err;
    }
  }
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("a")), data));
  for (const char* name : {"b", "c"})
    if (Exists(Path(name)) && Stat(Path(name)).st_size > 0) {
      EXPECT_TRUE(SameBytes(ReadFile(Path(name)), data)) << name;
    }
}

// ---- cofs clone ----

class CloneCommandTest : public CofsMountTest {
 protected:
  ProgramResult Clone(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {Bin("cofs"), "clone"});
    return RunProgram(arguments);
  }
  std::vector<std::string> Names() { return ListDirectory(root()); }
};

TEST_F(CloneCommandTest, MakesAClone) {
  const std::string data = Pattern(1, 0, 3 * kPart + 77);
  WriteFile(Path("a"), data);
  ASSERT_TRUE(Succeeds(chmod(Path("a").c_str(), 0750)));
  ProgramResult result = Clone({Path("a"), Path("b")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(SameBytes(ReadFile(Path("b")), data));
  EXPECT_EQ(Stat(Path("b")).st_mode & 0777, 0750u);
  {
    const Fd clone = Open(Path("b"), O_RDONLY);
    EXPECT_EQ(SharedBytes(clone.get()), 3 * kPart + kBlock);
  }
  // Into a directory; of an empty file.
  MakeDirectory(Path("d"));
  WriteFile(Path("empty"), "");
  ASSERT_EQ(Clone({Path("a"), Path("d")}).exit_code, 0);
  ASSERT_EQ(Clone({Path("empty"), Path("d/e")}).exit_code, 0);
  EXPECT_TRUE(SameBytes(ReadFile(Path("d/a")), data));
  EXPECT_EQ(Stat(Path("d/e")).st_size, 0);
  // Over one that is there, only when that is asked for; hard links stay what they were.
  WriteFile(Path("b"), "other");
  ASSERT_TRUE(Succeeds(link(Path("b").c_str(), Path("b2").c_str())));
  result = Clone({Path("a"), Path("b")});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("already exists"), std::string::npos) << result.err;
  EXPECT_EQ(ReadFile(Path("b")), "other");
  ASSERT_EQ(Clone({"--replace", Path("a"), Path("b")}).exit_code, 0);
  EXPECT_TRUE(SameBytes(ReadFile(Path("b")), data));
  EXPECT_EQ(ReadFile(Path("b2")), "other");
  EXPECT_EQ(Names(), (std::vector<std::string>{"a", "b", "b2", "d", "empty"}));
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("b")), data));
  EXPECT_TRUE(SameBytes(ReadFile(Path("d/a")), data));
}

TEST_F(CloneCommandTest, FailsWithASentenceAndLeavesNothing) {
  const ScratchDirectory elsewhere;
  WriteFile(Path("a"), Pattern(1, 0, kPart));
  WriteFile(elsewhere.path() + "/x", "x");
  MakeDirectory(Path("d"));
  const auto fails = [&](std::vector<std::string> arguments, const char* words) {
    const ProgramResult result = Clone(std::move(arguments));
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_NE(result.err.find(words), std::string::npos) << result.err;
  };
  fails({Path("missing"), Path("b")}, "no such file");
  fails({Path("d"), Path("b")}, "is a directory");
  fails({"/dev/null", Path("b")}, "no regular file");
  fails({Path("a"), Path("missing/b")}, "no such file");
  fails({Path("a"), Path("a")}, "already exists");
  fails({"--replace", Path("a"), Path("a")}, "is the source");
  fails({Path("a"), elsewhere.path() + "/b"}, "crosses volumes");
  fails({elsewhere.path() + "/x", Path("b")}, "crosses volumes");
  fails({elsewhere.path() + "/x", elsewhere.path() + "/y"}, "not a cofs volume");
  EXPECT_EQ(Names(), (std::vector<std::string>{"a", "d"}));
  EXPECT_EQ(ListDirectory(elsewhere.path()), std::vector<std::string>{"x"});
  ASSERT_EQ(Clone({Path("a")}).exit_code, 1);
}

}  // namespace
}  // namespace cofs
