// Power cuts under a volume that is used through the kernel: what a system call has
// promised to a program is there, in every state that the cut may leave.
//
// The daemon is that of mount.cofs, on a device that records (recording_mount.cc). After
// each call that promises something the log gets a mark; the log is replayed here.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <random>

#include "base/check.h"
#include "device/crash_replay.h"
#include "tests/core/test_volume.h"
#include "tests/crash/crash_checker.h"
#include "tests/crash/log_file.h"
#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

constexpr size_t kBlock = 4096;
constexpr uint64_t kForEver = UINT64_MAX;

using Contents = std::optional<std::string>;  // of a file; nothing: there is none

// From mark `from` until mark `until` the file is one of `allowed`.
struct Promise {
  std::string path;
  uint64_t from = 0, until = kForEver;
  std::vector<Contents> allowed;
  bool may_go_on = false;  // the file begins with it
};

struct Flavour {
  const char* name;
  bool block_device;
  const char* options;
};

class KernelCrashTest : public ::testing::TestWithParam<Flavour> {
 protected:
  void SetUp() override;
  void TearDown() override;

  std::string Path(const std::string& name) const { return volume_->root() + "/" + name; }
  void SyncRoot() { SyncDirectory(volume_->root()); }
  // Everything that returned before is in the log before the mark. Its number.
  uint64_t Mark();
  void Promised(const std::string& name, Contents contents, bool may_go_on = false) {
    promises_.push_back({.path = name,
                         .from = Mark(),
                         .allowed = {std::move(contents)},
                         .may_go_on = may_go_on});
  }
  // From now on it may also be `next`, until it is promised.
  void MayBecome(const std::string& name, const Contents& next);
  // What is promised holds after a clean unmount only.
  void PromisedAtTheEnd(const std::string& name, Contents contents) {
    at_the_end_.push_back({.path = name, .allowed = {std::move(contents)}});
  }

  void SynchronousWrites();
  void SyncedFiles();
  void ReplacedFiles();
  void SyncedMapping();
  void Copies();
  void Names();
  void SyncOfTheSystem();
  void CheckAllStates();

  std::unique_ptr<MountedTestVolume> volume_;
  std::unique_ptr<ScratchDirectory> scratch_;
  std::unique_ptr<MemoryDevice> initial_;
  Fd marks_;
  uint64_t mark_count_ = 0;
  std::vector<Promise> promises_, at_the_end_;
};

void KernelCrashTest::SetUp() {
  if (const auto reason = WhyNoMounts(GetParam().block_device))
    GTEST_SKIP() << "SKIPPED-AS-A-WHOLE: " << *reason;
  constexpr uint64_t kBytes = 96 << 20;
  scratch_ = std::make_unique<ScratchDirectory>();
  setenv(kLogPathVariable, (scratch_->path() + "/log").c_str(), 1);
  setenv(kMarkSocketVariable, (scratch_->path() + "/marks").c_str(), 1);
  volume_ = std::make_unique<MountedTestVolume>(
      VolumeSetup{.size_bytes = kBytes,
                  .block_device = GetParam().block_device,
                  .options = GetParam().options,
                  .mount_program = "crash_recording_mount"});
  initial_ = std::make_unique<MemoryDevice>(kBytes);
  const Fd image = Open(volume_->image(), O_RDONLY);
  for (const DataRange& range : DataRanges(image.get()))
    initial_->Poke(range.begin, ReadAt(image.get(), range.begin, range.end - range.begin));
  volume_->Mount();
  marks_ = Fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, getenv(kMarkSocketVariable), sizeof address.sun_path - 1);
  ASSERT_TRUE(Succeeds(
      connect(marks_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address)));
}

void KernelCrashTest::TearDown() {
  marks_.Reset();  // the daemon waits for it
  volume_.reset();
}

uint64_t KernelCrashTest::Mark() {
  const uint64_t mark = ++mark_count_;
  char answer = 0;
  if (send(marks_.get(), &mark, sizeof mark, MSG_NOSIGNAL) != sizeof mark ||
      recv(marks_.get(), &answer, 1, 0) != 1)
    throw std::runtime_error("the daemon takes no marks");
  return mark;
}

