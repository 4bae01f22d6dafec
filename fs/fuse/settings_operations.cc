// COFS_IOC_SET: options of a live mount.
#include <cerrno>
#include <cstring>
#include <string>

#include "fs/fuse/caller_rights.h"
#include "fs/fuse/cofs_ioctl.h"
#include "fs/fuse/operations.h"

namespace cofs {
namespace {

static_assert(sizeof(cofs_ioc_set) == 512);

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
