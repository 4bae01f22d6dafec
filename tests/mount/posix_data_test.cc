// Contents: reading and writing by every door the kernel has, at the same time.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include <random>
#include <string>

#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

constexpr size_t kPage = 4096;

class PosixDataTest : public MountTest {};

// Forgets what is cached of the file, after writing it back.
void DropCache(int fd) {
  ASSERT_TRUE(Succeeds(fdatasync(fd)));
  ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

// A mapping of a file, gone at the end of the scope.
class Mapping {
 public:
  Mapping(int fd, size_t length, int protection, int flags)
      : length_(length),
        data_(static_cast<char*>(mmap(nullptr, length, protection, flags, fd, 0))) {
    if (data_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  }
  ~Mapping() { munmap(data_, length_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  char* data() { return data_; }
  std::string_view view() const { return {data_, length_}; }

 private:
  size_t length_;
  char* data_;
};

TEST_F(PosixDataTest, OddOffsetsAndLengths) {
  Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  std::string model;
  const size_t edges[] = {0, 1, 511, 512, 4095, 4096, 4097, 65535, 131072, 1048575, 1048577};
  uint64_t version = 0;
  for (const size_t offset : edges) {
    for (const size_t length : {1, 511, 4096, 4097, 70000}) {
      const std::string data = Pattern(++version, 0, length);
      WriteAt(fd.get(), offset, data);
      if (model.size() < offset + length) model.resize(offset + length);
      model.replace(offset, length, data);
    }
  }
  EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, model.size() + 1), model));
  DropCache(fd.get());
  EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, model.size() + 1), model));
  fd.Reset();
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("file")), model));
}

TEST_F(PosixDataTest, RandomOperationsAgreeWithAModel) {
  std::mt19937_64 random(Seed());
  const auto below = [&](uint64_t bound) { return random() % bound; };
  constexpr size_t kLargest = 3 << 20;
  static constexpr const char* kChoices[] = {
      "write",  "write", "direct write", "mapped write", "truncate to the offset",
      "punch",  "sync and drop", "read", "direct read"};
  std::string history;
  Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  Fd direct = Open(Path("file"), O_RDWR | O_DIRECT);
  std::string model;
  const auto put = [&](size_t offset, const std::string& data) {
    if (model.size() < offset + data.size()) model.resize(offset + data.size());
    model.replace(offset, data.size(), data);
  };
  const int rounds = UnderSanitizer() ? 150 : 600;
  for (int round = 0; round < rounds; ++round) {
    const size_t offset = below(kLargest), length = 1 + below(below(3) ? 20000 : 400000);
    const std::string data = Pattern(static_cast<uint64_t>(round), 0, length);
    const uint64_t choice = below(9);
    history += std::to_string(round) + ": " + kChoices[choice] + " " + std::to_string(length) +
               " at " + std::to_string(offset) + ", size " + std::to_string(model.size()) + "\n";
    SCOPED_TRACE(history.substr(history.size() > 1500 ? history.size() - 1500 : 0));
    switch (choice) {
      case 0:
      case 1:
        WriteAt(fd.get(), offset, data);
        put(offset, data);
        break;
      case 2: {  // direct
        const size_t start = offset / kPage * kPage, size = (length + kPage) / kPage * kPage;
        const std::string pages = Pattern(static_cast<uint64_t>(round), 0, size);
        const AlignedBuffer buffer = AlignedCopy(pages);
        WriteAt(direct.get(), start, {buffer.data(), size});
        put(start, pages);
        break;
      }
      case 3: {  // mapped, inside the file
        if (model.empty()) break;
        const Mapping mapping(fd.get(), model.size(), PROT_READ | PROT_WRITE, MAP_SHARED);
        const size_t start = below(model.size());
        const size_t size = std::min(length, model.size() - start);
        memcpy(const_cast<char*>(mapping.view().data()) + start, data.data(), size);
        model.replace(start, size, data.substr(0, size));
        break;
      }
      case 4:
        ASSERT_TRUE(Succeeds(ftruncate(fd.get(), static_cast<off_t>(offset))));
        model.resize(offset);
        break;
      case 5:
        ASSERT_TRUE(Succeeds(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                       static_cast<off_t>(offset),
                                       static_cast<off_t>(length))));
        if (offset < model.size())
          model.replace(offset, std::min(length, model.size() - offset),
                        std::string(std::min(length, model.size() - offset), '\0'));
        break;
      case 6:
        DropCache(fd.get());
        break;
      case 7:
        ASSERT_TRUE(SameBytes(ReadAt(fd.get(), offset, length),
                              offset < model.size() ? model.substr(offset, length) : ""))
            << "round " << round;
        break;
      case 8: {
        AlignedBuffer buffer(length / kPage * kPage + kPage);
        const size_t start = offset / kPage * kPage;
        const ssize_t count = pread(direct.get(), buffer.data(), buffer.size_bytes(),
                                    static_cast<off_t>(start));
        ASSERT_TRUE(Succeeds(count));
        const std::string expected =
            start < model.size() ? model.substr(start, buffer.size_bytes()) : "";
        ASSERT_TRUE(SameBytes({buffer.data(), static_cast<size_t>(count)}, expected))
            << "round " << round;
        break;
      }
    }
  }
  EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, kLargest * 2), model));
  ASSERT_TRUE(Succeeds(fsync(fd.get())));
  fd.Reset();
  direct.Reset();
  Remount();
  EXPECT_TRUE(SameBytes(ReadFile(Path("file")), model));
}

