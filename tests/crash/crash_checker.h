// CrashChecker: judges what a power cut has left on a device.
//
// An image must be one that fsck finds nothing on, that can be mounted, and whose tree
// is what it was after some operation: none before the last that was acknowledged as
// durable. Some of the images are used on, and checked again; on some the recovery
// itself meets a power cut.
// Belongs to one thread.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "device/crash_replay.h"
#include "tests/core/model.h"
#include "tests/core/model_driver.h"

namespace cofs {

// The states that a tree went through.
class Timeline {
 public:
  // `is_own`: of names in `base`'s shared directory.
  Timeline(const Model& base, std::vector<ModelDriver::Change> changes,
           std::function<bool(std::string_view)> is_own);

  const Model& base() const { return base_; }
  const std::function<bool(std::string_view)>& is_own() const { return is_own_; }
  const std::vector<ModelDriver::Change>& changes() const { return changes_; }
  // After how many of the changes the tree was as `found`; at least `from`.
  std::optional<size_t> Find(const Model& found, size_t from) const;
  Model After(size_t count) const;
  // After how many of the changes the tree was most like `found`.
  size_t Nearest(const Model& found) const;

 private:
  Model base_;
  const std::vector<ModelDriver::Change> changes_;
  const std::function<bool(std::string_view)> is_own_;
  std::unordered_map<uint64_t, size_t> last_by_fingerprint_;
  bool has_torn_ = false;
};

// Marks of several timelines in one log.
inline uint64_t TimelineMark(size_t timeline, size_t change_count) {
  return uint64_t{timeline} << 48 | change_count;
}

class CrashChecker {
 public:
  struct Options {
    VolumeOptions volume;
    uint64_t seed = 1;
    // One of so many states is used on after its recovery; of so many the recovery is
    // interrupted. 0: none.
    unsigned go_on_one_of = 4;
    unsigned interrupt_one_of = 40;
  };
  struct Counts {
    uint64_t states = 0;  // judged
    uint64_t repeated = 0;
    uint64_t interrupted_recoveries = 0;
    uint64_t states_of_recoveries = 0;
  };

  // `timelines` outlive it; all have trees of their own in one volume.
  CrashChecker(std::vector<const Timeline*> timelines, const Options& options);

  // The error says what is wrong with the image.
  Status Check(CrashState& state);
  const Counts& counts() const { return counts_; }

 private:
  Status CheckTrees(Volume& volume, const std::vector<size_t>& durable,
                    std::vector<uint64_t>* fingerprints);
  Status GoOn(Volume& volume);
  Status CheckRecoveryStates(std::unique_ptr<MemoryDevice> initial, IoLog log,
                             const std::vector<uint64_t>& fingerprints);

  const std::vector<const Timeline*> timelines_;
  const Options options_;
  std::mt19937_64 random_;
  Counts counts_;
};

// fsck, with all data; its findings are the error.
Status CheckSound(MemoryDevice& image);

}  // namespace cofs
