// COFS_IOC_SET: options of a live mount.
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <string>

#include "base/log.h"
#include "fs/fuse/cofs_ioctl.h"
#include "fs/fuse/operations.h"

namespace cofs {
namespace {

static_assert(sizeof(cofs_ioc_set) == 512);

// Root in a container without the right to administer is not root here. The thread can
// be gone or out of sight: then its user decides.
bool MayAdminister(const fuse_ctx& caller) {
  constexpr uint64_t kSysAdmin = uint64_t{1} << 21;  // CAP_SYS_ADMIN
  std::ifstream status(StrCat("/proc/", caller.pid, "/status"));
  for (std::string line; caller.pid > 0 && std::getline(status, line);) {
    constexpr std::string_view kName = "CapEff:\t";
    if (!line.starts_with(kName)) continue;
    uint64_t capabilities = 0;
    const char* begin = line.data() + kName.size();
    const auto [end, code] =
        std::from_chars(begin, line.data() + line.size(), capabilities, 16);
    if (code == std::errc()) return (capabilities & kSysAdmin) != 0;
  }
  return caller.uid == 0;
}

}  // namespace

void Operations::IoctlSet(Reply& reply, std::span<const char> in) {
  cofs_ioc_set wanted;
  if (in.size() < sizeof(wanted)) return reply.Errno(EINVAL);
  std::memcpy(&wanted, in.data(), sizeof(wanted));
  if (wanted.length > sizeof(wanted.options) || wanted.reserved != 0 ||
      !options_.change_options)
    return reply.Errno(EINVAL);
  if (!MayAdminister(reply.caller())) return reply.Errno(EPERM);
  const Status changed = [&] {
    MutexLock lock(set_mutex_);
    return options_.change_options({wanted.options, wanted.length});
  }();
  if (!changed.ok()) return reply.Fail(changed.error());
  reply.Ioctl({});
}

}  // namespace cofs