TEST_F(PosixDataTest, LargeFiles) {
  constexpr size_t kPiece = 1 << 20, kPieces = 96;
  {
    const Fd fd = Open(Path("file"), O_WRONLY | O_CREAT);
    for (size_t i = 0; i < kPieces; ++i)
      WriteAt(fd.get(), i * kPiece, Pattern(7, i * kPiece, kPiece));
  }
  Remount();
  const Fd fd = Open(Path("file"), O_RDONLY);
  EXPECT_EQ(Stat(fd.get()).st_size, static_cast<off_t>(kPiece * kPieces));
  for (size_t i = 0; i < kPieces; ++i) {
    ASSERT_TRUE(SameBytes(ReadAt(fd.get(), i * kPiece, kPiece), Pattern(7, i * kPiece, kPiece)))
        << "at MiB " << i;
  }
}

TEST_F(PosixDataTest, SharedMappingsReachTheDevice) {
  constexpr size_t kLength = 40 * kPage + 100;
  Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), kLength)));
  const std::string data = Pattern(3, 0, kLength);
  {
    Mapping mapping(fd.get(), kLength, PROT_READ | PROT_WRITE, MAP_SHARED);
    memcpy(mapping.data(), data.data(), kLength);
    EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, kLength), data));  // coherent before any sync
    ASSERT_TRUE(Succeeds(msync(mapping.data(), kLength, MS_SYNC)));
    EXPECT_TRUE(SameBytes(ReadFileDirect(Path("file")), data));
    // The other way round: a write shows in the mapping, direct ones too.
    WriteAt(fd.get(), 5, "buffered");
    EXPECT_EQ(mapping.view().substr(5, 8), "buffered");
    const Fd direct = Open(Path("file"), O_WRONLY | O_DIRECT);
    const AlignedBuffer page = AlignedCopy(Pattern(4, 0, kPage));
    WriteAt(direct.get(), 8 * kPage, {page.data(), kPage});
    EXPECT_TRUE(SameBytes(mapping.view().substr(8 * kPage, kPage), Pattern(4, 0, kPage)));
  }
  fd.Reset();
  Remount();
  std::string expected = data;
  expected.replace(5, 8, "buffered");
  expected.replace(8 * kPage, kPage, Pattern(4, 0, kPage));
  EXPECT_TRUE(SameBytes(ReadFile(Path("file")), expected));
}

