// TreeCopier: files and directories, as cp(1) copies them. What `cofs cp` does, without
// its command line.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "cli/data_copier.h"
#include "cli/file_attributes.h"
#include "cli/progress_bar.h"

namespace cofs {

struct TreeCopyOptions {
  bool recursive = false;
  bool follow_links = false;    // symbolic links that are met on the way; else copied
  bool keep_hard_links = false; // names of one file stay names of one file
  bool no_clobber = false;      // what is there stays
  bool update_only = false;     // replaced only when it is older
  bool keep_partial = false;    // of a new file whose copy fails or is interrupted
  bool explain = false;         // a line to standard output for each file: how it went
  bool verbose = false;         // a line for each file
  PreserveOptions preserve;
  DataCopyOptions data;
};

class TreeCopier {
 public:
  // `total_bytes` is for the bar.
  TreeCopier(const TreeCopyOptions& options, ProgressMode progress, uint64_t total_bytes);

  // Copies `source` to be `destination` (not into it). Goes on behind files that fail;
  // false when anything has failed, which has been logged. kInterrupted after a signal;
  // the file that was being copied is gone then, unless keep_partial.
  Result<bool> Copy(const std::string& source, const std::string& destination);
  // The sums of all files so far.
  const DataCopyReport& report() const { return total_; }

 private:
  struct Place {
    std::string source, destination;
  };
  Status CopyOne(const Place& place, const struct stat& from, bool is_top);
  Status CopyDirectory(const Place& place, const struct stat& from);
  Status CopyFile(const Place& place, const struct stat& from);
  Status CopyContents(int source_fd, int destination_fd, const Place& place,
                      const struct stat& from);
  Status CopyLink(const Place& place, const struct stat& from);
  Status CopySpecial(const Place& place, const struct stat& from);
  // True when it was made a link to an earlier copy of the same file.
  Result<bool> LinkToEarlier(const Place& place, const struct stat& from);
  Status MakeRoomForSpecial(const std::string& destination);
  void Note(const Place& place, const DataCopyReport& report);
  // An interrupt ends everything; another error is logged, and the rest goes on.
  Status Tolerate(const Status& status);

  const TreeCopyOptions options_;
  ProgressBar bar_;
  uint64_t done_bytes_ = 0;  // of whole files
  bool has_failed_ = false;
  DataCopyReport total_;
  std::map<std::pair<dev_t, ino_t>, std::string> first_names_;  // of files with many
  std::set<std::pair<dev_t, ino_t>> made_directories_;
};

// The bytes of the regular files in `path`, for a bar.
uint64_t CountBytes(const std::string& path, bool recursive, bool follow_links);
// "nvme-copy 1.0 GiB in 1,024 commands, memory 100 B", and in lines of their own, each
// indented: latency, what was read back, why bytes did not go by the device.
std::string DescribeCopy(const DataCopyReport& report);

}  // namespace cofs
