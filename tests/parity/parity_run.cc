#include "tests/parity/parity_run.h"

#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "base/check.h"
#include "base/crc32c.h"
#include "fsck/volume_check.h"
#include "mkfs/format.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kStepBytes = 1 << 20;

std::string RandomBytes(uint64_t seed, uint64_t length_bytes) {
  std::mt19937_64 random(seed);
  std::string bytes(RoundUp(length_bytes, 8), '\0');
  for (size_t i = 0; i < bytes.size(); i += 8) {
    const uint64_t word = random();
    std::memcpy(bytes.data() + i, &word, 8);
  }
  bytes.resize(length_bytes);
  return bytes;
}

const char* NameOf(ParityFile file) {
  return file == ParityFile::kSource ? "source" : "destination";
}

std::string FirstDifference(const std::string& found, const std::string& expected) {
  if (found.size() != expected.size())
    return StrCat("sizes ", found.size(), " and ", expected.size());
  const auto at = std::mismatch(found.begin(), found.end(), expected.begin()).first;
  return StrCat("differ at ", at - found.begin());
}

}  // namespace

std::unique_ptr<ParityRun> ParityRun::Start(const ParityWay& way, std::string* why_not) {
  std::unique_ptr<ParityRun> run(new ParityRun(way));
  run->device_ = way.make(kVolumeBytes, why_not);
  if (run->device_ == nullptr) return nullptr;
  {
    FormatOptions options;
    options.size_bytes = kVolumeBytes;
    const auto formatted = FormatDevice(*run->device_->Open(), options);
    CHECK(formatted.ok(), formatted.ok() ? "" : formatted.error().ToString());
  }
  run->Mount();
  for (const ParityFile file : {ParityFile::kSource, ParityFile::kDestination})
    run->files_[Index(file)].id = MakeFile(*run->volume_, kRootInode, NameOf(file));
  run->filler_ = MakeFile(*run->volume_, kRootInode, "filler");
  return run;
}

ParityRun::~ParityRun() = default;

void ParityRun::Mount() {
  VolumeOptions options = QuietOptions();
  options.copy = policy_;
  auto mounted = Volume::Mount(device_->Open(), options);
  CHECK(mounted.ok(), mounted.ok() ? "" : mounted.error().ToString());
  volume_ = *std::move(mounted);
}

void ParityRun::CountBytes() {
  if (policy_ != way_.policy) return;
  const auto bytes = volume_->usage().copies.bytes_by_way;
  for (size_t i = 0; i < bytes.size(); ++i)
    (i == static_cast<size_t>(way_.id) ? bytes_by_way_ : bytes_by_others_) += bytes[i];
}

void ParityRun::Unmount() {
  CountBytes();
  EXPECT_OK(volume_->Unmount());
  volume_.reset();
  if (!is_checked_) return;
  CheckOptions options;
  options.data = true;
  const auto report = CheckVolume(*device_->Open(), options);
  ASSERT_OK(report);
  for (const Finding& finding : report->findings())
    if (report->error_count() > 0) ADD_FAILURE() << Describe(finding);
}

void ParityRun::Remount() {
  Unmount();
  Mount();
}

void ParityRun::SetPolicy(CopyRangePolicy policy) {
  Unmount();
  policy_ = policy;
  Mount();
}

void ParityRun::Crash() {
  CountBytes();
  volume_.reset();
  Mount();
}

void ParityRun::Sync() { EXPECT_OK(volume_->SyncAll()); }

void ParityRun::Write(ParityFile file, uint64_t offset, uint64_t length_bytes) {
  const std::string bytes = RandomBytes(next_seed_++, length_bytes);
  File& target = files_[Index(file)];
  for (uint64_t at = 0; at < length_bytes; at += kStepBytes)
    ASSERT_OK(volume_->Write(
        target.id, FileOffset{offset + at},
        std::string_view(bytes).substr(at, kStepBytes), WriteOptions{}));
  if (target.model.size() < offset + length_bytes)
    target.model.resize(offset + length_bytes);
  target.model.replace(offset, length_bytes, bytes);
}

void ParityRun::Allocate(ParityFile file, int mode, uint64_t offset,
                         uint64_t length_bytes) {
  File& target = files_[Index(file)];
  ASSERT_OK(volume_->Allocate(target.id, mode, FileOffset{offset}, length_bytes));
  const uint64_t end = offset + length_bytes;
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && target.model.size() < end)
    target.model.resize(end);
  if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0 &&
      offset < target.model.size())
    target.model.replace(offset, std::min(length_bytes, target.model.size() - offset),
                         std::string(std::min(length_bytes, target.model.size() - offset),
                                     '\0'));
}

void ParityRun::Truncate(ParityFile file, uint64_t size_bytes) {
  File& target = files_[Index(file)];
  ASSERT_OK(volume_->SetAttributes(target.id, {.size_bytes = size_bytes}));
  target.model.resize(size_bytes);
}

