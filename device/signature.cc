#include "device/signature.h"

#include <blkid.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string_view>
#include <vector>

#include "base/file_descriptor.h"

namespace cofs {
namespace {

struct ProbeFree {
  void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, ProbeFree>;

// More signatures than any device has; ends a loop over one that can't be wiped.
constexpr int kSignatureCountMax = 64;

Result<Probe> NewProbe(int fd, const std::string& path) {
  Probe probe(blkid_new_probe());
  if (!probe) return Error(ErrorCode::kNoMemory, path);
  errno = 0;
  if (blkid_probe_set_device(probe.get(), fd, 0, 0) != 0)
    return ErrorOfErrno(errno != 0 ? errno : EIO, "look for signatures on " + path);
  blkid_probe_enable_superblocks(probe.get(), 1);
  blkid_probe_set_superblocks_flags(
      probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_MAGIC | BLKID_SUBLKS_BADCSUM);
  blkid_probe_enable_partitions(probe.get(), 1);
  blkid_probe_set_partitions_flags(probe.get(),
                                   BLKID_PARTS_MAGIC | BLKID_PARTS_FORCE_GPT);
  return probe;
}

// The signature that the probe stands at.
std::string Describe(blkid_probe probe) {
  const char* value = nullptr;
  if (blkid_probe_lookup_value(probe, "TYPE", &value, nullptr) == 0) return value;
  if (blkid_probe_lookup_value(probe, "PTTYPE", &value, nullptr) == 0)
    return std::string(value) + " partition table";
  return "an unknown signature";
}

std::string Join(const std::vector<std::string>& names) {
  std::string joined;
  for (const std::string& name : names) joined += (joined.empty() ? "" : ", ") + name;
  return joined;
}

// Visits each signature; `visit` answers whether to go on.
template <typename Visit>
Result<std::string> ForEachSignature(int fd, const std::string& path, Visit visit) {
  TRY_ASSIGN(const Probe probe, NewProbe(fd, path));
  std::vector<std::string> names;
  for (int i = 0; i < kSignatureCountMax; ++i) {
    errno = 0;
    const int result = blkid_do_probe(probe.get());
    if (result < 0)
      return ErrorOfErrno(errno != 0 ? errno : EIO, "look for signatures on " + path);
    if (result > 0) return Join(names);
    // Backups and several magics of one file system are one name.
    const std::string name = Describe(probe.get());
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    TRY(visit(probe.get()));
  }
  return Join(names);
}

}  // namespace

Result<std::string> FindForeignSignature(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrorOfErrno(errno, "open " + path);
  return ForEachSignature(fd.get(), path, [](blkid_probe) { return OkStatus(); });
}

Result<std::string> WipeSignatures(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return ErrorOfErrno(errno, "open " + path);
  TRY_ASSIGN(std::string wiped, ForEachSignature(fd.get(), path, [&](blkid_probe probe) {
               errno = 0;
               if (blkid_do_wipe(probe, 0) == 0) return OkStatus();
               return Status(ErrorOfErrno(errno != 0 ? errno : EIO, "wipe " + path));
             }));
  if (::fsync(fd.get()) != 0) return ErrorOfErrno(errno, "wipe " + path);
  return wiped;
}

}  // namespace cofs
