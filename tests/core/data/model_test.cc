// The data half against byte arrays: random operations on a few files, with remounts and
// crashes. After a crash the volume is sound, and what was not touched since the last
// commit is there.
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kModelBytesMax = 3 << 20;

class Model {
 public:
  Model(uint64_t seed, DataVolume::Options options)
      : random_(seed), volume_(options), weights_(13) {
    for (int& weight : weights_) weight = 1 + static_cast<int>(random_() % 10);
    for (int i = 0; i < 4; ++i) files_.push_back({volume_.NewFile(), {}});
    Commit();
  }

  void Run(int steps) {
    for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) Step();
    if (::testing::Test::HasFailure()) return;
    CompareAll();
    volume_.ExpectSound();
  }

 private:
  struct File {
    InodeRef inode;
    std::string bytes;
    bool is_touched = true;  // since the last commit
  };

  File& AnyFile() { return files_[random_() % files_.size()]; }
  uint64_t AnyOffset() {
    uint64_t offset = random_() % kModelBytesMax;
    if (random_() % 3 == 0) offset = RoundDown(offset, kBlockBytes);
    if (random_() % 4 == 0) offset %= 20000;
    return offset;
  }
  uint64_t AnyLength() {
    switch (random_() % 4) {
      case 0:
        return 1 + random_() % 100;
      case 1:
        return (1 + random_() % 16) * kBlockBytes;
      case 2:
        return 1 + random_() % 20000;
      default:
        return 1 + random_() % 600000;
    }
  }

  void Step() {
    std::discrete_distribution<int> choice(weights_.begin(), weights_.end());
    switch (choice(random_)) {
      case 0:
      case 1:
      case 2:
        return Write(AnyFile());
      case 3:
      case 4:
        return Read(AnyFile());
      case 5:
        return Truncate(AnyFile());
      case 6:
        return Allocate(AnyFile());
      case 7:
        return Seek(AnyFile());
      case 8:
        return Copy(AnyFile(), AnyFile());
      case 9:
        return Clone(AnyFile(), AnyFile());
      case 10:
        if (random_() % 20 == 0) return Replace(AnyFile());
        return;
      case 11:
        if (random_() % 40 == 0) return Remount();
        if (random_() % 10 == 0) return Commit();
        return;
      default:
        if (random_() % 20 == 0) return Crash();
    }
  }

  void Commit() {
    DATA_EXPECT_OK(volume_.core().committer->Commit());
    for (File& file : files_) file.is_touched = false;
  }

  void Write(File& file) {
    const uint64_t offset = AnyOffset(), length = AnyLength();
    const std::string bytes = Pattern(random_(), length);
    file.is_touched = true;
    volume_.Write(file.inode, offset, bytes);
    if (file.bytes.size() < offset + length) file.bytes.resize(offset + length);
    file.bytes.replace(offset, length, bytes);
  }
  void Read(File& file) {
    const uint64_t offset = AnyOffset(), length = AnyLength();
    const std::string expected =
        offset < file.bytes.size() ? file.bytes.substr(offset, length) : "";
    EXPECT_TRUE(expected == volume_.Read(file.inode, offset, length))
        << "read " << offset << "+" << length;
  }
  void Truncate(File& file) {
    const uint64_t size = random_() % 3 == 0 ? AnyOffset() : file.bytes.size() * 2 / 3;
    file.is_touched = true;
    DATA_EXPECT_OK(volume_.data().Truncate(file.inode, size, {}));
    file.bytes.resize(size);
  }
  void Allocate(File& file) {
    constexpr int kModes[] = {0, FALLOC_FL_KEEP_SIZE,
                              FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              FALLOC_FL_ZERO_RANGE,
                              FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                              FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE};
    const int mode = kModes[random_() % std::size(kModes)];
    if (mode == FALLOC_FL_COLLAPSE_RANGE || mode == FALLOC_FL_INSERT_RANGE)
      return Shift(file, mode);
    const uint64_t offset = AnyOffset(), length = AnyLength();
    file.is_touched = true;
    DATA_EXPECT_OK(volume_.data().Allocate(file.inode, mode, FileOffset{offset}, length));
    if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0 && offset < file.bytes.size()) {
      const uint64_t inside = std::min(length, file.bytes.size() - offset);
      file.bytes.replace(offset, inside, std::string(inside, '\0'));
    }
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && file.bytes.size() < offset + length)
      file.bytes.resize(offset + length);
  }
  void Shift(File& file, int mode) {
    const uint64_t block_count = file.bytes.size() / kBlockBytes;
    if (block_count < 2) return;
    // A file grows and shrinks by the same.
    const uint64_t offset = random_() % (block_count - 1) * kBlockBytes;
    uint64_t length = (1 + random_() % (block_count / 2)) * kBlockBytes;
    if (mode == FALLOC_FL_COLLAPSE_RANGE)
      length = std::min(length, block_count * kBlockBytes - kBlockBytes - offset);
    file.is_touched = true;
    DATA_EXPECT_OK(volume_.data().Allocate(file.inode, mode, FileOffset{offset}, length));
    if (mode == FALLOC_FL_COLLAPSE_RANGE)
      file.bytes.erase(offset, length);
    else
      file.bytes.insert(offset, length, '\0');
  }
  void Seek(File& file) {
    const uint64_t offset = AnyOffset();
    const auto data = volume_.data().Seek(file.inode, FileOffset{offset}, SEEK_DATA);
    const auto hole = volume_.data().Seek(file.inode, FileOffset{offset}, SEEK_HOLE);
    if (offset >= file.bytes.size()) {
      DATA_EXPECT_CODE(kSeekPastEnd, data);
      DATA_EXPECT_CODE(kSeekPastEnd, hole);
      return;
    }
    ASSERT_TRUE(hole.ok());
    ASSERT_LE(hole->value(), file.bytes.size());
    const uint64_t data_at = data.ok() ? data->value() : file.bytes.size();
    EXPECT_EQ(std::string::npos,
              file.bytes.substr(offset, data_at - offset).find_first_not_of('\0'));
    const uint64_t block_end =
        std::min<uint64_t>(RoundDown(hole->value(), kBlockBytes) + kBlockBytes,
                           file.bytes.size());
    EXPECT_EQ(std::string::npos,
              file.bytes.substr(hole->value(), block_end - hole->value())
                  .find_first_not_of('\0'));
  }
  void Copy(File& from, File& to) {
    uint64_t source = AnyOffset(), destination = AnyOffset();
    const uint64_t length = AnyLength();
    if (random_() % 2 == 0)
      destination = RoundDown(destination, kBlockBytes) + source % kBlockBytes;
    if (random_() % 4 == 0) source = destination = 0;
    to.is_touched = true;
    const auto copied = volume_.Copy(from.inode, source, to.inode, destination, length);
    const uint64_t expected =
        source < from.bytes.size() ? std::min(length, from.bytes.size() - source) : 0;
    const uint64_t distance = source < destination ? destination - source
                                                   : source - destination;
    if (&from == &to && distance < expected) {
      DATA_EXPECT_CODE(kInvalidArgument, copied);
      return;
    }
    DATA_EXPECT_OK(copied);
    if (!copied.ok()) return;
    EXPECT_EQ(expected, *copied);
    if (expected == 0) return;
    const std::string bytes = from.bytes.substr(source, expected);
    if (to.bytes.size() < destination + expected) to.bytes.resize(destination + expected);
    to.bytes.replace(destination, expected, bytes);
  }
  void Clone(File& from, File& to) {
    const uint64_t source = RoundDown(AnyOffset(), kBlockBytes);
    uint64_t destination = RoundDown(AnyOffset(), kBlockBytes);
    if (random_() % 4 == 0) destination = source;
    uint64_t length = RoundDown(AnyLength(), kBlockBytes);
    if (random_() % 3 == 0) length = 0;
    const uint64_t size = from.bytes.size();
    const uint64_t real = length == 0 && source <= size ? size - source : length;
    const uint64_t distance = source < destination ? destination - source
                                                   : source - destination;
    const bool is_valid =
        source <= size && real <= size - source &&
        (real % kBlockBytes == 0 || destination + real >= to.bytes.size()) &&
        !(&from == &to && distance < RoundUp(real, kBlockBytes));
    to.is_touched = true;
    const Status cloned = volume_.Clone(from.inode, source, to.inode, destination, length);
    if (!is_valid) {
      DATA_EXPECT_CODE(kInvalidArgument, cloned);
      return;
    }
    DATA_EXPECT_OK(cloned);
    if (real == 0) return;
    const std::string bytes = from.bytes.substr(source, real);
    if (to.bytes.size() < destination + real) to.bytes.resize(destination + real);
    to.bytes.replace(destination, real, bytes);
  }
  void Replace(File& file) {
    DATA_EXPECT_OK(volume_.Remove(file.inode));
    file = {volume_.NewFile(), {}};
    Commit();
  }
  void Again(bool commits) {
    std::vector<InodeId> ids;
    for (File& file : files_) ids.push_back(file.inode->id);
    for (File& file : files_) file.inode.reset();
    volume_.Remount(commits);
    for (size_t i = 0; i < files_.size(); ++i) files_[i].inode = volume_.Again(ids[i]);
  }
  void Remount() {
    Again(/*commits=*/true);
    CompareAll();
    volume_.ExpectSound();
    Commit();
  }
  void Crash() {
    Again(/*commits=*/false);
    for (File& file : files_) {
      std::string bytes = volume_.ReadAll(file.inode);
      EXPECT_TRUE(file.is_touched || bytes == file.bytes) << "inode " << file.inode->id;
      file.bytes = std::move(bytes);
    }
    volume_.ExpectSound();
    Commit();
  }
  void CompareAll() {
    for (File& file : files_)
      EXPECT_TRUE(file.bytes == volume_.ReadAll(file.inode)) << "inode " << file.inode->id;
  }

  std::mt19937_64 random_;
  DataVolume volume_;
  std::vector<int> weights_;
  std::vector<File> files_;
};

class ModelTest : public ::testing::TestWithParam<CopyRangePolicy> {};

TEST_P(ModelTest, AtRandom) {
  const uint64_t seed = SeedOf(21);
  for (uint64_t run = 0; run < 3 && !HasFailure(); ++run) {
    DataVolume::Options options;
    options.volume.copy = GetParam();
    if (run % 2 == 1)
      options.copy_limits = DeviceCopyLimits{.segment_bytes_max = 64 << 10,
                                             .command_bytes_max = 256 << 10,
                                             .segments_max = 8};
    SCOPED_TRACE(StrCat("run ", run));
    Model(seed * 1000 + run, options).Run(800);
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, ModelTest,
                         ::testing::Values(CopyRangePolicy::kAuto, CopyRangePolicy::kShare,
                                           CopyRangePolicy::kBuffered));

}  // namespace
}  // namespace cofs
