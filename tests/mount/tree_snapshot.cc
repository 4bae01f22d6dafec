#include "tests/mount/tree_snapshot.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <sstream>
#include <system_error>

#include "base/crc32c.h"
#include "tests/mount/file_io.h"

namespace cofs {
namespace {

std::string LinkTarget(const std::string& path) {
  std::string target(4096, '\0');
  const ssize_t length = readlink(path.c_str(), target.data(), target.size());
  if (length < 0) ThrowErrno("readlink " + path);
  target.resize(static_cast<size_t>(length));
  return target;
}

std::string Xattrs(const std::string& path) {
  std::string list(65536, '\0');
  const ssize_t length = llistxattr(path.c_str(), list.data(), list.size());
  if (length < 0) {
    if (errno == EOPNOTSUPP) return "";
    ThrowErrno("listxattr " + path);
  }
  std::map<std::string, uint32_t> values;
  for (size_t at = 0; at < static_cast<size_t>(length);) {
    const std::string name = list.c_str() + at;
    at += name.size() + 1;
    if (!name.starts_with("user.") && !name.starts_with("trusted.")) continue;
    std::string value(65536, '\0');
    const ssize_t size = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0) ThrowErrno("getxattr " + path);
    values[name] = Crc32c(value.data(), static_cast<size_t>(size));
  }
  std::ostringstream out;
  for (const auto& [name, sum] : values) out << " " << name << "=" << sum;
  return std::move(out).str();
}

std::string Describe(const std::string& path, const struct stat& st,
                     const SnapshotOptions& options) {
  std::ostringstream out;
  out << "mode " << std::oct << st.st_mode << std::dec;
  if (options.owners) out << " owner " << st.st_uid << ":" << st.st_gid;
  if (options.times) out << " mtime " << st.st_mtim.tv_sec << "." << st.st_mtim.tv_nsec;
  if (S_ISREG(st.st_mode)) {
    out << " size " << st.st_size << " links " << st.st_nlink;
    if (options.contents) {
      const std::string contents = ReadFile(path);
      out << " crc " << Crc32c(contents.data(), contents.size());
    }
  }
  if (S_ISLNK(st.st_mode)) out << " -> " << LinkTarget(path);
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) out << " device " << st.st_rdev;
  if (options.xattrs) out << Xattrs(path);
  return std::move(out).str();
}

struct Walk {
  const SnapshotOptions& options;
  TreeSnapshot entries;
  std::map<ino_t, std::string> first_names;  // of inodes with several

  void Visit(const std::string& path, const std::string& name) {
    const struct stat st = Stat(path);
    std::string text = Describe(path, st, options);
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
      const auto [first, inserted] = first_names.emplace(st.st_ino, name);
      if (!inserted) text += " same inode as " + first->second;
    }
    entries.emplace(name, std::move(text));
    if (!S_ISDIR(st.st_mode)) return;
    for (const std::string& child : ListDirectory(path))
      Visit(path + "/" + child, name.empty() ? child : name + "/" + child);
  }
};

}  // namespace

TreeSnapshot TakeSnapshot(const std::string& root, const SnapshotOptions& options) {
  Walk walk{options, {}, {}};
  walk.Visit(root, "");
  return std::move(walk.entries);
}

std::string DifferenceOf(const TreeSnapshot& actual, const TreeSnapshot& expected,
                         size_t count_max) {
  std::vector<std::string> lines;
  for (const auto& [name, text] : expected) {
    const auto found = actual.find(name);
    if (found == actual.end())
      lines.push_back(name + ": missing (" + text + ")");
    else if (found->second != text)
      lines.push_back(name + ": " + found->second + "\n    expected " + text);
  }
  for (const auto& [name, text] : actual) {
    if (!expected.contains(name)) lines.push_back(name + ": not expected (" + text + ")");
  }
  std::string out;
  for (size_t i = 0; i < std::min(lines.size(), count_max); ++i) out += lines[i] + "\n";
  if (lines.size() > count_max)
    out += "and " + std::to_string(lines.size() - count_max) + " more\n";
  return out;
}

}  // namespace cofs