TEST_F(PosixDataTest, PrivateMappingsStayPrivate) {
  WriteFile(Path("file"), Pattern(1, 0, 10000));
  const Fd fd = Open(Path("file"), O_RDONLY);
  Mapping mapping(fd.get(), 10000, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  memset(mapping.data(), 'p', 10000);
  EXPECT_TRUE(SameBytes(ReadFile(Path("file")), Pattern(1, 0, 10000)));
}

TEST_F(PosixDataTest, MappedWritesOfAnUnlinkedFile) {
  const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  ASSERT_TRUE(Succeeds(ftruncate(fd.get(), 64 * kPage)));
  Mapping mapping(fd.get(), 64 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
  ASSERT_TRUE(Succeeds(unlink(Path("file").c_str())));
  const std::string data = Pattern(9, 0, 64 * kPage);
  memcpy(mapping.data(), data.data(), data.size());
  ASSERT_TRUE(Succeeds(msync(mapping.data(), data.size(), MS_SYNC)));
  DropCache(fd.get());
  EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, data.size()), data));
}

TEST_F(PosixDataTest, DirectReadsAndWrites) {
  constexpr size_t kLength = 3 << 20;
  Fd direct = Open(Path("file"), O_RDWR | O_CREAT | O_DIRECT);
  const std::string data = Pattern(5, 0, kLength);
  const AlignedBuffer buffer = AlignedCopy(data);
  for (size_t offset = 0; offset < kLength; offset += 256 * kPage)
    WriteAt(direct.get(), offset, {buffer.data() + offset, 256 * kPage});
  EXPECT_EQ(Stat(direct.get()).st_size, static_cast<off_t>(kLength));
  EXPECT_TRUE(SameBytes(ReadFileDirect(Path("file")), data));
  EXPECT_TRUE(SameBytes(ReadFile(Path("file")), data));
  // One block in the middle, then a hole far behind.
  const std::string block = Pattern(6, 0, kPage);
  const AlignedBuffer page = AlignedCopy(block);
  WriteAt(direct.get(), 100 * kPage, {page.data(), kPage});
  WriteAt(direct.get(), 2 * kLength, {page.data(), kPage});
  direct.Reset();
  Remount();
  const std::string read = ReadFileDirect(Path("file"));
  std::string expected = data + std::string(kLength, '\0') + block;
  expected.replace(100 * kPage, kPage, block);
  EXPECT_TRUE(SameBytes(read, expected));
}

TEST_F(PosixDataTest, UnalignedDirectReadsAndWritesAreRightOrRefused) {
  const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  std::string model = Pattern(5, 0, 100000);
  WriteAt(fd.get(), 0, model);
  const Fd direct = Open(Path("file"), O_RDWR | O_DIRECT);
  const std::string data = Pattern(6, 0, 9000);
  for (const size_t offset : {1u, 511u, 512u, 4095u, 8192u, 99990u}) {
    for (const size_t length : {1u, 512u, 5000u}) {
      const ssize_t count =
          pwrite(direct.get(), data.data() + 3, length, static_cast<off_t>(offset));
      if (count < 0 && errno == EINVAL) continue;
      ASSERT_EQ(count, static_cast<ssize_t>(length)) << offset << ": " << strerror(errno);
      if (model.size() < offset + length) model.resize(offset + length);
      model.replace(offset, length, data.substr(3, length));
      std::string read(length, '\0');
      ASSERT_EQ(pread(direct.get(), read.data(), length, static_cast<off_t>(offset)), count);
      EXPECT_TRUE(SameBytes(read, data.substr(3, length)));
    }
  }
  EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, 200000), model));
}

TEST_F(PosixDataTest, AppendingWritersLoseNothing) {
  // Two descriptors and two threads each; a record names its writer and its number.
  constexpr int kWriters = 4, kRecords = 2000;
  constexpr size_t kRecord = 37;
  InThreads(kWriters, [&](int writer) {
    const Fd fd = Open(Path("log"), O_WRONLY | O_CREAT | O_APPEND);
    for (int i = 0; i < kRecords; ++i) {
      char record[kRecord + 1];
      snprintf(record, sizeof record, "%d %06d ", writer, i);
      memset(record + 9, 'a' + writer, kRecord - 10);
      record[kRecord - 1] = '\n';
      ASSERT_EQ(write(fd.get(), record, kRecord), static_cast<ssize_t>(kRecord));
    }
  });
  Remount();
  const std::string log = ReadFile(Path("log"));
  ASSERT_EQ(log.size(), kRecord * kWriters * kRecords);
  int next[kWriters] = {};
  for (size_t at = 0; at < log.size(); at += kRecord) {
    const int writer = log[at] - '0';
    ASSERT_TRUE(writer >= 0 && writer < kWriters) << "at " << at;
    ASSERT_EQ(std::stoi(log.substr(at + 2, 6)), next[writer]++) << "at " << at;
    ASSERT_EQ(log.find_first_not_of(static_cast<char>('a' + writer), at + 9), at + kRecord - 1);
  }
}

