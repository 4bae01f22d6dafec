#include "mkfs/format.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/file_descriptor.h"
#include "base/log.h"
#include "device/device_use.h"
#include "device/file_device.h"
#include "device/signature.h"
#include "device/volume_lock.h"
#include "extent_map/mount_protection.h"
#include "extent_map/records.h"
#include "extent_map/store/store.h"
#include "extent_map/superblock.h"
#include "mkfs/byte_size.h"

namespace cofs {
namespace {

// One discard at a time, so that an interrupt of mkfs does not wait for all of a device.
constexpr uint64_t kDiscardBytesMax = 16ull << 30;

Timestamp Now() {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return {now.tv_sec, static_cast<uint32_t>(now.tv_nsec)};
}

Batch InitialRecords(const FormatOptions& options, Timestamp now) {
  InodeRecord root;
  root.mode = S_IFDIR | 0755;
  root.uid = options.root_uid;
  root.gid = options.root_gid;
  root.link_count = 2;
  root.atime = root.mtime = root.ctime = root.btime = now;
  root.parent = kRootInode;
  Batch batch;
  batch.Put(InodeKey(kRootInode), EncodeInode(root));
  batch.Put(InodeCounterKey(), EncodeInodeCounter(kFirstFreeInode));
  return batch;
}

// What a volume of that size needs before there is any room for files.
uint64_t OverheadBytes(uint64_t volume_bytes) {
  return kReservedEnd.value() + Store::InitialPoolBytes(volume_bytes);
}

Status CheckLabel(const std::string& label) {
  if (label.size() > kLabelBytesMax)
    return Error(ErrorCode::kInvalidArgument,
                 StrCat("the label has ", label.size(), " bytes, at most ", kLabelBytesMax,
                        " are possible"));
  if (label.find('\0') != std::string::npos)
    return Error(ErrorCode::kInvalidArgument, "the label has a zero byte");
  return OkStatus();
}

Status CheckVolumeSize(const std::string& path, uint64_t bytes) {
  if (bytes < kVolumeBytesMin)
    return Error(ErrorCode::kInvalidArgument,
                 StrCat(path, " is too small: ", bytes, " bytes, a volume has at least ",
                        kVolumeBytesMin, " (", FormatByteSize(kVolumeBytesMin), ")"));
  if (bytes > INT64_MAX - kBlockBytes)
    return Error(ErrorCode::kInvalidArgument, StrCat(path, ": ", bytes, " bytes are too many"));
  return OkStatus();
}

// The size of the volume on a device of that size.
Result<uint64_t> VolumeBytes(const std::string& path, const FormatOptions& options,
                             uint64_t device_bytes) {
  const uint64_t bytes =
      RoundDown(options.size_bytes.value_or(device_bytes), kBlockBytes);
  if (bytes > device_bytes)
    return Error(ErrorCode::kInvalidArgument,
                 StrCat(path, " has ", device_bytes, " bytes, less than the ", bytes,
                        " asked for"));
  TRY(CheckVolumeSize(path, bytes));
  return bytes;
}

void DiscardFreeSpace(BlockDevice& device, DeviceOffset begin, DeviceOffset end) {
  while (begin < end) {
    const uint64_t length = std::min(end - begin, kDiscardBytesMax);
    const Status status = device.Discard({begin, length});
    if (!status.ok()) {
      LogWarning("the free space was not discarded: " + status.error().ToString());
      return;
    }
    begin += length;
  }
}

// ---- what is there before ----

// In words what `device` holds, empty when nothing is known.
Result<std::string> FindContents(BlockDevice& device, const std::string& path) {
  const auto slots = SuperblockSlots::Load(device);
  if (slots.ok()) {
    const Superblock superblock = (*slots)->current();
    return StrCat("a cofs volume, label \"", Printable(superblock.label), "\", uuid ",
                  superblock.uuid.ToString());
  }
  if (slots.Is(ErrorCode::kUnsupportedFormat)) return std::string("a newer cofs volume");
  if (slots.Is(ErrorCode::kCorrupt)) return std::string("a damaged cofs volume");
  if (!slots.Is(ErrorCode::kNotCofs)) return slots.error();
  return FindForeignSignature(path);
}

// What is going to happen to a device or image.
struct Plan {
  uint64_t volume_bytes = 0;
  bool is_new_image = false;
  bool extends_image = false;
  std::string contents;  // FindContents()
};

Result<bool> IsReadOnlyNode(const FileDevice& device) {
  int read_only = 0;
  if (device.geometry().is_block_device &&
      ::ioctl(device.native_fd(), BLKROGET, &read_only) != 0)
    return ErrorOfErrno(errno, device.geometry().path);
  return read_only != 0;
}

// All the checks of something that exists.
Result<Plan> Examine(const std::string& path, const struct stat& st,
                     const FormatOptions& options) {
  Plan plan;
  TRY_ASSIGN(const std::string use, FindDeviceUse(path));
  if (!use.empty()) return Error(ErrorCode::kBusy, use);
  if (::access(path.c_str(), W_OK) != 0) return ErrorOfErrno(errno, "write to " + path);

  const uint64_t wanted_bytes =
      RoundDown(options.size_bytes.value_or(0), kBlockBytes);
  const auto image_bytes = static_cast<uint64_t>(st.st_size);
  plan.extends_image = S_ISREG(st.st_mode) && wanted_bytes > image_bytes;
  if (plan.extends_image) {
    TRY(CheckVolumeSize(path, wanted_bytes));
    plan.volume_bytes = wanted_bytes;
    if (image_bytes < kBlockBytes) return plan;  // too short to hold anything
  }
  FileDevice::Options open_options;
  open_options.lock = false;
  open_options.exclusive_kernel_open = true;
  TRY_ASSIGN(const auto device,
             FileDevice::Open(path, OpenMode::kReadOnly, open_options));
  TRY_ASSIGN(const bool is_read_only, IsReadOnlyNode(*device));
  if (is_read_only) return Error(ErrorCode::kReadOnly, path + " can't be written to");
  if (!plan.extends_image) {
    TRY_ASSIGN(plan.volume_bytes,
               VolumeBytes(path, options, device->geometry().size_bytes));
  }
  TRY_ASSIGN(plan.contents, FindContents(*device, path));
  if (!plan.contents.empty() && !options.force)
    return Error(ErrorCode::kExists, StrCat(path, " holds ", plan.contents,
                                            "; only -f formats it all the same"));
  return plan;
}

Result<Plan> MakePlan(const std::string& path, const FormatOptions& options) {
  struct stat st = {};
  if (::stat(path.c_str(), &st) == 0) return Examine(path, st, options);
  if (errno != ENOENT) return ErrorOfErrno(errno, path);
  if (!options.size_bytes)
    return Error(ErrorCode::kNotFound, path + " (an image is created with --size)");
  Plan plan;
  plan.is_new_image = true;
  plan.volume_bytes = RoundDown(*options.size_bytes, kBlockBytes);
  TRY(CheckVolumeSize(path, plan.volume_bytes));
  return plan;
}

// Makes an existing image longer, under its lock.
Status ExtendImage(const std::string& path, uint64_t bytes,
                   std::chrono::milliseconds wait) {
  const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return ErrorOfErrno(errno, "open " + path);
  TRY_ASSIGN(const auto lock, VolumeLock::Take(fd.get(), LockKind::kExclusive, wait, path));
  struct stat st = {};
  if (::fstat(fd.get(), &st) != 0) return ErrorOfErrno(errno, path);
  if (static_cast<uint64_t>(st.st_size) >= bytes) return OkStatus();
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0 || ::fsync(fd.get()) != 0)
    return ErrorOfErrno(errno, "extend " + path);
  return OkStatus();
}

FormatSummary Summarize(const std::string& path, const Superblock& superblock) {
  FormatSummary summary;
  summary.path = path;
  summary.label = superblock.label;
  summary.uuid = superblock.uuid;
  summary.volume_bytes = superblock.volume_bytes;
  summary.pool = {kReservedEnd, Store::InitialPoolBytes(superblock.volume_bytes)};
  summary.format_version = superblock.format_version;
  return summary;
}

Superblock NewSuperblock(const FormatOptions& options, uint64_t volume_bytes) {
  Superblock superblock;
  superblock.uuid = options.uuid.value_or(Uuid::Random());
  superblock.label = options.label;
  superblock.volume_bytes = volume_bytes;
  superblock.name_hash_key = {RandomU64(), RandomU64()};
  superblock.created_s = Now().seconds;
  superblock.clean = true;
  return superblock;
}

Result<FormatSummary> CarryOut(const std::string& path, const FormatOptions& options) {
  FileDevice::Options open_options;
  open_options.wait = options.wait;
  open_options.exclusive_kernel_open = true;
  TRY_ASSIGN(const auto device,
             FileDevice::Open(path, OpenMode::kReadWrite, open_options));
  // Not even with force: a volume that another host writes to is no volume that was.
  if (const Status looked = CheckHeartbeat(*device, LeftHeartbeat::kKeep); looked.Is(ErrorCode::kBusy))
    return looked.error();
  // Without force there are none.
  if (options.force) TRY(WipeSignatures(path));
  return FormatDevice(*device, options);
}

}  // namespace

