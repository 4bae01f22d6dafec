#include "device/device_use.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/check.h"
#include "base/log.h"
#include "device/block_node.h"

namespace cofs {
namespace {

// One device or image that is looked for.
struct Wanted {
  std::string name;
  struct stat st = {};
  bool is_block_device() const { return S_ISBLK(st.st_mode); }
  BlockNumber number() const { return {major(st.st_rdev), minor(st.st_rdev)}; }

  // Whether `path` names the same device or image.
  bool Is(const std::string& path) const {
    struct stat other = {};
    if (path.empty() || path[0] != '/' || ::stat(path.c_str(), &other) != 0) return false;
    if (is_block_device()) return S_ISBLK(other.st_mode) && other.st_rdev == st.st_rdev;
    return other.st_dev == st.st_dev && other.st_ino == st.st_ino;
  }
};

// The octal escapes of /proc for spaces and the like (proc(5)).
std::string Unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_escape = text[i] == '\\' && i + 3 < text.size() &&
                           text.find_first_not_of("01234567", i + 1) >= i + 4;
    if (!is_escape) {
      out += text[i];
      continue;
    }
    out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                             (text[i + 3] - '0'));
    i += 3;
  }
  return out;
}

std::string FindMount(const Wanted& wanted, const SystemRoots& roots) {
  std::ifstream file(roots.proc + "/self/mountinfo");
  const std::string number = StrCat(wanted.number().major, ":", wanted.number().minor);
  for (std::string line; std::getline(file, line);) {
    // "36 35 98:0 /root /mount/point options ... - type source options"
    std::istringstream fields(line);
    std::string id, parent, device, root, mount_point, field, type, source;
    fields >> id >> parent >> device >> root >> mount_point;
    while (fields >> field && field != "-") {
    }
    fields >> type >> source;
    // btrfs and others have device numbers of their own: their source tells.
    if ((wanted.is_block_device() && device == number) || wanted.Is(Unescape(source))) {
      return StrCat(Printable(wanted.name), " is mounted on ",
                    Printable(Unescape(mount_point)));
    }
  }
  return "";
}

std::string FindSwap(const Wanted& wanted, const SystemRoots& roots) {
  std::ifstream file(roots.proc + "/swaps");
  std::string line;
  std::getline(file, line);  // the heading
  while (std::getline(file, line)) {
    if (wanted.Is(Unescape(line.substr(0, line.find_first_of(" \t")))))
      return Printable(wanted.name) + " is used as swap";
  }
  return "";
}

std::string FindLoop(const Wanted& wanted, const SystemRoots& roots) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  for (fs::directory_iterator it(roots.sys + "/block", ignored), end;
       !ignored && it != end; it.increment(ignored)) {
    std::ifstream file(it->path() / "loop/backing_file");
    std::string backing;
    if (std::getline(file, backing) && wanted.Is(backing)) {
      return StrCat(Printable(wanted.name), " is the image of /dev/",
                    it->path().filename().string());
    }
  }
  return "";
}

}  // namespace

Result<std::string> FindDeviceUse(const std::string& path) {
  return FindDeviceUse(path, SystemRoots());
}

Result<std::string> FindDeviceUse(const std::string& path, const SystemRoots& roots) {
  Wanted wanted{path};
  if (::stat(path.c_str(), &wanted.st) != 0) return ErrorOfErrno(errno, path);
  if (std::string use = FindMount(wanted, roots); !use.empty()) return use;
  if (std::string use = FindSwap(wanted, roots); !use.empty()) return use;
  if (!wanted.is_block_device()) return FindLoop(wanted, roots);

  const BlockNode node = ReadBlockNode(roots.sys, wanted.number());
  if (!node.holders.empty())
    return StrCat(Printable(path), " is used by ", node.holders.front());
  for (const BlockNode::Partition& partition : node.partitions) {
    Wanted part{"/dev/" + partition.name};
    part.st.st_mode = S_IFBLK;
    part.st.st_rdev = makedev(partition.number.major, partition.number.minor);
    if (std::string use = FindMount(part, roots); !use.empty()) return use;
    if (std::string use = FindSwap(part, roots); !use.empty()) return use;
    const BlockNode part_node = ReadBlockNode(roots.sys, partition.number);
    if (!part_node.holders.empty())
      return StrCat(Printable(part.name), " is used by ", part_node.holders.front());
  }
  return std::string();
}

}  // namespace cofs
