// Scrubber: verifies everything that a mounted volume holds: both superblocks, the
// journal and all files of the store, then every written block of every file against its
// checksum, each once, however many files share it.
//
// One thread, only while a scrub runs; a buffer of a few MiB; no lock that others wait
// for. It gives way to others' requests (scrub_pace.h), and what changes meanwhile is
// never reported as damage (scrub_batch.h). It repairs nothing.
//
// Where it stands is a record of the store (ScrubRecord), written every ten seconds and
// when it ends: after an unmount or a crash it can be resumed. Of a read-only volume the
// place is only kept while it is mounted.
//
// Thread-safety: all functions; call them without locks.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>

#include "base/mutex.h"
#include "base/result.h"
#include "extent_map/records.h"
#include "fs/core/core.h"
#include "fs/core/scrub_batch.h"
#include "fs/core/scrub_pace.h"
#include "fs/core/scrub_types.h"

namespace cofs {

class Scrubber {
 public:
  explicit Scrubber(Core& core) : core_(core) {}
  ~Scrubber() { Abandon(); }

  // What the last one has left in the store; a damaged record counts as none.
  void Load() EXCLUDES(mutex_);
  // kBusy when one runs.
  Status Start(const ScrubRequest& request) EXCLUDES(control_mutex_, mutex_);
  // Ends it where it is, and looks up the names of what it has found.
  void Stop() EXCLUDES(control_mutex_, mutex_);
  // The same for an unmount, which does not wait for names.
  void Suspend() EXCLUDES(control_mutex_, mutex_);
  // As by a crash: nothing is written.
  void Abandon() EXCLUDES(control_mutex_, mutex_);
  ScrubReport report() const EXCLUDES(mutex_);

 private:
  enum class Ending : uint8_t { kWithNames, kWithoutNames, kAtOnce };

  void End(Ending ending) EXCLUDES(control_mutex_, mutex_);
  void Run();
  Status VerifyMetadata();
  Status VerifyFiles();
  Status VerifyBatch(ScrubBatch& batch, std::span<char> memory, const ScrubLimits& limits);
  void AddDamage(ScrubDamage damage) EXCLUDES(mutex_);
  void AddBadRecords(const ScrubBatch& batch);
  // Looks up the names of damaged files that have none yet; not too often unless `now`.
  void FindNames(bool now) EXCLUDES(mutex_);
  void CountDone(uint64_t bytes) EXCLUDES(mutex_);
  void SaveIfDue() EXCLUDES(mutex_);
  // Writes the record. A failure costs nothing but the place.
  void Save() EXCLUDES(mutex_);
  void Finish(const Status& status) EXCLUDES(mutex_);

  using Clock = std::chrono::steady_clock;

  Core& core_;

  Mutex control_mutex_;  // one Start() or Stop() at a time; taken before mutex_
  std::thread thread_ GUARDED_BY(control_mutex_);

  // Of the thread that runs; set before it begins.
  std::shared_ptr<ScrubPace> pace_;
  GoodSharedBlocks good_;
  ScrubPosition position_;
  Clock::time_point saved_at_, named_at_;
  Clock::duration naming_time_{};
  size_t named_count_ = 0;  // of the list: names looked up, and logged

  mutable Mutex mutex_;
  ScrubReport report_ GUARDED_BY(mutex_);
  ScrubRecord record_ GUARDED_BY(mutex_);  // as it was, or is to be, saved
  Ending ending_ GUARDED_BY(mutex_) = Ending::kWithNames;
  Clock::time_point begun_at_ GUARDED_BY(mutex_);
};

}  // namespace cofs