Result<FormatSummary> FormatDevice(BlockDevice& device, const FormatOptions& options) {
  const DeviceGeometry& geometry = device.geometry();
  TRY(CheckLabel(options.label));
  TRY_ASSIGN(const uint64_t volume_bytes,
             VolumeBytes(geometry.path, options, geometry.size_bytes));
  if (geometry.is_read_only) return Error(ErrorCode::kReadOnly, geometry.path);
  CHECK(OverheadBytes(volume_bytes) < volume_bytes, "pool larger than the volume");
  Superblock superblock = NewSuperblock(options, volume_bytes);
  const FormatSummary summary = Summarize(geometry.path, superblock);
  if (options.dry_run) return summary;

  TRY(device.WriteZeroes({DeviceOffset{}, kReservedEnd.value()}));
  TRY(device.Flush());
  if (options.discard && geometry.can_discard)
    DiscardFreeSpace(device, summary.pool.offset, DeviceOffset{volume_bytes});
  TRY(Store::Format(device, summary.pool, InitialRecords(options, Now()), superblock));
  TRY(SuperblockSlots::Format(device, superblock));
  return summary;
}

Result<FormatSummary> FormatVolume(const std::string& path, const FormatOptions& options) {
  TRY(CheckLabel(options.label));
  TRY_ASSIGN(const Plan plan, MakePlan(path, options));
  if (options.dry_run) {
    FormatSummary summary = Summarize(path, NewSuperblock(options, plan.volume_bytes));
    summary.wiped = plan.contents;
    return summary;
  }
  if (plan.is_new_image) TRY(FileDevice::CreateImage(path, plan.volume_bytes));
  if (plan.extends_image) TRY(ExtendImage(path, plan.volume_bytes, options.wait));
  FormatOptions exact = options;
  exact.size_bytes = plan.volume_bytes;
  auto summary = CarryOut(path, exact);
  if (summary.ok()) summary->wiped = plan.contents;
  if (!summary.ok() && plan.is_new_image) ::unlink(path.c_str());  // as it was before
  return summary;
}

std::string DescribeSummary(const FormatSummary& summary) {
  std::string out = StrCat(Printable(summary.path), ": cofs volume\n");
  if (!summary.wiped.empty()) out += StrCat("  replaces       ", summary.wiped, "\n");
  return StrCat(out, "  label          ", Printable(summary.label), "\n",
                "  uuid           ", summary.uuid.ToString(), "\n",
                "  size           ", FormatByteSize(summary.volume_bytes), " (",
                summary.volume_bytes / kBlockBytes, " blocks)\n",
                "  block size     ", kBlockBytes, "\n",
                "  metadata pool  ", FormatByteSize(summary.pool.length_bytes), " at ",
                FormatByteSize(summary.pool.offset.value()), "\n",
                "  format         version ", summary.format_version, "\n");
}

}  // namespace cofs
