// ImageJudge: mounts, reads, uses, checks and repairs one damaged image, and says what
// should not have been.
//
//  - Nothing crashes and nothing hangs: whoever calls must watch for that (stage()).
//  - What is read is what the volume held once, or an error; after a repair, too, but for
//    what it said was lost. Forged contents can't be told from true ones: of a forged
//    image only the rest counts.
//  - A volume on which fsck finds nothing mounts.
//  - After fsck -y, a second one finds nothing to repair, and the volume mounts.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "fs/core/volume.h"
#include "fsck/report.h"
#include "tests/image/base_volume.h"

namespace cofs {

struct JudgeCounts {
  uint64_t found_by_fsck = 0;  // errors, or can't be judged
  uint64_t mounted = 0;
  uint64_t repaired = 0;        // to a volume without errors
  uint64_t not_repairable = 0;  // refused, or errors are left
  uint64_t files_read = 0;
  uint64_t read_errors = 0;
};

class ImageJudge {
 public:
  using Stage = std::function<void(const char*)>;
  ImageJudge(const Facts& facts, bool is_forged, Stage stage)
      : facts_(facts), is_strict_(!is_forged), stage_(std::move(stage)) {}

  void Judge(const MemoryDevice& image);
  const std::vector<std::string>& complaints() const { return complaints_; }
  const JudgeCounts& counts() const { return counts_; }

 private:
  struct Excuses {
    bool all = false;  // something was lost that nobody can name
    bool repaired = false;
    std::set<InodeId> inodes;
  };

  void CheckOnly(const MemoryDevice& image);
  void MountAndUse(const MemoryDevice& image);
  void Repair(const MemoryDevice& image);
  void ExpectRepaired(MemoryDevice& device, const Report& report);

  // nullptr when it is refused.
  std::unique_ptr<Volume> Mount(MemoryDevice& device, bool read_only = false);
  void ReadAll(Volume& volume, const Excuses& excuses);
  void ReadEntry(Volume& volume, InodeId directory, const std::string& name,
                 const Excuses& excuses, std::vector<InodeId>& directories);
  void ReadContent(Volume& volume, const InodeStat& file, const Excuses& excuses);
  void ReadAttributes(Volume& volume, InodeId inode, const Excuses& excuses);
  // Changes what is there, as a user would; answers whose contents it has changed.
  std::set<InodeId> Use(Volume& volume);
  void Complain(std::string what);
  void ExpectFact(const std::string& fact, const Excuses& excuses, InodeId inode);

  const Facts& facts_;
  const bool is_strict_;
  const Stage stage_;
  const char* stage_name_ = "";
  std::optional<uint64_t> error_count_;  // of the first check; none: it could not judge
  std::vector<std::string> complaints_;
  JudgeCounts counts_;
};

}  // namespace cofs
