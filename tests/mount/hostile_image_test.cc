// Images that were made to do harm, mounted through the kernel: whatever they hold, the
// daemon lives, everything can be looked at, and fsck.cofs repairs them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/codec.h"
#include "tests/fsck/test_volume.h"
#include "tests/mount/file_io.h"
#include "tests/mount/mounted_volume.h"

namespace cofs {
namespace {

struct HostileImage {
  const char* name;
  void (*make)(TestVolume& volume);
};

void PutExtent(TestVolume& volume, InodeId inode, uint64_t file_block,
               uint64_t device_block, uint64_t blocks, uint8_t flags = 0) {
  std::string value(1, static_cast<char>(flags));
  ByteWriter writer(value);
  writer.Varint(device_block);
  writer.Varint(blocks);
  volume.Edit([&](Batch& batch) {
    batch.Put(ExtentKey(inode, FileOffset{file_block * kBlockBytes}), value);
  });
}

void PutField(TestVolume& volume, InodeId inode, size_t offset, uint64_t value,
              size_t width) {
  std::string bytes = volume.Get(InodeKey(inode));
  bytes.replace(offset, width, reinterpret_cast<const char*>(&value), width);
  volume.Edit([&](Batch& batch) { batch.Put(InodeKey(inode), bytes); });
}

constexpr uint8_t kDirectoryType = S_IFDIR >> 12;
constexpr uint8_t kFileType = S_IFREG >> 12;

const HostileImage kImages[] = {
    {"a cycle of directories",
     [](TestVolume& v) { v.AddEntry(kInodeB, "up", kInodeA, kDirectoryType); }},
    {"the root below itself",
     [](TestVolume& v) { v.AddEntry(kInodeB, "root", kRootInode, kDirectoryType); }},
    {"a directory in itself",
     [](TestVolume& v) { v.AddEntry(kInodeB, "me", kInodeB, kDirectoryType); }},
    {"a directory that is a file",
     [](TestVolume& v) { v.AddEntry(kInodeB, "file", kInodeA, kFileType); }},
    {"a file that is a directory",
     [](TestVolume& v) { v.AddEntry(kInodeB, "dir", kInodeF, kDirectoryType); }},
    {"a file over the superblocks",
     [](TestVolume& v) { PutExtent(v, kInodeDeep, 4, 0, 512); }},
    {"a file over the pool",
     [](TestVolume& v) {
       PutExtent(v, kInodeDeep, 4, v.pool().offset.value() / kBlockBytes, 64);
     }},
    {"a file over another",
     [](TestVolume& v) {
       PutExtent(v, kInodeDeep, 4, v.Block(2).value() / kBlockBytes, 1);
     }},
    {"a file outside of the volume",
     [](TestVolume& v) { PutExtent(v, kInodeDeep, 4, uint64_t{1} << 40, 8); }},
    {"an extent of a negative length",
     [](TestVolume& v) { PutExtent(v, kInodeDeep, 4, 1000, UINT64_MAX); }},
    {"an extent of no length",
     [](TestVolume& v) { PutExtent(v, kInodeDeep, 4, 1000, 0); }},
    {"an extent of an unknown kind",
     [](TestVolume& v) { PutExtent(v, kInodeDeep, 4, 20000, 1, 0xff); }},
    {"the largest size",
     [](TestVolume& v) { PutField(v, kInodeDeep, 16, kFileBytesMax, 8); }},
    {"a negative size",
     [](TestVolume& v) { PutField(v, kInodeDeep, 16, UINT64_MAX, 8); }},
    {"the most links",
     [](TestVolume& v) { PutField(v, kInodeDeep, 12, kLinkCountMax, 4); }},
    {"too many links", [](TestVolume& v) { PutField(v, kInodeDeep, 12, UINT32_MAX, 4); }},
    {"no links", [](TestVolume& v) { PutField(v, kInodeDeep, 12, 0, 4); }},
    {"a full directory that is not",
     [](TestVolume& v) { PutField(v, kInodeA, 16, INT64_MAX, 8); }},
    {"the most blocks",
     [](TestVolume& v) { PutField(v, kInodeDeep, 24, INT64_MAX - 4095, 8); }},
    {"times at the end of time",
     [](TestVolume& v) { PutField(v, kInodeDeep, 40, INT64_MAX, 8); }},
    {"an unknown type", [](TestVolume& v) { PutField(v, kInodeDeep, 0, 0xffff, 4); }},
    {"a shared range of everything",
     [](TestVolume& v) {
       std::string value;
       ByteWriter writer(value);
       writer.Varint(uint64_t{1} << 40);
       writer.Varint(UINT32_MAX);
       v.Edit([&](Batch& batch) { batch.Put(SharedKey(v.Block(0)), value); });
     }},
    {"an orphan that is in use",
     [](TestVolume& v) {
       v.Edit([](Batch& batch) { batch.Put(OrphanKey(kInodeF), ""); });
     }},
    {"no more inode numbers",
     [](TestVolume& v) {
       const uint64_t next = INT64_MAX;
       v.Edit([&](Batch& batch) {
         batch.Put(InodeCounterKey(), {reinterpret_cast<const char*>(&next), 8});
       });
     }},
    {"inode numbers that wrap",
     [](TestVolume& v) {
       const uint64_t next = UINT64_MAX;
       v.Edit([&](Batch& batch) {
         batch.Put(InodeCounterKey(), {reinterpret_cast<const char*>(&next), 8});
       });
     }},
    {"the last superblock",
     [](TestVolume& v) {
       v.EditSuperblock([](Superblock& superblock) { superblock.sequence = UINT64_MAX; });
     }},
    {"no inode of the root",
     [](TestVolume& v) {
       v.Edit([](Batch& batch) { batch.Delete(InodeKey(kRootInode)); });
     }},
};

class HostileImageTest : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    if (getenv("COFS_TEST_DIR_ON") != nullptr)
      GTEST_SKIP() << "COFS_TEST_DIR_ON is set: this needs cofs itself";
    if (const auto reason = WhyNoMounts(false))
      GTEST_SKIP() << "SKIPPED-AS-A-WHOLE: " << *reason;
  }
};

