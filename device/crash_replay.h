// CrashReplay: from a recorded log, the images that a power cut may leave on a device
// with a volatile cache. For tests.
//
// At a crash after event E, for every change that started by then:
//  1. It is durable when a flush that started after its completion has completed by E,
//     or when it was sent with `fua` and has completed by E.
//  2. What is not durable may be kept, dropped or torn: each 512-byte sector of it is
//     there or not, by itself. That goes for changes still in flight and for failed
//     ones too.
//  3. Of two changes of one sector that are both there, the one that completed later
//     is seen.
//  4. A discarded sector may hold anything: short discards leave junk, long ones zeros.
//
// States come in the order of time from one base image that grows with each flush;
// each state is a fork of it, so thousands are cheap.
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/memory_device.h"
#include "device/recording_device.h"

namespace cofs {

struct CrashState {
  EventNumber event = 0;  // power is lost right after it
  std::string how;        // "dropped", "kept" or "random 3": with the event and the seed
                          // it names the state again
  std::unique_ptr<MemoryDevice> image;  // the visitor's, to write to and to keep
  std::vector<uint64_t> marks;          // all that were set by then, in order
  // The image and the marks are those of a state that was visited before.
  bool is_repeated = false;
};

class CrashReplay {
 public:
  struct Options {
    uint64_t seed = 1;
    // Random states in each stretch of the log between two flushes.
    unsigned random_state_count = 4;
    // Besides flushes, look at dropped and kept after every completed FUA write.
    bool at_fua_writes = true;
  };
  // `initial` holds what the device held when recording began, all of it durable.
  CrashReplay(std::unique_ptr<MemoryDevice> initial, IoLog log, Options options);

  // At every completed flush, and at the end of the log, the state with all that is
  // not durable dropped and the one with all of it kept; between flushes random ones.
  // The first error of `visit` ends it; its context then names the state.
  // May be called once.
  Status ForEachState(const std::function<Status(CrashState&)>& visit);

 private:
  enum class Choice { kDrop, kKeep, kRandom };
  struct Event {
    enum class Kind { kStart, kCompletion, kMark } kind;
    size_t index;  // in ios or marks
  };

  void Advance(const Event& event);
  Status Visit(EventNumber now, Choice choice, unsigned number,
               const std::function<Status(CrashState&)>& visit);
  // Whether a crash now may lose something.
  bool HasVolatile(EventNumber now) const;
  // Those not yet in the base, in the order in which they come to be seen.
  std::vector<const LoggedIo*> PendingInOrder(EventNumber now) const;
  static void Apply(const LoggedIo& io, uint64_t offset_in_io, uint64_t length_bytes,
                    MemoryDevice& image);
  static void ApplyTorn(const LoggedIo& io, std::mt19937_64& random, MemoryDevice& image);

  const Options options_;
  const IoLog log_;
  std::vector<Event> events_;  // event number N at N-1
  std::unique_ptr<MemoryDevice> base_;
  std::vector<size_t> pending_;  // started, not in the base
  std::vector<uint64_t> marks_;
  // Counts what changes the durable contents or the marks.
  uint64_t durable_version_ = 0;
  std::optional<uint64_t> visited_version_;  // by a state of just that
};

}  // namespace cofs
