#include "device/block_node.h"

#include <charconv>
#include <filesystem>
#include <fstream>

#include "base/check.h"

namespace cofs {
namespace {

namespace fs = std::filesystem;

// The first line, or "" when there is none.
std::string ReadLine(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

uint64_t ReadNumber(const fs::path& path) {
  const std::string line = ReadLine(path);
  uint64_t value = 0;
  std::from_chars(line.data(), line.data() + line.size(), value);
  return value;
}

std::vector<fs::path> EntriesOf(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code ignored;
  for (fs::directory_iterator it(folder, ignored), end; !ignored && it != end;
       it.increment(ignored))
    paths.push_back(it->path());
  return paths;
}

bool ParseNumber(const std::string& text, BlockNumber* number) {
  const char* end = text.data() + text.size();
  const auto major = std::from_chars(text.data(), end, number->major);
  if (major.ec != std::errc() || major.ptr == end || *major.ptr != ':') return false;
  return std::from_chars(major.ptr + 1, end, number->minor).ec == std::errc();
}

// NVMe drives that QEMU emulates: hw/nvme/ctrl.c (7.2) does not look at the FUA bit, and
// says that there is a volatile cache. The kernel then sends no flush either.
constexpr std::string_view kIgnoresFua = "QEMU NVMe Ctrl";
constexpr int kStackDepthMax = 16;

// `folder` is that of a disk, a partition or a stacked device.
bool IgnoresFua(const fs::path& folder, int depth) {
  std::error_code ignored;
  const fs::path disk = fs::exists(folder / "partition", ignored) ? folder / ".." : folder;
  if (ReadLine(disk / "device/model").starts_with(kIgnoresFua)) return true;
  if (depth == kStackDepthMax) return false;
  for (const fs::path& below : EntriesOf(disk / "slaves"))
    if (IgnoresFua(below, depth + 1)) return true;
  return false;
}

}  // namespace

BlockNode ReadBlockNode(const std::string& sysfs_root, BlockNumber number) {
  const fs::path folder =
      fs::path(sysfs_root) / "dev/block" / StrCat(number.major, ":", number.minor);
  BlockNode node;
  std::error_code ignored;
  node.is_partition = fs::exists(folder / "partition", ignored);
  // A partition has the queue of its disk.
  const fs::path disk = node.is_partition ? folder / ".." : folder;
  node.can_discard = ReadNumber(disk / "queue/discard_max_bytes") > 0;
  node.can_write_zeroes = ReadNumber(disk / "queue/write_zeroes_max_bytes") > 0;
  if (const std::string zoned = ReadLine(disk / "queue/zoned"); !zoned.empty())
    node.zoned = zoned;
  if (const std::string format = ReadLine(disk / "integrity/format"); !format.empty())
    node.protection = format;
  node.ignores_fua = IgnoresFua(folder, 0);
  node.backing_file = ReadLine(disk / "loop/backing_file");
  constexpr uint64_t kSysfsSectorBytes = 512;
  node.backing_offset_bytes =
      ReadNumber(disk / "loop/offset") +
      (node.is_partition ? ReadNumber(folder / "start") * kSysfsSectorBytes : 0);
  for (const fs::path& holder : EntriesOf(folder / "holders"))
    node.holders.push_back(holder.filename());
  for (const fs::path& child : EntriesOf(folder)) {
    if (!fs::exists(child / "partition", ignored)) continue;
    BlockNode::Partition partition{child.filename(), {}};
    if (ParseNumber(ReadLine(child / "dev"), &partition.number))
      node.partitions.push_back(std::move(partition));
  }
  return node;
}

Status CheckUsable(const BlockNode& node, const std::string& path) {
  if (node.zoned != "none") {
    return Error(ErrorCode::kNotSupported,
                 StrCat(path, " is a zoned device (", node.zoned,
                        "); cofs needs one that can be written anywhere"));
  }
  // "nop" is metadata without protection information, which the kernel fills by itself.
  if (node.protection != "none" && node.protection != "nop") {
    return Error(ErrorCode::kNotSupported,
                 StrCat(path, " is formatted with protection information (",
                        node.protection, "), which copy commands would not carry along"));
  }
  return OkStatus();
}

}  // namespace cofs
