#include "cli/mount_list.h"

#include <sys/stat.h>

#include <fstream>
#include <sstream>

namespace cofs {
namespace {

bool IsSameFile(const struct stat& a, const struct stat& b) {
  if (S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode)) return a.st_rdev == b.st_rdev;
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace

std::string UnescapeMountField(std::string_view field) {
  std::string out;
  const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size() && is_octal(field[i + 1]) &&
        is_octal(field[i + 2]) && is_octal(field[i + 3])) {
      const int value = (field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 +
                        (field[i + 3] - '0');
      out.push_back(static_cast<char>(value));
      i += 3;
    } else {
      out.push_back(field[i]);
    }
  }
  return out;
}

std::optional<std::string> FindMountOf(const std::string& path) {
  struct stat wanted, source_info;
  if (::stat(path.c_str(), &wanted) != 0) return std::nullopt;
  std::optional<std::string> found;
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string source, directory, type;
    fields >> source >> directory >> type;
    if (type.find("cofs") == std::string::npos) continue;
    if (::stat(UnescapeMountField(source).c_str(), &source_info) == 0 &&
        IsSameFile(wanted, source_info))
      found = UnescapeMountField(directory);  // the last one is on top
  }
  return found;
}

}  // namespace cofs
