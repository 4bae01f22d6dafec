// COFS_IOC_SCRUB, COFS_IOC_SCRUB_REPORT.
#include <cerrno>

#include "fs/fuse/caller_rights.h"
#include "fs/fuse/ioctl_argument.h"
#include "fs/fuse/operations.h"
#include "fs/fuse/scrub_report.h"

namespace cofs {

static_assert(sizeof(cofs_ioc_scrub) == 32);

void Operations::IoctlScrub(Reply& reply, std::span<const char> in) {
  cofs_ioc_scrub wanted;
  if (!ReadArgument(in, &wanted)) return reply.Errno(EINVAL);
  if (wanted.reserved[0] != 0 || wanted.reserved[1] != 0) return reply.Errno(EINVAL);
  if (!MayAdminister(reply.caller())) return reply.Errno(EPERM);
  if (wanted.action == COFS_SCRUB_STOP && wanted.flags == 0) {
    volume_.StopScrub();
    return reply.Ioctl({});
  }
  if (wanted.action != COFS_SCRUB_START || (wanted.flags & ~COFS_SCRUB_RESUME) != 0)
    return reply.Errno(EINVAL);
  ScrubRequest request;
  request.bytes_per_second = wanted.bytes_per_second;
  request.resumes = (wanted.flags & COFS_SCRUB_RESUME) != 0;
  if (const Status started = volume_.StartScrub(request); !started.ok())
    return reply.Fail(started.error());
  reply.Ioctl({});
}

void Operations::IoctlScrubReport(Reply& reply, std::span<const char> in) {
  if (!MayAdminister(reply.caller())) return reply.Errno(EPERM);
  AnswerPage(reply, in, scrub_pages_, [this] { return ScrubText(volume_.scrub()); });
}

}  // namespace cofs