Result<uint64_t> ParityRun::CopySome(const ParityCopy& copy,
                                     std::function<bool()> interrupted) {
  File& from = files_[Index(copy.from)];
  File& to = files_[Index(copy.to)];
  const auto copied =
      volume_->Copy({.source = from.id,
                     .source_offset = FileOffset{copy.source_offset},
                     .destination = to.id,
                     .destination_offset = FileOffset{copy.destination_offset},
                     .length_bytes = copy.length_bytes,
                     .interrupted = std::move(interrupted)});
  const uint64_t wanted =
      std::min(copy.length_bytes,
               from.model.size() - std::min<uint64_t>(copy.source_offset,
                                                      from.model.size()));
  if (copied.ok() && *copied > 0) {
    EXPECT_LE(*copied, wanted);
    const std::string bytes = from.model.substr(copy.source_offset, *copied);
    const uint64_t end = copy.destination_offset + *copied;
    if (to.model.size() < end) to.model.resize(end);
    to.model.replace(copy.destination_offset, *copied, bytes);
  }
  CheckContents();
  return copied;
}

void ParityRun::Copy(const ParityCopy& copy) {
  const auto copied = CopySome(copy, nullptr);
  Note(StrCat(NameOf(copy.from), " ", copy.source_offset, " to ", NameOf(copy.to), " ",
              copy.destination_offset, ", ", copy.length_bytes, " bytes: ",
              copied.ok() ? std::to_string(*copied) : CodeOf(copied)));
}

void ParityRun::Fill(uint64_t bytes_left) {
  // What was freed comes back first.
  EXPECT_OK(volume_->DrainRemoved());
  Sync();
  const SpaceUsage space = volume_->usage().space;
  ASSERT_GT(space.free_bytes, space.reserve_bytes + bytes_left);
  uint64_t at = RecordOf(*volume_, filler_).size_bytes;
  for (uint64_t step = kVolumeBytes; step >= kBlockBytes;) {
    const SpaceUsage now = volume_->usage().space;
    const uint64_t room = now.free_bytes - std::min(now.free_bytes, now.reserve_bytes);
    const uint64_t more =
        std::min(RoundDown(room - std::min(room, bytes_left), kBlockBytes), step);
    if (more == 0) break;
    if (volume_->Allocate(filler_, 0, FileOffset{at}, more).ok()) {
      at += more;
    } else {
      step /= 2;
    }
  }
}

void ParityRun::FreeFiller() {
  EXPECT_OK(volume_->SetAttributes(filler_, {.size_bytes = 0}));
  Sync();
}

std::string ParityRun::ReadAll(ParityFile file) {
  const InodeId id = files_[Index(file)].id;
  const uint64_t size_bytes = RecordOf(*volume_, id).size_bytes;
  std::string contents;
  AlignedBuffer buffer;
  while (contents.size() < size_bytes) {
    const auto read =
        volume_->Read(id, FileOffset{contents.size()}, kStepBytes, buffer);
    if (!read.ok() || read->empty()) {
      ADD_FAILURE() << NameOf(file) << " at " << contents.size() << ": "
                    << (read.ok() ? "nothing" : read.error().ToString());
      break;
    }
    contents.append(read->data(), read->size());
  }
  return contents;
}

bool ParityRun::HasContents(ParityFile file, const std::string& contents) {
  return ReadAll(file) == contents;
}

void ParityRun::CheckContents() {
  if (!is_checked_) return;
  for (const ParityFile file : {ParityFile::kSource, ParityFile::kDestination}) {
    const std::string found = ReadAll(file);
    EXPECT_TRUE(found == ModelOf(file))
        << NameOf(file) << ": " << FirstDifference(found, ModelOf(file));
  }
}

std::string ParityRun::FactsOf(ParityFile file) {
  const InodeId id = files_[Index(file)].id;
  const InodeRecord record = RecordOf(*volume_, id);
  std::string facts = StrCat(NameOf(file), ": ", record.size_bytes, " bytes, crc32c ",
                             Crc32c(ModelOf(file).data(), ModelOf(file).size()), ", ",
                             record.allocated_bytes, " allocated, data");
  for (uint64_t at = 0;;) {
    const auto data = volume_->Seek(id, FileOffset{at}, SEEK_DATA);
    if (!data.ok()) break;
    const auto hole = volume_->Seek(id, *data, SEEK_HOLE);
    if (!hole.ok()) break;
    facts += StrCat(" ", data->value(), "-", hole->value());
    at = hole->value();
  }
  return facts;
}

std::vector<std::string> ParityRun::Finish() {
  for (const ParityFile file : {ParityFile::kSource, ParityFile::kDestination})
    Note(FactsOf(file));
  if (!is_checked_) return notes_;
  Remount();
  CheckContents();
  EXPECT_OK(volume_->Unmount());
  volume_.reset();
  return notes_;
}

}  // namespace cofs
