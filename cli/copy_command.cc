#include "cli/copy_command.h"

#include <sys/stat.h>

#include <cstdio>

#include "base/log.h"
#include "cli/interrupt.h"

namespace cofs {
namespace {

bool IsDirectory(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// The last part of a path: "b" of "a/b/".
std::string LastPart(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

int RunCopy(const CopyCommandOptions& options) {
  CatchInterrupts();
  const bool into = !options.destination_is_file && IsDirectory(options.destination);
  if (options.sources.size() > 1 && !into) {
    LogError(Printable(options.destination) + " is no directory, and there are several sources");
    return 1;
  }
  uint64_t total_bytes = 0;
  for (const std::string& source : options.sources)
    total_bytes +=
        CountBytes(source, options.tree.recursive, options.tree.follow_links);
  TreeCopier copier(options.tree, options.progress, total_bytes);
  bool is_complete = true;
  for (const std::string& source : options.sources) {
    std::string destination = options.destination;
    if (into) destination += "/" + LastPart(source);
    const Result<bool> copied = copier.Copy(source, destination);
    if (!copied.ok()) {
      LogError("interrupted");
      const int signal_number = InterruptSignal();
      return signal_number != 0 ? 128 + signal_number : 2;
    }
    is_complete &= *copied;
  }
  std::fflush(stdout);
  return is_complete ? 0 : 2;
}

}  // namespace cofs
