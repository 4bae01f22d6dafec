// Long texts through an ioctl(2), page by page: see COFS_IOC_STATS.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "base/mutex.h"
#include "fs/fuse/reply.h"

namespace cofs {

// The text that is being handed out; a new one takes its place. Thread-safe.
struct TextPages {
  Mutex mutex;
  std::string text GUARDED_BY(mutex);
  uint64_t snapshot GUARDED_BY(mutex) = 0;
};

// Answers with the page that `in` (a cofs_ioc_stats) asks for; `make_text` is called for
// the first one, without a lock.
void AnswerPage(Reply& reply, std::span<const char> in, TextPages& pages,
                const std::function<std::string()>& make_text);

}  // namespace cofs
