// Space: free blocks of a mounted volume, and the one rule for their reuse.
//
// A range that was mapped may be handed out again only when
//   (a) the commit that freed it is durable,
//   (b) every I/O that may touch it has completed (ReadSection, Pin), and
//   (c) its discard, where discards are wanted, has completed.
// A freed range goes through: freed by an applied batch -> sealed by BeginCommit ->
// durable by EndCommit -> past its readers and pins -> discarded -> free.
//
// Nobody who commits waits for readers: what is not past its readers yet is looked at
// again at the next commit, at the next allocation that fails, and when a reader leaves
// or a pin is released while somebody waits for space.
//
// Reserves: growth leaves the last 1/1000 of the volume (1 to 64 MiB) to overwrites,
// which free as much as they take, one commit later. The last quarter of that is for
// the pool of the store alone.
//
// Thread-safety: all functions. Its locks are leaves.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"
#include "device/block_device.h"
#include "extent_map/allocator.h"
#include "extent_map/store/store.h"

namespace cofs {

enum class SpacePurpose : uint8_t {
  kGrowth,     // leaves the overwrite reserve alone
  kOverwrite,  // of blocks that this operation frees: may use the reserve
};

struct SpaceUsage {
  uint64_t volume_bytes = 0;
  uint64_t free_bytes = 0;       // can be allocated now
  uint64_t pending_bytes = 0;    // freed, not yet reusable
  uint64_t reserve_bytes = 0;    // kept for overwrites
  uint64_t largest_run_bytes = 0;
  uint64_t run_count = 0;
};

class Space : public PoolSpaceSource {
 public:
  struct Options {
    bool discard = false;
    // Makes durable what was freed so far, so that it can be reused; called without
    // locks when an allocation would fail although enough is pending.
    std::function<Status()> commit;
    // Waits, not for ever, for space that is about to be freed (removed files); called
    // without locks, once by an allocation that would fail otherwise. May be empty.
    std::function<void()> reclaim = {};
  };
  Space(BlockDevice& device, std::unique_ptr<Allocator> allocator, Options options);
  ~Space() override;

  // Runs in the order to be filled, `length_bytes` in all, near `goal` if it is given.
  // kNoSpace when neither removed files nor a commit bring enough. May block for them
  // and for readers: call it without mutexes and outside of a ReadSection. What is allocated and not put
  // into a batch is given back with ReturnUnused().
  // `window_bytes`: that much behind the last run is kept for a while for a later call
  // with a goal inside it, if it is free (see allocation_windows.h).
  Result<std::vector<DeviceRange>> Allocate(uint64_t length_bytes,
                                            std::optional<DeviceOffset> goal,
                                            SpacePurpose purpose,
                                            uint64_t window_bytes = 0);
  // Ranges that no applied batch refers to, whose I/O has all completed.
  void ReturnUnused(const std::vector<DeviceRange>& ranges);

  // ---- reuse ----
  // While it lives, nothing that was mapped when it was entered is reused. For short
  // I/O: enter before looking up the mapping, leave when the I/O has completed. Its
  // holder never waits for space.
  class ReadSection {
   public:
    ReadSection(ReadSection&& other) noexcept
        : space_(other.space_), count_(std::exchange(other.count_, nullptr)) {}
    ReadSection& operator=(ReadSection&&) = delete;
    ~ReadSection() {
      if (count_ != nullptr) space_->LeaveRead(count_);
    }

   private:
    friend class Space;
    ReadSection(Space* space, std::atomic<uint64_t>* count) : space_(space), count_(count) {}
    Space* space_;
    std::atomic<uint64_t>* count_;
  };
  ReadSection EnterRead();
  // For long I/O (copies, scrub): while it lives, these ranges are not reused.
  class Pin {
   public:
    Pin() = default;
    Pin(Pin&& other) noexcept;
    Pin& operator=(Pin&& other) noexcept;
    ~Pin() { Release(); }
    void Release();

   private:
    friend class Space;
    Space* space_ = nullptr;
    std::list<std::vector<DeviceRange>>::iterator entry_;
  };
  // Take it while the mapping can't change (inode lock or ReadSection held).
  Pin PinRanges(std::vector<DeviceRange> ranges);

  // The batch that stopped referring to `ranges` has been written to the store.
  void Freed(const std::vector<DeviceRange>& ranges);
  // Around Store::Commit(): what was Freed() before BeginCommit becomes reusable
  // after EndCommit(token, true). After EndCommit(token, false) it never does: the
  // volume is read-only by then.
  uint64_t BeginCommit();
  void EndCommit(uint64_t token, bool durable);

  // ---- trials of copies ----
  // A free run of `bytes_min` to `bytes_max`, outside of `avoid` and of the reserves, to
  // be written to for a moment. It belongs to nobody and is free again afterwards, so the
  // volume does not change and its clean flag stays (`avoid`: the image that the flag
  // speaks for). Never waits. kNoSpace.
  Result<DeviceRange> BorrowScratch(uint64_t bytes_min, uint64_t bytes_max,
                                    DeviceRange avoid);
  void ReturnScratch(DeviceRange range);
  // A command of the device may still write to these blocks, which nothing refers to: they
  // are not handed out again. The next mount finds them free.
  void Abandon(const std::vector<DeviceRange>& ranges);

  // The clean flag must be cleared durably before the first allocation of a mount:
  // called once, by the first Allocate(), TakeForPool() or Trim(), without locks; again
  // when it has failed. (Committer does the same before the first batch that frees.)
  void OnFirstAllocation(std::function<Status()> clear_clean_flag);
  // Whether any allocation or release happened since the mount.
  bool changed() const;

  SpaceUsage usage() const;
  // Unmount: everything pending has been committed. The allocator's image. kBusy when
  // something is still pending, borrowed or abandoned, so that the image would miss it.
  Result<std::string> EncodeImage();
  // A contiguous free place for `length_bytes`, still free afterwards (for the image).
  std::optional<DeviceRange> FindPlaceForImage(uint64_t length_bytes);
  // FITRIM: discards all free runs of at least `minimum_bytes` in [begin, end).
  // kNotSupported when the device can't discard.
  Result<uint64_t> Trim(DeviceOffset begin, DeviceOffset end, uint64_t minimum_bytes);

  // ---- PoolSpaceSource ----
  // May use all the reserves; does not commit (it is called by the store itself).
  Result<DeviceRange> TakeForPool(uint64_t wanted_bytes, uint64_t minimum_bytes) override;
  Status PrepareReturn() override;
  void ReturnFromPool(DeviceRange range) override;

 private:
  struct Rep;
  void LeaveRead(std::atomic<uint64_t>* count);

  std::unique_ptr<Rep> rep_;
};

}  // namespace cofs
