#include "tests/fsck/test_volume.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/aligned_buffer.h"
#include "base/crc32c.h"
#include "base/file_descriptor.h"
#include "device/fault_device.h"
#include "extent_map/allocator.h"
#include "mkfs/format.h"

namespace cofs {
namespace {

constexpr uint8_t kDirectory = S_IFDIR >> 12;
constexpr uint8_t kFile = S_IFREG >> 12;

void CheckOk(const Status& status) {
  CHECK(status.ok(), status.ok() ? "" : status.error().ToString());
}

template <typename T>
T Value(Result<T> result) {
  CHECK(result.ok(), result.ok() ? "" : result.error().ToString());
  return std::move(result).value();
}

InodeRecord NewInode(uint32_t mode, uint32_t link_count) {
  InodeRecord inode;
  inode.mode = mode;
  inode.link_count = link_count;
  return inode;
}

InodeRecord NewDirectory(InodeId parent, uint32_t link_count) {
  InodeRecord inode = NewInode(S_IFDIR | 0755, link_count);
  inode.parent = parent;
  return inode;
}

}  // namespace

struct TestVolume::Made {
  std::unique_ptr<MemoryDevice> device;
  DeviceRange pool;
  SipHashKey name_key;
};

const TestVolume::Made& TestVolume::Base() {
  static const Made* made = [] {
    auto device = std::make_unique<MemoryDevice>(kVolumeBytes);
    FormatOptions options;
    options.label = "test";
    TestVolume volume(std::move(device));
    volume.pool_ = Value(FormatDevice(*volume.device_, options)).pool;
    volume.name_key_ = volume.superblock().name_hash_key;
    Fill(volume);
    return new Made{std::move(volume.device_), volume.pool_, volume.name_key_};
  }();
  return *made;
}

TestVolume::TestVolume(std::unique_ptr<MemoryDevice> device) : device_(std::move(device)) {}

TestVolume::TestVolume()
    : device_(Base().device->Fork()), pool_(Base().pool), name_key_(Base().name_key) {}

void TestVolume::Fill(TestVolume& volume) {
  InodeRecord f = NewInode(S_IFREG | 0644, 1);
  f.size_bytes = 10000;
  f.allocated_bytes = 5 * kBlockBytes;
  f.flags = kInodeHasXattr;
  InodeRecord deep = NewInode(S_IFREG | 0600, 1);
  deep.size_bytes = 8000;
  deep.allocated_bytes = 2 * kBlockBytes;
  InodeRecord orphan = NewInode(S_IFREG | 0600, 0);
  orphan.size_bytes = 1;
  orphan.allocated_bytes = kBlockBytes;
  InodeRecord symlink = NewInode(S_IFLNK | 0777, 1);
  symlink.symlink_target = "../f";
  symlink.size_bytes = 4;
  InodeRecord device = NewInode(S_IFCHR | 0600, 1);
  device.rdev = 0x105;

  AlignedBuffer data(4 * kBlockBytes);
  for (size_t i = 0; i < data.size_bytes(); ++i) data.data()[i] = static_cast<char>(i * 7);
  CheckOk(volume.device_->Write(volume.Block(0), data.span()));
  volume.Edit([&](Batch& batch) {
    batch.Put(InodeCounterKey(), EncodeInodeCounter(InodeId{100}));
    batch.Put(InodeKey(kInodeA), EncodeInode(NewDirectory(kRootInode, 3)));
    batch.Put(InodeKey(kInodeB), EncodeInode(NewDirectory(kInodeA, 2)));
    batch.Put(InodeKey(kInodeF), EncodeInode(f));
    batch.Put(InodeKey(kInodeG), EncodeInode(NewInode(S_IFREG | 0444, 2)));
    batch.Put(InodeKey(kInodeSymlink), EncodeInode(symlink));
    batch.Put(InodeKey(kInodeDevice), EncodeInode(device));
    batch.Put(InodeKey(kInodeDeep), EncodeInode(deep));
    batch.Put(InodeKey(kInodeOrphan), EncodeInode(orphan));
    batch.Put(InodeKey(kInodeOrphanDirectory), EncodeInode(NewDirectory(kRootInode, 0)));
    batch.Put(OrphanKey(kInodeOrphan), "");
    batch.Put(OrphanKey(kInodeOrphanDirectory), "");
    batch.Put(XattrKey(kInodeF, "user.color"), "red");
    auto put_extent = [&](InodeId inode, Extent extent) {
      batch.Put(ExtentKey(inode, extent.file_offset), EncodeExtent(extent));
    };
    const uint64_t b = kBlockBytes;
    put_extent(kInodeF, {FileOffset{0}, volume.Block(0), 2 * b, kExtentShared});
    put_extent(kInodeF, {FileOffset{2 * b}, volume.Block(2), b, 0});
    put_extent(kInodeF, {FileOffset{8 * b}, volume.Block(4), 2 * b, kExtentUnwritten});
    put_extent(kInodeDeep, {FileOffset{0}, volume.Block(0), 2 * b, kExtentShared});
    put_extent(kInodeOrphan, {FileOffset{0}, volume.Block(3), b, 0});
    batch.Put(SharedKey(volume.Block(0)), EncodeShared({2 * b, 2}));
    for (uint64_t i = 0; i < 4; ++i) {
      const DeviceOffset block = volume.Block(i);
      const uint64_t index = block.value() % kChecksumChunkBytes / kBlockBytes;
      ChecksumChunk sums;
      sums.present = uint64_t{1} << index;
      sums.crc32c[index] = Crc32c(data.data() + i * b, b);
      batch.Merge(ChecksumKey(block), EncodeChecksums(sums));
    }
  });
  volume.EditInode(kRootInode, [](InodeRecord& root) { root.link_count = 3; });
  volume.AddEntry(kRootInode, "a", kInodeA, kDirectory);
  volume.AddEntry(kRootInode, "f", kInodeF, kFile);
  volume.AddEntry(kRootInode, "g", kInodeG, kFile);
  volume.AddEntry(kInodeA, "b", kInodeB, kDirectory);
  volume.AddEntry(kInodeA, "g2", kInodeG, kFile);
  volume.AddEntry(kInodeA, "link", kInodeSymlink, S_IFLNK >> 12);
  volume.AddEntry(kInodeA, "dev", kInodeDevice, S_IFCHR >> 12);
  volume.AddEntry(kInodeB, "deep", kInodeDeep, kFile);
}

void TestVolume::WriteImageFile(const TestVolume& volume, const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  CHECK(fd.valid(), path);
  CHECK(::ftruncate(fd.get(), static_cast<off_t>(kVolumeBytes)) == 0);
  std::string piece(MemoryDevice::kPageBytes, '\0');
  for (uint64_t at = 0; at < kVolumeBytes; at += piece.size()) {
    volume.device().Peek(at, piece);
    if (piece.find_first_not_of('\0') == std::string::npos) continue;
    CHECK(::pwrite(fd.get(), piece.data(), piece.size(), static_cast<off_t>(at)) ==
          static_cast<ssize_t>(piece.size()));
  }
}

DeviceOffset TestVolume::Block(uint64_t index) const {
  // Two blocks in one chunk of checksums, the next ones in another.
  const uint64_t chunk = RoundUp(pool_.end().value(), kChecksumChunkBytes);
  return DeviceOffset{chunk + kChecksumChunkBytes - 2 * kBlockBytes + index * kBlockBytes};
}

void TestVolume::Edit(const std::function<void(Batch&)>& change, bool closes) {
  const auto slots = Value(SuperblockSlots::Load(*device_));
  const auto store = Value(Store::Open(*device_, *slots, StoreOptions{}));
  Batch batch;
  change(batch);
  CheckOk(store->Write(std::move(batch)));
  CheckOk(store->Commit());
  if (closes) CheckOk(store->Close());
}

void TestVolume::EditInode(InodeId inode, const std::function<void(InodeRecord&)>& change) {
  InodeRecord record = Value(DecodeInode(Get(InodeKey(inode))));
  change(record);
  Edit([&](Batch& batch) { batch.Put(InodeKey(inode), EncodeInode(record)); });
}

void TestVolume::AddEntry(InodeId directory, std::string_view name, InodeId inode,
                          uint8_t type, uint64_t collision_index) {
  InodeRecord record = Value(DecodeInode(Get(InodeKey(directory))));
  ++record.size_bytes;
  Edit([&](Batch& batch) {
    batch.Put(DentryKey(directory, Cookie(name) + collision_index),
              EncodeDentry({std::string(name), inode, type}));
    batch.Put(InodeKey(directory), EncodeInode(record));
  });
}

void TestVolume::RemoveEntry(InodeId directory, std::string_view name) {
  InodeRecord record = Value(DecodeInode(Get(InodeKey(directory))));
  --record.size_bytes;
  Edit([&](Batch& batch) {
    batch.Delete(DentryKey(directory, Cookie(name)));
    batch.Put(InodeKey(directory), EncodeInode(record));
  });
}

void TestVolume::AddUnwritten(InodeId inode, uint64_t file_block, DeviceOffset place,
                              uint64_t blocks, uint8_t more_flags) {
  InodeRecord record = Value(DecodeInode(Get(InodeKey(inode))));
  const uint64_t length = blocks * kBlockBytes;
  const FileOffset offset{file_block * kBlockBytes};
  if ((record.mode & S_IFMT) == S_IFREG) record.allocated_bytes += length;
  Edit([&](Batch& batch) {
    batch.Put(ExtentKey(inode, offset),
              EncodeExtent({offset, place, length,
                            static_cast<uint8_t>(kExtentUnwritten | more_flags)}));
    batch.Put(InodeKey(inode), EncodeInode(record));
  });
}

std::string TestVolume::Get(const std::string& key) {
  const auto slots = Value(SuperblockSlots::Load(*device_));
  StoreOptions options;
  options.read_only = true;
  const auto store = Value(Store::Open(*device_, *slots, options));
  const auto value = Value(store->Get(key));
  CHECK(value.has_value(), "no such record");
  return *value;
}

Superblock TestVolume::superblock() {
  return Value(SuperblockSlots::Load(*device_))->current();
}

void TestVolume::EditSuperblock(const std::function<void(Superblock&)>& change) {
  CheckOk(Value(SuperblockSlots::Load(*device_))->Update(change));
}

void TestVolume::Flip(DeviceOffset place) {
  char byte;
  device_->Peek(place.value(), {&byte, 1});
  byte = static_cast<char>(byte ^ 4);
  device_->Poke(place.value(), {&byte, 1});
}

void TestVolume::LeaveImage(const std::function<void(Allocator&)>& change) {
  Allocator allocator(kVolumeBytes);
  CheckOk(allocator.Release({kReservedEnd, kVolumeBytes - kReservedEnd.value()}));
  CheckOk(allocator.Take(pool_));
  CheckOk(allocator.Take({Block(0), 6 * kBlockBytes}));
  if (change) change(allocator);
  const DeviceOffset place = Block(1000);
  const std::string image = allocator.EncodeImage();
  device_->Poke(place.value(), image);
  EditSuperblock([&](Superblock& superblock) {
    superblock.allocator_image = {place, image.size()};
    superblock.allocator_image_crc32c = Crc32c(image.data(), image.size());
  });
}

Fault TestVolume::UnreadableBlock() const {
  Fault fault;
  fault.matches = [place = unreadable.value()](const FaultPoint& point) {
    return point.kind == FaultKind::kRead && point.range.offset <= place &&
           place < point.range.end();
  };
  return fault;
}

RepairOutcome TestVolume::Repair(RepairMode mode, const CheckOptions& options,
                                 bool* is_write_free) {
  FaultDevice device(*device_);
  if (unreadable) device.Add(UnreadableBlock());
  RepairOutcome outcome = Value(RepairVolume(device, mode, options));
  if (is_write_free != nullptr)
    *is_write_free = device.io_count(FaultKind::kWrite) == 0 &&
                     device.io_count(FaultKind::kWriteZeroes) == 0 &&
                     device.io_count(FaultKind::kDiscard) == 0;
  return outcome;
}

Result<std::string> TestVolume::ReadFile(InodeId inode) {
  const auto slots = Value(SuperblockSlots::Load(*device_));
  StoreOptions options;
  options.read_only = true;
  const auto store = Value(Store::Open(*device_, *slots, options));
  TRY_ASSIGN(const auto record_value, store->Get(InodeKey(inode)));
  TRY_ASSIGN(const InodeRecord record, DecodeInode(record_value.value_or("")));
  std::string bytes(RoundUp(record.size_bytes, kBlockBytes), '\0');
  const KeyRange keys = ExtentKeys(inode);
  const auto cursor = store->NewCursor(keys.first, keys.last);
  for (cursor->Seek(keys.first); cursor->valid(); cursor->Next()) {
    TRY_ASSIGN(const ParsedKey key, ParseKey(cursor->key()));
    TRY_ASSIGN(const Extent extent,
               DecodeExtent(FileOffset{key.position}, cursor->value()));
    for (uint64_t at = 0; at < extent.length_bytes && !extent.unwritten();
         at += kBlockBytes) {
      const DeviceOffset place = extent.device_offset + at;
      AlignedBuffer block(kBlockBytes);
      TRY(device_->Read(place, block.span()));
      TRY_ASSIGN(const auto sums_value, store->Get(ChecksumKey(place)));
      TRY_ASSIGN(const ChecksumChunk sums, DecodeChecksums(sums_value.value_or("")));
      const uint64_t index = place.value() % kChecksumChunkBytes / kBlockBytes;
      if ((sums.present >> index & 1) == 0)
        return Error(ErrorCode::kCorrupt, "no checksum");
      if (sums.crc32c[index] != Crc32c(block.data(), kBlockBytes))
        return Error(ErrorCode::kChecksum, "block of the file");
      const uint64_t to = extent.file_offset.value() + at;
      if (to < bytes.size()) bytes.replace(to, kBlockBytes, block.data(), kBlockBytes);
    }
  }
  TRY(cursor->status());
  bytes.resize(record.size_bytes);
  return bytes;
}

Report TestVolume::Check(const CheckOptions& options) {
  FaultDevice device(*device_);
  // Whatever is wrong with a volume: a check writes nothing.
  for (FaultKind kind : {FaultKind::kWrite, FaultKind::kWriteZeroes, FaultKind::kDiscard})
    device.FailKind(kind);
  if (unreadable) device.Add(UnreadableBlock());
  Report report = Value(CheckVolume(device, options));
  CHECK(unreadable || device.failed_count() == 0, "the check wrote to the volume");
  return report;
}

}  // namespace cofs
