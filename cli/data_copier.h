// DataCopier: the contents of one file, by the best means that the two file systems have
// between them: copy_file_range(2), on one cofs volume armed as asked for, or read and
// write where the kernel has nothing better. Holes stay holes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace cofs {

enum class ReflinkMode {
  kAuto,    // as the volume is mounted
  kAlways,  // blocks are shared, or the copy fails
  kNever,   // no blocks are shared
};

struct DataCopyOptions {
  ReflinkMode reflink = ReflinkMode::kAuto;
  bool require_offload = false;  // the device copies, or the copy fails
  bool wants_report = false;     // DataCopyReport::ways is filled in
};

// How the bytes of one file went.
struct DataCopyReport {
  struct Way {
    std::string name;  // "nvme-copy", "shared", "holes" ...
    uint64_t bytes = 0;
    uint64_t commands = 0;
  };
  struct Reason {
    std::string name;  // "too-small", "command-failed" ...
    uint64_t count = 0;
    uint64_t bytes = 0;
  };
  uint64_t bytes = 0;
  std::vector<Way> ways;        // those with bytes
  std::vector<Reason> reasons;  // why bytes did not go by the device
  uint64_t verified_bytes = 0;  // read back
  std::vector<uint64_t> latency;  // of commands, as cofs_ioc_copy_report has it
  uint64_t fallback_count = 0;
  std::string fallback_reason;  // of the last one
};

// From the start of both, which are open, the destination for writing and empty.
// kInterrupted when InterruptSignal() came. `on_progress` is told the bytes done of this
// file and, for a bar, the way that most of them went.
Result<DataCopyReport> CopyData(
    int source_fd, int destination_fd, const DataCopyOptions& options,
    const std::function<void(uint64_t done_bytes, const std::string& way)>& on_progress);

}  // namespace cofs
