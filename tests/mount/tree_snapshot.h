// TreeSnapshot: all that POSIX tells about a tree of files, to be compared with what
// it tells about another one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace cofs {

struct SnapshotOptions {
  bool times = true;       // mtime of files, directories and symlinks
  bool owners = true;
  bool contents = true;    // a checksum of every file
  bool xattrs = true;      // user.* and trusted.*
};

// One line for each path, relative to the root: kind, mode, owner, size, mtime, link
// target, checksum, attributes, and which paths are links of the same inode.
using TreeSnapshot = std::map<std::string, std::string>;

// Throws std::system_error.
TreeSnapshot TakeSnapshot(const std::string& root, const SnapshotOptions& options = {});

// What differs, at most `count_max` lines; empty when nothing does.
std::string DifferenceOf(const TreeSnapshot& actual, const TreeSnapshot& expected,
                         size_t count_max = 20);

}  // namespace cofs
