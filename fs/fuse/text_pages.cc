#include "fs/fuse/text_pages.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fs/fuse/ioctl_argument.h"

namespace cofs {

static_assert(sizeof(cofs_ioc_stats) == 8192);

void AnswerPage(Reply& reply, std::span<const char> in, TextPages& pages,
                const std::function<std::string()>& make_text) {
  cofs_ioc_stats page;
  if (!ReadArgument(in, &page)) return reply.Errno(EINVAL);
  const uint64_t snapshot = page.snapshot;
  const uint64_t offset = page.offset;
  std::memset(&page, 0, sizeof(page));
  if (snapshot == 0) {
    if (offset != 0) return reply.Errno(EINVAL);
    std::string text = make_text();
    MutexLock lock(pages.mutex);
    pages.text = std::move(text);
    ++pages.snapshot;
  }
  {
    MutexLock lock(pages.mutex);
    if (snapshot != 0 && snapshot != pages.snapshot) {
      lock.Unlock();
      return reply.Errno(EAGAIN);
    }
    const size_t begin = std::min<size_t>(offset, pages.text.size());
    const size_t length = std::min(pages.text.size() - begin, sizeof(page.text));
    page.snapshot = pages.snapshot;
    page.offset = static_cast<uint32_t>(begin);
    page.length = static_cast<uint32_t>(length);
    page.total = static_cast<uint32_t>(pages.text.size());
    std::memcpy(page.text, pages.text.data() + begin, length);
  }
  reply.Ioctl(BytesOf(page));
}

}  // namespace cofs
