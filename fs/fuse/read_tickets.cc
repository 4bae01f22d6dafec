#include "fs/fuse/read_tickets.h"

#include <algorithm>

#include "base/uuid.h"

namespace cofs {

void ReadTickets::DropOld() {
  const auto now = clock_();
  while (!entries_.empty() && entries_.front().expires_at <= now) entries_.pop_front();
}

ReadTicket ReadTickets::Issue(Holder holder, InodeId file) {
  MutexLock lock(mutex_);
  DropOld();
  ReadTicket ticket{RandomU64(), RandomU64()};
  // A program that asks for one ticket after the other keeps one place.
  const auto same = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.holder == holder && entry.file == file;
  });
  if (same != entries_.end()) {
    ticket = same->ticket;
    entries_.erase(same);
  } else if (entries_.size() >= kCountMax) {
    entries_.pop_front();
  }
  entries_.push_back({ticket, holder, file, clock_() + kLifetime});
  return ticket;
}

Result<InodeId> ReadTickets::Check(const ReadTicket& ticket, Holder holder) {
  MutexLock lock(mutex_);
  DropOld();
  for (const Entry& entry : entries_)
    if (entry.ticket == ticket && entry.holder == holder) return entry.file;
  return Error(ErrorCode::kStale, "this ticket is not good");
}

}  // namespace cofs
