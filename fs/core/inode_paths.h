// Paths of inodes, found by a walk over all directory entries: a volume keeps no links
// from an inode back to its names. For reports of damage.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "extent_map/store/store.h"

namespace cofs {

// From the root, each beginning with a slash, in the order of the parents' numbers, at
// most `paths_max` of each inode. Inodes without a name are left out, as are names below
// a directory that has lost its own. The bytes of the names are as they are: Printable()
// before they go anywhere.
// Reads every record of files once; memory grows with `inodes` and the directories above
// them. Ends early, with what there is, when `is_stopped` answers true; it is asked often.
Result<std::map<InodeId, std::vector<std::string>>> FindPaths(
    const Store& store, const std::set<InodeId>& inodes, size_t paths_max,
    const std::function<bool()>& is_stopped);

}  // namespace cofs
