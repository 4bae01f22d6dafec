// The facts of a running system: sysfs for what a device is, the device mapper for its
// tables.
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/mutex.h"
#include "copy_engine/device_stack.h"

#ifdef COFS_HAVE_LIBDEVMAPPER
#include <libdevmapper.h>
#endif

namespace cofs {
namespace {

bool Exists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

// The first line of a file of sysfs.
std::optional<std::string> ReadLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<uint64_t> ReadSectors(const std::string& path) {
  const auto line = ReadLine(path);
  uint64_t sectors = 0;
  if (!line) return std::nullopt;
  const auto [end, error] =
      std::from_chars(line->data(), line->data() + line->size(), sectors);
  if (error != std::errc() || sectors > UINT64_MAX / kSectorBytes) return std::nullopt;
  return sectors * kSectorBytes;
}

// The last component of the real path, "" when there is none.
std::string RealName(const std::string& path) {
  char buffer[PATH_MAX];
  if (::realpath(path.c_str(), buffer) == nullptr) return "";
  const std::string real = buffer;
  return real.substr(real.rfind('/') + 1);
}

std::optional<BlockNumber> ReadBlockNumber(const std::string& path) {
  const auto line = ReadLine(path);
  BlockNumber number;
  if (!line || std::sscanf(line->c_str(), "%u:%u", &number.major, &number.minor) != 2)
    return std::nullopt;
  return number;
}

#ifdef COFS_HAVE_LIBDEVMAPPER

// libdevmapper keeps its descriptor of the control node in a global variable.
Mutex device_mapper_mutex;

void DropLog(int, const char*, int, int, const char*, ...) {}

struct DmTaskDestroy {
  void operator()(dm_task* task) const { dm_task_destroy(task); }
};

Result<DmTable> ReadTableFromKernel(BlockNumber number) {
  const MutexLock lock(device_mapper_mutex);
  dm_log_with_errno_init(DropLog);
  const Error failed(
      ErrorCode::kNotSupported,
      StrCat("the device mapper does not give the table of ", ToString(number)));
  const std::unique_ptr<dm_task, DmTaskDestroy> task(dm_task_create(DM_DEVICE_TABLE));
  dm_info info;
  if (!task || !dm_task_set_major(task.get(), static_cast<int>(number.major)) ||
      !dm_task_set_minor(task.get(), static_cast<int>(number.minor)) ||
      !dm_task_no_open_count(task.get()) || !dm_task_run(task.get()) ||
      !dm_task_get_info(task.get(), &info) || !info.exists)
    return failed;
  DmTable table;
  table.event_number = info.event_nr;
  table.is_suspended = info.suspended != 0;
  if (const char* uuid = dm_task_get_uuid(task.get())) table.uuid = uuid;
  void* next = nullptr;
  do {
    DmTarget target;
    char *type = nullptr, *parameters = nullptr;
    next = dm_get_next_target(task.get(), next, &target.start_sectors,
                              &target.length_sectors, &type, &parameters);
    if (type == nullptr) continue;
    target.type = type;
    if (parameters != nullptr) target.parameters = parameters;
    table.targets.push_back(std::move(target));
  } while (next != nullptr);
  return table;
}

#else

Result<DmTable> ReadTableFromKernel(BlockNumber) {
  return Error(ErrorCode::kNotSupported,
               "this cofs was built without libdevmapper, and so can't look below the "
               "device mapper");
}

#endif

class SystemStackSource : public StackSource {
 public:
  explicit SystemStackSource(std::string sysfs_root) : root_(std::move(sysfs_root)) {}

  Result<BlockFacts> Describe(BlockNumber number) override {
    const std::string node = StrCat(root_, "/dev/block/", ToString(number));
    BlockFacts facts;
    facts.name = RealName(node);
    const auto size_bytes = ReadSectors(node + "/size");
    if (facts.name.empty() || !size_bytes)
      return Error(ErrorCode::kNotSupported,
                   StrCat("sysfs does not know the block device ", ToString(number)));
    facts.size_bytes = *size_bytes;
    if (Exists(node + "/partition")) return DescribePartition(node, std::move(facts));
    if (Exists(node + "/dm")) {
      facts.kind = BlockKind::kDeviceMapper;
      return facts;
    }
    DescribeWhole(node, facts);
    return facts;
  }

  Result<DmTable> ReadTable(BlockNumber number) override {
    return ReadTableFromKernel(number);
  }

 private:
  static Result<BlockFacts> DescribePartition(const std::string& node, BlockFacts facts) {
    const auto start_bytes = ReadSectors(node + "/start");
    const auto parent = ReadBlockNumber(node + "/../dev");
    if (!start_bytes || !parent)
      return Error(ErrorCode::kNotSupported, facts.name + ": partition of unknown place");
    facts.kind = BlockKind::kPartition;
    facts.start_bytes = *start_bytes;
    facts.parent = *parent;
    return facts;
  }

  void DescribeWhole(const std::string& node, BlockFacts& facts) const {
    facts.kind = BlockKind::kOther;
    const std::string subsystem = RealName(node + "/device/subsystem");
    if (Exists(node + "/md")) {
      facts.reason = "an md array moves data between its members by itself";
    } else if (Exists(node + "/loop")) {
      facts.reason = "a loop device has no copy command; use the image file itself";
    } else if (Exists(node + "/bcache")) {
      facts.reason = "bcache has no copy command";
    } else if (HasSlaves(node)) {
      facts.reason = "lies on other devices in a way that is not understood";
    } else if (subsystem == "nvme" || subsystem == "nvme-subsystem") {
      facts.kind = BlockKind::kDrive;
      facts.drive = DriveKind::kNvme;
    } else if (subsystem == "scsi") {
      facts.kind = BlockKind::kDrive;
      facts.drive = DriveKind::kScsi;
    } else {
      facts.reason = subsystem.empty() ? "not a drive, so there is no copy command"
                                       : subsystem + " drives have no copy command";
    }
  }

  static bool HasSlaves(const std::string& node) {
    std::error_code error;
    return !std::filesystem::is_empty(node + "/slaves", error) && !error;
  }

  const std::string root_;
};

}  // namespace

std::unique_ptr<StackSource> NewSystemStackSource(std::string sysfs_root) {
  return std::make_unique<SystemStackSource>(std::move(sysfs_root));
}

}  // namespace cofs
