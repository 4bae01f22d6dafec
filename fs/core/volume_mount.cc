// Volume: mounting and unmounting.
#include <chrono>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "fs/core/copy_scratch.h"
#include "fs/core/recovery.h"
#include "fs/core/volume_parts.h"
#include "fs/core/watched_copies.h"

namespace cofs {
namespace {

// Of VolumeOptions::cache_bytes: the store's blocks serve look-ups of names, extents
// and checksums; an inode in memory only saves one of these, and costs about 1 KiB
// with its locks, its table entries and a few extents. Files in many pieces have more of
// them in memory.
constexpr uint64_t kStoreCacheParts = 5;
constexpr uint64_t kInodeCacheParts = 2;
constexpr uint64_t kExtentCacheParts = 1;
constexpr uint64_t kCacheParts = 8;
constexpr uint64_t kInodeBytesEstimate = 1024;
constexpr uint64_t kExtentBytesEstimate = sizeof(Extent) + 8;
// How long an allocation that would fail waits for removed files to be freed.
constexpr std::chrono::milliseconds kReclaimTimeout{5000};

Status CheckFeatures(const Superblock& superblock, bool read_only) {
  const uint64_t unknown = superblock.ro_compat & ~kKnownRoCompat;
  if (read_only || unknown == 0) return OkStatus();
  return Error(ErrorCode::kUnsupportedFormat,
               StrCat("features ", unknown, " allow only a read-only mount"));
}

}  // namespace

Volume::Volume() : parts_(std::make_unique<Parts>(core_)) {}
Volume::~Volume() = default;

Result<std::unique_ptr<Volume>> Volume::Mount(std::unique_ptr<BlockDevice> device,
                                              VolumeOptions options) {
  const std::string path = device->geometry().path;
  std::unique_ptr<Volume> volume(new Volume);
  volume->core_.options = options;
  Parts& parts = *volume->parts_;
  Status status = parts.OpenStore(std::move(device));
  if (status.ok()) status = parts.RecoverFreeSpace();
  if (status.ok()) status = parts.StartServices();
  if (!status.ok()) {
    parts.TearDown();
    parts.LeaveVolume().IgnoreError("the first error is reported");
    return status.error().Within(path);
  }
  volume->superblock_ = parts.slots->current();
  return volume;
}

Status Volume::Parts::OpenStore(std::unique_ptr<BlockDevice> volume_device) {
  device = std::make_unique<WatchedDevice>(
      std::move(volume_device), std::chrono::milliseconds(core.options.stall_report_ms));
  core.device = device.get();
  const bool read_only = core.options.read_only;
  if (!read_only && device->geometry().is_read_only)
    return Error(ErrorCode::kReadOnly, "the device is read-only");
  TRY_ASSIGN(slots, SuperblockSlots::Load(*device));
  core.slots = slots.get();
  TRY(CheckFeatures(slots->current(), read_only));
  TRY(TakeVolume());
  StoreOptions options;
  options.read_only = read_only;
  options.cache_bytes = core.options.cache_bytes / kCacheParts * kStoreCacheParts;
  options.on_failure = [this](const Error& error) { OnStoreFailure(error); };
  TRY_ASSIGN(store, Store::Open(*device, *slots, std::move(options)));
  core.store = store.get();
  return OkStatus();
}

Status Volume::Parts::TakeVolume() {
  if (core.options.read_only || !core.options.mmp) {
    Status looked = CheckHeartbeat(*device, core.options.read_only ? LeftHeartbeat::kKeep
                                                                   : LeftHeartbeat::kEnd);
    if (!looked.Is(ErrorCode::kIo)) return looked;
    LogWarning("whether another host has the volume is not known: " +
               looked.error().ToString());
    return OkStatus();
  }
  HeartbeatWriter::Options options;
  options.volume = slots->current().uuid;
  options.interval = std::chrono::milliseconds(core.options.mmp_interval_ms);
  options.on_lost = [this](const Error& error) {
    device->Fence(error);
    OnStoreFailure(error);
  };
  auto claimed = HeartbeatWriter::Claim(*device, std::move(options));
  if (claimed.Is(ErrorCode::kIo))
    return claimed.error().Within("the heartbeat (-o nommp mounts without one)");
  TRY_ASSIGN(heartbeat, std::move(claimed));
  return OkStatus();
}

Status Volume::Parts::LeaveVolume() {
  return heartbeat != nullptr ? heartbeat->End() : OkStatus();
}

Status Volume::Parts::RecoverFreeSpace() {
  const Superblock superblock = slots->current();
  const bool read_only = core.options.read_only;
  TRY_ASSIGN(const InodeId counter, InodeNumbers::ReadCounter(*store));
  Result<RecoveredSpace> recovered = RecoverSpace(*device, *store, superblock, counter);
  if (!recovered.ok()) {
    const Error error = recovered.error().Within("the free space can't be found");
    if (!read_only) return error.Within("mount it read-only, or run fsck.cofs");
    // Nothing is allocated: what can be read may be read.
    LogWarning(error.ToString());
    recovered = RecoveredSpace{std::make_unique<Allocator>(superblock.volume_bytes), {}};
  }
  if (recovered->seen) {
    census.Set(recovered->seen->inode_count, recovered->seen->has_collisions);
  } else {
    census.StartCounting(*store);
  }
  Space::Options options;
  options.discard = core.options.discard && !read_only;
  options.commit = [this] { return committer->Commit(); };
  options.reclaim = [this] {
    if (reaper != nullptr) reaper->DrainFor(kReclaimTimeout);
    store->NoteVolumeFull();
  };
  space = std::make_unique<Space>(*device, std::move(recovered->allocator),
                                  std::move(options));
  core.space = space.get();
  space->OnFirstAllocation([this] { return ClearCleanFlag(); });
  return OkStatus();
}

Status Volume::Parts::StartServices() {
  const bool read_only = core.options.read_only;
  Committer::Options options;
  options.interval_ms = core.options.commit_interval_ms;
  options.sync = core.options.sync;
  options.before_first_free = [this] { return ClearCleanFlag(); };
  options.on_failure = [this](const Error& error) {
    MutexLock lock(failure_mutex);
    read_only_reason = error.ToString();
  };
  committer = std::make_unique<Committer>(*store, *space, std::move(options));
  core.committer = committer.get();
  if (read_only) committer->LatchReadOnly();
  failure_target.store(committer.get());
  {
    MutexLock lock(failure_mutex);
    if (early_failure) return *early_failure;
  }
  inodes = std::make_unique<InodeTable>(
      *store, core.options.cache_bytes / kCacheParts * kInodeCacheParts / kInodeBytesEstimate,
      core.options.cache_bytes / kCacheParts * kExtentCacheParts / kExtentBytesEstimate);
  core.inodes = inodes.get();
  shared_blocks = std::make_unique<SharedBlocks>(*store);
  core.shared_blocks = shared_blocks.get();
  data = std::make_unique<FileData>(core);
  copy_range = std::make_unique<CopyRange>(core);
  attributes = std::make_unique<Attributes>(core, *data);
  xattrs = std::make_unique<Xattrs>(core);
  numbers = std::make_unique<InodeNumbers>(*store, *committer);
  TRY(numbers->Load());
  reaper = std::make_unique<Reaper>(core, *data, census);
  names = std::make_unique<Names>(NamesContext{&core, numbers.get(), &census,
                                               reaper.get(), attributes.get(),
                                               slots->current().name_hash_key});
  TRY_ASSIGN(const InodeRef root, inodes->Get(kRootInode));
  {
    SharedLock lock(root->mutex);
    TRY(CheckLiveDirectory(root->record, kRootInode));
  }
  scrubber = std::make_unique<Scrubber>(core);
  scrubber->Load();
  if (read_only) return OkStatus();

  // Nothing here needs free space of the volume: a full one can be mounted.
  TRY(numbers->TakeFirstLease());
  TRY(committer->Commit());
  TRY(StartCopies());
  TRY(reaper->LoadOrphans());
  store->StartGrowing(space.get());
  committer->StartBackground();
  reaper->Start();
  return OkStatus();
}

Status Volume::Parts::StartCopies() {
  scratch = std::make_unique<SpaceScratch>(*space, *slots);
  const CopyVerify verify = core.options.verify_copy;
  CopyEngine::Options options;
  options.verify = verify;
  options.scratch = scratch.get();
  TRY_ASSIGN(auto engine, CopyEngine::Create(*device, options));
  copies = std::make_unique<WatchedCopies>(std::move(engine), device->watch());
  core.copies = copies.get();
  for (const std::string& line : copies->DescribeWays(verify)) LogInfo(line);
  return OkStatus();
}

Status Volume::Parts::ClearCleanFlag() {
  MutexLock lock(clean_mutex);
  if (!slots->current().clean) return OkStatus();
  Status updated = slots->Update([](Superblock& superblock) {
    superblock.clean = false;
    superblock.allocator_image = {};
    superblock.allocator_image_crc32c = 0;
  });
  // Which of the two superblocks the device holds is not known then.
  if (!updated.ok()) committer->Fail(updated.error());
  return updated;
}

void Volume::Parts::OnStoreFailure(const Error& error) {
  if (Committer* target = failure_target.load()) return target->Fail(error);
  MutexLock lock(failure_mutex);
  early_failure = error;
}

void Volume::Parts::TearDown() {
  if (scrubber != nullptr) scrubber->Abandon();
  census.Stop();
  if (reaper != nullptr) reaper->Stop();
  if (committer != nullptr) committer->StopBackground();
  store.reset();
}

Status Volume::Parts::WriteAllocatorImage() {
  const Superblock superblock = slots->current();
  if (superblock.clean && !space->changed()) return OkStatus();
  DeviceRange place;
  uint32_t crc32c = 0;
  Result<std::string> image = space->EncodeImage();
  if (image.ok()) {
    if (const auto found = space->FindPlaceForImage(image->size())) {
      AlignedBuffer buffer(image->size());
      std::memcpy(buffer.data(), image->data(), image->size());
      TRY(device->Write(found->offset, buffer.span()));
      place = *found;
      crc32c = Crc32c(buffer.data(), buffer.size_bytes());
    }
  } else if (!image.Is(ErrorCode::kBusy)) {
    return std::move(image).error();
  }
  // Without an image the next mount rebuilds the free space.
  return slots->Update([&](Superblock& next) {
    next.clean = true;
    next.allocator_image = place;
    next.allocator_image_crc32c = crc32c;
  });
}

Status Volume::Unmount() {
  Parts& parts = *parts_;
  parts.scrubber->Suspend();
  parts.census.Stop();
  parts.reaper->Stop();
  parts.committer->StopBackground();
  Status status = OkStatus();
  if (!core_.options.read_only) status = parts.committer->Commit();
  if (status.ok()) status = parts.store->Close();
  if (status.ok() && !core_.options.read_only) status = parts.WriteAllocatorImage();
  parts.TearDown();
  const Status left = parts.LeaveVolume();
  return status.ok() ? left : status;
}

}  // namespace cofs
