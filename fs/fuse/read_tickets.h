// ReadTickets: proof that somebody has a file open for reading, to be shown in a call on
// another file (COFS_IOC_TICKET). A ticket is 128 random bits; it holds for the thread and
// the user that asked for it, and for a short time.
//
// Thread-safety: all functions.
#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <utility>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"

namespace cofs {

using ReadTicket = std::array<uint64_t, 2>;

class ReadTickets {
 public:
  struct Holder {
    pid_t thread = 0;
    uint32_t user = 0;
    friend bool operator==(const Holder&, const Holder&) = default;
  };
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  static constexpr std::chrono::seconds kLifetime{30};
  // The oldest goes when there are more.
  static constexpr size_t kCountMax = 4096;

  explicit ReadTickets(Clock clock = &std::chrono::steady_clock::now)
      : clock_(std::move(clock)) {}

  // The same one again, with a new life, while it is good: one for each pair of holder
  // and file.
  ReadTicket Issue(Holder holder, InodeId file) EXCLUDES(mutex_);
  // The file. kStale: not a ticket, not of this holder, or too old.
  Result<InodeId> Check(const ReadTicket& ticket, Holder holder) EXCLUDES(mutex_);

 private:
  struct Entry {
    ReadTicket ticket;
    Holder holder;
    InodeId file;
    std::chrono::steady_clock::time_point expires_at;
  };
  void DropOld() REQUIRES(mutex_);

  const Clock clock_;
  Mutex mutex_;
  std::deque<Entry> entries_ GUARDED_BY(mutex_);  // in the order of their ends
};

}  // namespace cofs