void KernelCrashTest::MayBecome(const std::string& name, const Contents& next) {
  const uint64_t now = Mark();
  Promise both{.path = name, .from = now, .allowed = {next}};
  for (Promise& promise : promises_) {
    if (promise.path != name || promise.until != kForEver) continue;
    promise.until = now;
    both.allowed.insert(both.allowed.end(), promise.allowed.begin(),
                        promise.allowed.end());
  }
  promises_.push_back(std::move(both));
}

// ---- what programs do ----

void KernelCrashTest::SynchronousWrites() {
  struct Way {
    const char* name;
    int flags;
    int per_write;
  };
  for (const Way& way : {Way{"sync", O_SYNC, 0}, Way{"dsync", O_DSYNC, 0},
                         Way{"sync-direct", O_SYNC | O_DIRECT, 0},
                         Way{"dsync-direct", O_DSYNC | O_DIRECT, 0},
                         Way{"rwf-dsync", 0, RWF_DSYNC},
                         Way{"rwf-sync-direct", O_DIRECT, RWF_SYNC}}) {
    const Fd fd = Open(Path(way.name), O_WRONLY | O_CREAT | way.flags);
    SyncRoot();
    for (uint64_t i = 0; i < 3; ++i) {
      const AlignedBuffer data = AlignedCopy(Pattern(1, i * kBlock, kBlock));
      iovec vector{const_cast<char*>(data.data()), kBlock};
      ASSERT_TRUE(Succeeds(pwritev2(fd.get(), &vector, 1, static_cast<off_t>(i * kBlock),
                                    way.per_write)));
      Promised(way.name, Pattern(1, 0, (i + 1) * kBlock), /*may_go_on=*/true);
    }
  }
}

void KernelCrashTest::SyncedFiles() {
  for (uint64_t i = 0; i < 6; ++i) {
    const std::string name = "synced" + std::to_string(i);
    const std::string data = Pattern(i, 0, i * 37'123 % 150'000 + 1);
    const Fd fd = Open(Path(name), O_RDWR | O_CREAT | (i % 3 == 2 ? O_APPEND : 0));
    WriteAt(fd.get(), 0, data);
    ASSERT_TRUE(Succeeds(i % 2 == 0 ? fsync(fd.get()) : fdatasync(fd.get())));
    Promised(name, data);
  }
  // A part of a synced file is written over, and synced.
  const Fd fd = Open(Path("synced1"), O_WRONLY);
  std::string data = ReadFile(Path("synced1"));
  const std::string part = Pattern(99, 0, 1000);
  data.replace(3500, part.size(), part);
  MayBecome("synced1", data);
  WriteAt(fd.get(), 3500, part);
  // Pages may have reached the volume one by one.
  std::string half = data;
  half.replace(4096, 404, Pattern(1, 4096, 404));
  promises_.back().allowed.push_back(half);
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  Promised("synced1", data);
}

void KernelCrashTest::ReplacedFiles() {
  Contents old;
  for (uint64_t version = 0; version < 6; ++version) {
    const std::string data = Pattern(100 + version, 0, 20'000 + version * 1000);
    {
      const Fd fd = Open(Path("new"), O_WRONLY | O_CREAT | O_TRUNC);
      WriteAt(fd.get(), 0, data);
      ASSERT_TRUE(Succeeds(fsync(fd.get())));
    }
    if (version == 0) promises_.push_back({.path = "file", .from = Mark(), .allowed = {old}});
    MayBecome("file", data);
    ASSERT_TRUE(Succeeds(rename(Path("new").c_str(), Path("file").c_str())));
    SyncRoot();
    for (Promise& promise : promises_)
      if (promise.path == "file" && promise.until == kForEver)
        promise.until = mark_count_ + 1;
    Promised("file", data);
    old = data;
  }
}

void KernelCrashTest::SyncedMapping() {
  constexpr size_t kLength = 256 << 10;
  const Fd fd = Open(Path("mapped"), O_RDWR | O_CREAT);
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), kLength)));
  void* data = mmap(nullptr, kLength, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(data, MAP_FAILED);
  memcpy(data, Pattern(3, 0, kLength).data(), kLength);
  EXPECT_TRUE(Succeeds(msync(data, kLength, MS_SYNC)));
  munmap(data, kLength);
  Promised("mapped", Pattern(3, 0, kLength));
}