// Looks at everything to some depth, changes something, never minds errors.
void LookAtAll(const std::string& directory, int depth) {
  std::error_code error;
  int count = 0;
  for (std::filesystem::directory_iterator it(directory, error), end;
       !error && it != end && ++count < 1000; it.increment(error)) {
    const std::string path = it->path();
    struct stat status;
    if (lstat(path.c_str(), &status) != 0) continue;
    if (S_ISDIR(status.st_mode) && depth < 6) LookAtAll(path, depth + 1);
    if (S_ISREG(status.st_mode)) {
      const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
      char buffer[65536];
      for (off_t at = 0; at < 1 << 20 && pread(fd.get(), buffer, sizeof buffer, at) > 0;)
        at += static_cast<off_t>(sizeof buffer);
      static_cast<void>(pread(fd.get(), buffer, sizeof buffer, status.st_size - 1000));
    }
    char value[256];
    static_cast<void>(readlink(path.c_str(), value, sizeof value));
  }
}

void UseIt(const std::string& root) {
  const auto tries = [&](const std::string& name, int flags) {
    return Fd(open((root + name).c_str(), flags | O_CLOEXEC, 0644));
  };
  const std::string data(20'000, 'u');
  if (const Fd fd = tries("/new", O_RDWR | O_CREAT); fd.valid()) {
    static_cast<void>(pwrite(fd.get(), data.data(), data.size(), 0));
    static_cast<void>(fsync(fd.get()));
  }
  tries("/a/new", O_RDWR | O_CREAT).Reset();
  static_cast<void>(mkdir((root + "/a/newdir").c_str(), 0755));
  static_cast<void>(link((root + "/a/b/deep").c_str(), (root + "/linked").c_str()));
  if (const Fd fd = tries("/a/b/deep", O_RDWR); fd.valid()) {
    static_cast<void>(pwrite(fd.get(), data.data(), data.size(), 10'000));
    static_cast<void>(ftruncate(fd.get(), 100));
    static_cast<void>(fsync(fd.get()));
  }
  static_cast<void>(rename((root + "/a").c_str(), (root + "/a/b/a").c_str()));
  static_cast<void>(unlink((root + "/f").c_str()));
  static_cast<void>(unlink((root + "/a/b/deep").c_str()));
  for (const char* name : {"/a/b/up", "/a/b/root", "/a/b/me", "/a/b/file", "/a/b/dir"}) {
    static_cast<void>(rmdir((root + name).c_str()));
    static_cast<void>(unlink((root + name).c_str()));
  }
}

TEST_P(HostileImageTest, DoesNoHarm) {
  const HostileImage& hostile = kImages[GetParam()];
  SCOPED_TRACE(hostile.name);
  TestVolume made;
  hostile.make(made);
  MountedTestVolume volume({.size_bytes = TestVolume::kVolumeBytes});
  ASSERT_TRUE(Succeeds(unlink(volume.image().c_str())));
  TestVolume::WriteImageFile(made, volume.image());
  const auto fsck = [&](const char* mode) {
    const ProgramResult result =
        RunProgram({Bin("fsck.cofs"), mode, "--data", volume.image()});
    EXPECT_TRUE(result.exit_code >= 0 && result.exit_code < 16)
        << result.exit_code << result.err;
    return result;
  };
  EXPECT_TRUE((fsck("-n").exit_code & ~12) == 0);
  for (const char* options : {"ro", "rw"}) {
    SCOPED_TRACE(options);
    try {
      volume.Mount(options);
    } catch (const std::runtime_error& refused) {
      // With a sentence, and not by a crash.
      const std::string text = refused.what();
      EXPECT_EQ(text.find("CHECK failed"), std::string::npos) << text;
      EXPECT_NE(text.find("exit code 32"), std::string::npos) << text;
      continue;
    }
    LookAtAll(volume.root(), 0);
    if (std::string(options) == "rw") UseIt(volume.root());
    volume.UnmountFailed();
  }
  const ProgramResult repaired = fsck("-y");
  const ProgramResult again = fsck("-n");
  EXPECT_EQ(again.exit_code & ~4, 0) << again.out << again.err;
  EXPECT_EQ((repaired.exit_code & 4), again.exit_code)
      << repaired.out << repaired.err << again.out << again.err;
  if ((repaired.exit_code & ~1) != 0) return;
  volume.Mount("rw");
  LookAtAll(volume.root(), 0);
  volume.Unmount();
  volume.Check();
}

INSTANTIATE_TEST_SUITE_P(Images, HostileImageTest,
                         ::testing::Range(size_t{0}, std::size(kImages)));

}  // namespace
}  // namespace cofs
