#include "tests/core/data/data_volume.h"

#include <cstring>

#include "base/check.h"
#include "extent_map/records.h"
#include "mkfs/format.h"

namespace cofs {
namespace {

template <typename T>
T Checked(Result<T> result) {
  CHECK(result.ok(), result.ok() ? "" : result.error().ToString());
  return std::move(result).value();
}

void CheckOk(const Status& status) {
  CHECK(status.ok(), status.ok() ? "" : status.error().ToString());
}

}  // namespace

std::string Pattern(uint64_t seed, uint64_t length) {
  std::string bytes(length, '\0');
  std::mt19937_64 random(seed);
  for (uint64_t i = 0; i < length; i += 8) {
    const uint64_t value = random();
    std::memcpy(bytes.data() + i, &value, std::min<uint64_t>(8, length - i));
  }
  return bytes;
}

DataVolume::DataVolume(Options options) : options_(options) {
  MemoryDevice::Options device_options;
  device_options.copy_limits = options.copy_limits;
  memory_ = std::make_unique<MemoryDevice>(options.size_bytes, device_options);
  Checked(FormatDevice(*memory_, {}));
  device_ = std::make_unique<FaultDevice>(*memory_);
  Mount();
}

DataVolume::~DataVolume() { Drop(); }

void DataVolume::Mount() {
  slots_ = Checked(SuperblockSlots::Load(*device_));
  store_ = Checked(Store::Open(*device_, *slots_, {.on_failure = {}}));
  auto allocator = std::make_unique<Allocator>(options_.size_bytes);
  CheckOk(allocator->Release({kReservedEnd, options_.size_bytes - kReservedEnd.value()}));
  for (const DeviceRange& range : store_->PoolRanges()) {
    const uint64_t begin = std::max(range.offset, kReservedEnd).value();
    CheckOk(allocator->Take({DeviceOffset{begin}, range.end().value() - begin}));
  }
  for (const DeviceRange& range : MappedRanges(*store_)) CheckOk(allocator->Take(range));
  space_ = std::make_unique<Space>(
      *device_, std::move(allocator),
      Space::Options{.discard = options_.volume.discard,
                     .commit = [this] { return committer_->Commit(); }});
  committer_ = std::make_unique<Committer>(*store_, *space_, Committer::Options{});
  inodes_ = std::make_unique<InodeTable>(*store_, 1000, /*extent_count_max=*/2000);
  shared_blocks_ = std::make_unique<SharedBlocks>(*store_);
  engine_ = Checked(CopyEngine::Create(*device_, {}));
  core_.options = options_.volume;
  core_.device = device_.get();
  core_.slots = slots_.get();
  core_.store = store_.get();
  core_.space = space_.get();
  core_.committer = committer_.get();
  core_.inodes = inodes_.get();
  core_.shared_blocks = shared_blocks_.get();
  core_.copies = engine_.get();
  data_ = std::make_unique<FileData>(core_);
  copies_ = std::make_unique<CopyRange>(core_);
  store_->StartGrowing(space_.get());
}

void DataVolume::Drop() {
  copies_.reset();
  data_.reset();
  engine_.reset();
  shared_blocks_.reset();
  inodes_.reset();
  committer_.reset();
  store_.reset();
  space_.reset();
  slots_.reset();
}

void DataVolume::Remount(bool commit) {
  if (commit) {
    CheckOk(committer_->Commit());
    CheckOk(store_->Close());
  }
  Drop();
  Mount();
}

void DataVolume::Settle() {
  DATA_EXPECT_OK(committer_->Commit());
  // Nobody reads any more: what is durable moves on at once.
  EXPECT_EQ(0u, space_->usage().pending_bytes);
}

InodeRef DataVolume::NewFile() {
  const InodeId id{next_inode_.fetch_add(1)};
  InodeRecord record;
  record.mode = 0100644;
  record.link_count = 1;
  Transaction transaction;
  transaction.PutInode(id, record);
  CheckOk(committer_->Apply(std::move(transaction)));
  return inodes_->Insert(id, record);
}

InodeRef DataVolume::Again(InodeId id) { return Checked(inodes_->Get(id)); }

Status DataVolume::Remove(InodeRef& file) {
  const Status status = data_->FreeAll(file, [&](Transaction& transaction) {
    transaction.batch().Delete(InodeKey(file->id));
  });
  inodes_->Erase(file->id);
  file.reset();
  return status;
}

void DataVolume::Write(const InodeRef& file, uint64_t offset, std::string_view bytes) {
  DATA_EXPECT_OK(data_->Write(file, FileOffset{offset}, bytes, {}));
}

std::string DataVolume::Read(const InodeRef& file, uint64_t offset, uint64_t length) {
  AlignedBuffer buffer;
  const auto read = data_->Read(file, FileOffset{offset}, length, buffer);
  DATA_EXPECT_OK(read);
  return read.ok() ? std::string(read->data(), read->size()) : std::string("error");
}

std::string DataVolume::ReadAll(const InodeRef& file) { return Read(file, 0, SizeOf(file)); }

InodeRecord DataVolume::RecordOf(const InodeRef& file) {
  SharedLock lock(file->mutex);
  return file->record;
}

uint64_t DataVolume::SizeOf(const InodeRef& file) { return RecordOf(file).size_bytes; }

std::vector<Extent> DataVolume::MapOf(const InodeRef& file) {
  return Checked(data_->Map(file, FileOffset{0}, FileOffset{kFileBytesMax}, SIZE_MAX));
}

Result<uint64_t> DataVolume::Copy(const InodeRef& source, uint64_t source_offset,
                                  const InodeRef& destination, uint64_t destination_offset,
                                  uint64_t length) {
  return copies_->Copy({.source = source,
                        .source_offset = FileOffset{source_offset},
                        .destination = destination,
                        .destination_offset = FileOffset{destination_offset},
                        .length_bytes = length,
                        .interrupted = {}});
}

Status DataVolume::Clone(const InodeRef& source, uint64_t source_offset,
                         const InodeRef& destination, uint64_t destination_offset,
                         uint64_t length) {
  return copies_->Clone({.source = source,
                         .source_offset = FileOffset{source_offset},
                         .destination = destination,
                         .destination_offset = FileOffset{destination_offset},
                         .length_bytes = length,
                         .interrupted = {}});
}

}  // namespace cofs