void KernelCrashTest::Copies() {
  const std::string data = Pattern(4, 0, 900'000);
  WriteFile(Path("source"), data);
  const Fd source = Open(Path("source"), O_RDONLY);
  const Fd copy = Open(Path("copy"), O_RDWR | O_CREAT);
  // The source was never synced: the copy must not depend on it.
  for (off_t done = 0; done < static_cast<off_t>(data.size());) {
    const ssize_t count = copy_file_range(source.get(), &done, copy.get(), nullptr,
                                          data.size(), 0);
    ASSERT_GT(count, 0) << strerror(errno);
  }
  ASSERT_TRUE(Succeeds(fsync(copy.get())));
  Promised("copy", data);
  Promised("source", data);
  // Over something, and then the source is overwritten.
  std::string next = data;
  next.replace(0, 40'960, data.substr(81'920, 40'960));
  MayBecome("copy", next);
  off_t from = 81'920, to = 0;
  ASSERT_EQ(copy_file_range(source.get(), &from, copy.get(), &to, 40'960, 0), 40'960);
  ASSERT_TRUE(Succeeds(fdatasync(copy.get())));
  Promised("copy", next);
}

void KernelCrashTest::Names() {
  WriteFile(Path("first"), Pattern(5, 0, 5000));
  ASSERT_TRUE(Succeeds(link(Path("first").c_str(), Path("second").c_str())));
  {
    const Fd fd = Open(Path("first"), O_RDONLY);
    ASSERT_TRUE(Succeeds(fsync(fd.get())));
  }
  Promised("second", Pattern(5, 0, 5000));
  Promised("first", Pattern(5, 0, 5000));
  MayBecome("first", std::nullopt);
  ASSERT_TRUE(Succeeds(unlink(Path("first").c_str())));
  SyncRoot();
  Promised("first", std::nullopt);
  Promised("second", Pattern(5, 0, 5000));
  MakeDirectory(Path("directory"));
  WriteFile(Path("directory/below"), "text");
  {
    const Fd fd = Open(Path("directory/below"), O_RDONLY);
    ASSERT_TRUE(Succeeds(fsync(fd.get())));
  }
  Promised("directory/below", "text");
}

void KernelCrashTest::SyncOfTheSystem() {
  for (const bool whole_system : {false, true}) {
    const std::string stem = whole_system ? "sync" : "syncfs";
    for (uint64_t i = 0; i < 10; ++i)
      WriteFile(Path(stem + "-" + std::to_string(i)), Pattern(i, 0, 30'000));
    if (whole_system) {
      sync();
    } else {
      const Fd root = Open(volume_->root(), O_RDONLY | O_DIRECTORY);
      ASSERT_TRUE(Succeeds(syncfs(root.get())));
    }
    // The syncs of a plain mount of an image stop at the daemon's door.
    for (uint64_t i = 0; i < 10; ++i) {
      const std::string name = stem + "-" + std::to_string(i);
      if (GetParam().block_device)
        Promised(name, Pattern(i, 0, 30'000));
      else
        PromisedAtTheEnd(name, Pattern(i, 0, 30'000));
    }
  }
}

// ---- what is there ----

Result<Contents> ContentsOf(Volume& volume, const std::string& path) {
  InodeId id = kRootInode;
  uint64_t size = 0;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    auto found = volume.Lookup(id, path.substr(begin, end - begin));
    if (found.Is(ErrorCode::kNotFound)) return Contents();
    TRY_ASSIGN(const InodeStat stat, std::move(found));
    volume.Forget(stat.id, 1);
    id = stat.id;
    size = stat.record.size_bytes;
    begin = end + 1;
  }
  AlignedBuffer buffer;
  TRY_ASSIGN(const auto data, volume.Read(id, FileOffset{0}, size + 1, buffer));
  return Contents(std::string(data.data(), data.size()));
}

bool Allows(const Promise& promise, const Contents& contents) {
  for (const Contents& allowed : promise.allowed) {
    if (contents == allowed) return true;
    if (promise.may_go_on && contents && allowed && contents->starts_with(*allowed))
      return true;
  }
  return false;
}

Status CheckPromises(Volume& volume, const std::vector<Promise>& promises, uint64_t mark) {
  for (const Promise& promise : promises) {
    if (mark < promise.from || mark >= promise.until) continue;
    TRY_ASSIGN(const Contents contents, ContentsOf(volume, promise.path));
    if (Allows(promise, contents)) continue;
    return Error(ErrorCode::kCorrupt,
                 StrCat(promise.path, " is not as promised by mark ", promise.from,
                        ", after mark ", mark, ": ",
                        contents ? StrCat(contents->size(), " bytes") : "missing",
                        contents && promise.allowed[0]
                            ? SameBytes(*contents, *promise.allowed[0]).message()
                            : ""));
  }
  return OkStatus();
}

void KernelCrashTest::CheckAllStates() {
  Result<IoLog> log = ReadLogFile(getenv(kLogPathVariable));
  ASSERT_OK(log);
  uint64_t copies = 0;
  for (const LoggedIo& io : log->ios) copies += io.is_copy;
  EXPECT_GT(copies, 0u) << "the device was to copy";
  EXPECT_EQ(log->marks.size(), mark_count_);
  const EventNumber end = log->event_count;
  const size_t io_count = log->ios.size();
  std::mt19937_64 random(TestSeed(1));
  const uint64_t one_of = IsLongRun() ? 1 : 4;
  CrashReplay replay(std::move(initial_), std::move(*log),
                     {.seed = random(),
                      .random_state_count = IsLongRun() ? 4u : 2u,
                      .at_fua_writes = true});
  uint64_t state_count = 0;
  const Status status = replay.ForEachState([&](CrashState& state) -> Status {
    if (state.event != end && (state.is_repeated || random() % one_of != 0))
      return OkStatus();
    ++state_count;
    TRY(CheckSound(*state.image));
    TRY_ASSIGN(auto volume, Volume::Mount(std::move(state.image), QuietOptions()));
    TRY(CheckPromises(*volume, promises_, state.marks.empty() ? 0 : state.marks.back()));
    // The unmount was over: what the log has last is durable by itself.
    if (state.event == end) TRY(CheckPromises(*volume, at_the_end_, 0));
    return volume->Unmount();
  });
  EXPECT_TRUE(status.ok()) << status.error().ToString();
  std::cout << GetParam().name << ": " << io_count << " changes of the device, " << copies
            << " copies by it, " << promises_.size() << " promises, " << state_count
            << " states\n";
}

TEST_P(KernelCrashTest, WhatWasPromisedIsThere) {
  SynchronousWrites();
  SyncedFiles();
  ReplacedFiles();
  SyncedMapping();
  Copies();
  Names();
  SyncOfTheSystem();
  for (uint64_t i = 0; i < 10; ++i) {
    WriteFile(Path("unmounted" + std::to_string(i)), Pattern(i, 0, 10'000));
    PromisedAtTheEnd("unmounted" + std::to_string(i), Pattern(i, 0, 10'000));
  }
  Mark();
  marks_.Reset();
  volume_->Unmount();
  if (HasFailure()) return;
  CheckAllStates();
}

INSTANTIATE_TEST_SUITE_P(
    Mounts, KernelCrashTest,
    ::testing::Values(Flavour{"image", false, "copy=device"},
                      Flavour{"image_without_writeback_cache", false,
                              "copy=device,nowriteback_cache"},
                      Flavour{"block_device", true, "copy=device"}),
    [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace cofs
