// Multi-mount protection: that a volume has one writer, on all hosts and all paths that
// lead to it, by the heartbeat block (heartbeat.h). VolumeLock (device/) does the same for
// the programs of one host, at once and without a write; the heartbeat sees what it can't:
// other hosts, and other device nodes over the same blocks.
//
// The protocol, which needs neither clocks that agree nor atomic operations of the device:
//
//  1. Before anything of a volume is written, its heartbeat is read. When it has not been
//     ended, it is watched for twice its interval and a second: one that moves is alive
//     (kBusy), one that does not was left by a crash. There is no waiting when it was left
//     on this host, since it was booted, by a process that is gone.
//  2. Who takes the volume writes a heartbeat of its own and waits a moment, then reads it
//     again: of two who found nobody, one finds the other's. Whoever was slow between
//     reading and writing waits as long as in 1, in which the other one sees that its
//     heartbeat was written over, and stops.
//  3. Before each beat the block is read: when it is not this holder's, somebody else has
//     taken the volume, and this one stops writing, for good.
//  4. A clean end writes a last heartbeat that says so.
//
// What it can't see: a writer that does not beat (-o nommp), for as long as it does not
// look; and what is written between two beats by a host that slept for longer than 1 waits.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/mutex.h"
#include "base/result.h"
#include "device/block_device.h"
#include "extent_map/heartbeat.h"

namespace cofs {

// Asked often while it waits; true: kInterrupted.
using IsCancelled = std::function<bool()>;

// What is done with a heartbeat that was left by a crash.
enum class LeftHeartbeat : uint8_t {
  kKeep,  // nothing is written
  kEnd,   // it is ended, so that the next one need not wait for it
};

// Step 1. kBusy, in a sentence that says who has the volume; kIo. Waits, when it has to,
// and says so in the log.
Status CheckHeartbeat(BlockDevice& device, LeftHeartbeat left,
                      const IsCancelled& is_cancelled = {});

// The heartbeat of who has a volume. Thread-safe.
class HeartbeatWriter {
 public:
  struct Options {
    HeartbeatState state = HeartbeatState::kMounted;
    Uuid volume;
    std::chrono::milliseconds interval{2000};
    // Step 2.
    std::chrono::milliseconds settle{200};
    IsCancelled is_cancelled = {};
    // Somebody else has taken the volume: called once, from the thread that beats. Nothing
    // may be written any more.
    std::function<void(const Error&)> on_lost = {};
  };
  // Steps 1 and 2; beats from then on. `device` outlives it. Errors as CheckHeartbeat().
  static Result<std::unique_ptr<HeartbeatWriter>> Claim(BlockDevice& device,
                                                        Options options);
  // Without End() the heartbeat is left as by a crash.
  ~HeartbeatWriter();
  // Step 4; nothing when it was lost. The last call.
  Status End() EXCLUDES(mutex_);

 private:
  HeartbeatWriter(BlockDevice& device, Options options);
  Result<bool> IsOwn();
  Status Write(HeartbeatState state);
  void Loop();
  void StopThread() EXCLUDES(mutex_);
  // A beat; false: the last one.
  bool Beat();

  BlockDevice& device_;
  const Options options_;
  // Of Claim(), then of the thread, then of End().
  Heartbeat heartbeat_;
  bool is_lost_ = false;
  bool has_failed_ = false;  // the last beat: said in the log once

  Mutex mutex_;
  CondVar wake_;
  bool is_stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cofs
