// Interrupts: finds the request that an INTERRUPT means.
//
// Requests of the few kinds that take long register while they are served. An INTERRUPT
// can be read by another worker before the request that it means has been registered:
// the last ones that met nobody are kept, and looked up at registration. Request
// numbers are never used again, so one that is kept for nobody does no harm.
// Thread-safety: all functions.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "base/mutex.h"
#include "fs/fuse/request.h"

namespace cofs {

class Interrupts {
 public:
  // While it lives, Interrupt(request.unique) sets request.interrupted.
  class Registration {
   public:
    Registration(Interrupts& interrupts, Request& request);
    ~Registration();
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;

   private:
    Interrupts& interrupts_;
    const uint64_t unique_;
  };
  void Interrupt(uint64_t unique) EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  std::unordered_map<uint64_t, Request*> long_requests_ GUARDED_BY(mutex_);
  std::array<uint64_t, 64> early_ GUARDED_BY(mutex_) = {};
  size_t early_next_ GUARDED_BY(mutex_) = 0;
};

}  // namespace cofs