TEST_F(PosixDataTest, VectorsAndSendfile) {
  const std::string first = Pattern(1, 0, 5000), second = Pattern(2, 0, 3);
  const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  iovec out[2] = {{const_cast<char*>(first.data()), first.size()},
                  {const_cast<char*>(second.data()), second.size()}};
  ASSERT_EQ(pwritev(fd.get(), out, 2, 100), 5003);
  std::string a(50, 'x'), b(6000, 'x');
  iovec in[2] = {{a.data(), a.size()}, {b.data(), b.size()}};
  ASSERT_EQ(preadv(fd.get(), in, 2, 90), 5013);
  EXPECT_EQ(a + b.substr(0, 4963), std::string(10, '\0') + first + second);
  const Fd copy = Open(Path("copy"), O_RDWR | O_CREAT);
  off_t offset = 100;
  ASSERT_EQ(sendfile(copy.get(), fd.get(), &offset, 5003), 5003);
  EXPECT_TRUE(SameBytes(ReadAt(copy.get(), 0, 6000), first + second));
}

TEST_F(PosixDataTest, TruncationOnOpen) {
  WriteFile(Path("file"), Pattern(1, 0, 100000));
  const Fd fd = Open(Path("file"), O_RDWR | O_TRUNC);
  EXPECT_EQ(Stat(fd.get()).st_size, 0);
  WriteAt(fd.get(), 50000, "x");
  std::string expected(50001, '\0');
  expected.back() = 'x';
  EXPECT_TRUE(SameBytes(ReadAt(fd.get(), 0, 100000), expected));
}

TEST_F(PosixDataTest, ReadersSeeWholeBlocksOfAWriter) {
  // One block is overwritten again and again; a reader sees one version, never a mix
  // of two pages' worth within one direct read.
  const Fd direct = Open(Path("file"), O_RDWR | O_CREAT | O_DIRECT);
  AlignedBuffer first = AlignedCopy(std::string(kPage, 'a'));
  WriteAt(direct.get(), 0, {first.data(), kPage});
  std::atomic<bool> done{false};
  InThreads(2, [&](int thread) {
    AlignedBuffer page(kPage);
    if (thread == 0) {
      for (int round = 0; round < 300; ++round) {
        memset(page.data(), 'a' + round % 26, kPage);
        WriteAt(direct.get(), 0, {page.data(), kPage});
      }
      done = true;
      return;
    }
    while (!done) {
      ASSERT_EQ(pread(direct.get(), page.data(), kPage, 0), static_cast<ssize_t>(kPage));
      EXPECT_EQ(std::string_view(page.data(), kPage).find_first_not_of(page.data()[0]),
                std::string_view::npos);
    }
  });
}

TEST_F(PosixDataTest, EveryKindOfSync) {
  const Fd fd = Open(Path("file"), O_RDWR | O_CREAT);
  WriteAt(fd.get(), 0, "x");
  EXPECT_TRUE(Succeeds(fsync(fd.get())));
  EXPECT_TRUE(Succeeds(fdatasync(fd.get())));
  WriteAt(fd.get(), 1, "y");
  EXPECT_TRUE(Succeeds(sync_file_range(fd.get(), 0, 2, SYNC_FILE_RANGE_WRITE)));
  EXPECT_TRUE(Succeeds(syncfs(fd.get())));
  SyncDirectory(root());
  sync();
  const Fd synced = Open(Path("synced"), O_WRONLY | O_CREAT | O_SYNC);
  WriteAt(synced.get(), 0, "z");
  const Fd read_only = Open(Path("file"), O_RDONLY);
  EXPECT_TRUE(Succeeds(fsync(read_only.get())));
}

}  // namespace
}  // namespace cofs
