// MemoryDevice: a device in memory, for tests and for volumes that need not last.
//
// Storage is sparse: pages of 64 KiB come into being when they are written, so that a
// device of 1 TiB costs nothing. What was never written, and what was discarded, reads
// as zeros. Fork() makes a copy that shares pages until one side writes.
// Thread-safety: all functions from any thread; overlapping I/O at the same time is
// not a data race, and each 64 KiB page changes under its lock.
// Durability: there is no volatile cache; a completed write stays.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/mutex.h"
#include "device/block_device.h"

namespace cofs {

class MemoryDevice : public BlockDevice {
 public:
  struct Options {
    std::string path = "memory";
    // Set: copy_limits() and Copy() work. Limits are enforced.
    std::optional<DeviceCopyLimits> copy_limits{};
    // Set: queues carry operations out in a random order (software_queue.h).
    std::optional<uint64_t> queue_shuffle_seed{};
  };
  // `size_bytes` is rounded down to whole blocks.
  explicit MemoryDevice(uint64_t size_bytes);
  MemoryDevice(uint64_t size_bytes, Options options);
  ~MemoryDevice() override;
  MemoryDevice(const MemoryDevice&) = delete;
  MemoryDevice& operator=(const MemoryDevice&) = delete;

  const DeviceGeometry& geometry() const override { return geometry_; }
  Status Execute(std::span<IoOp> ops) override;
  std::unique_ptr<IoQueue> NewQueue(unsigned depth) override;
  std::optional<DeviceCopyLimits> copy_limits() const override {
    return options_.copy_limits;
  }
  Status Copy(std::span<const DeviceRange> sources, DeviceOffset destination) override;

  // The same contents, of its own from now on; costs one pointer for each page.
  // Not atomic against I/O that runs meanwhile.
  std::unique_ptr<MemoryDevice> Fork() const;
  // Any range inside, also parts of blocks: tests flip bits and tear sectors with it.
  void Poke(uint64_t offset_bytes, std::span<const char> data);
  void Peek(uint64_t offset_bytes, std::span<char> out) const;
  // Zeros, for any range inside; whole pages are given back.
  void Clear(uint64_t offset_bytes, uint64_t length_bytes);
  // Memory held for contents; shared pages count on each side.
  uint64_t resident_bytes() const;

  static constexpr uint64_t kPageBytes = 64 << 10;

 private:
  // Shared between forks. A page with one reference belongs to whoever holds the lock
  // of its stripe; with more it is never changed.
  struct Page {
    std::atomic<uint32_t> reference_count{1};
    std::array<char, kPageBytes> bytes;
  };
  class PageReference {
   public:
    explicit PageReference(Page* page) : page_(page) {}
    ~PageReference() { Drop(); }
    PageReference(PageReference&& other) noexcept
        : page_(std::exchange(other.page_, nullptr)) {}
    PageReference& operator=(PageReference&& other) noexcept {
      std::swap(page_, other.page_);
      return *this;
    }
    PageReference Share() const;
    const Page& page() const { return *page_; }
    // The page for writing: a copy of it when it is shared.
    Page& Own();

   private:
    void Drop();
    Page* page_;
  };
  static constexpr size_t kStripeCount = 64;
  struct Stripe {
    mutable Mutex mutex;
    std::unordered_map<uint64_t, PageReference> pages GUARDED_BY(mutex);
  };

  Stripe& StripeOf(uint64_t page_index) const {
    return stripes_[page_index % kStripeCount];
  }
  Status ExecuteOne(IoOp& op);

  const Options options_;
  DeviceGeometry geometry_;
  const std::unique_ptr<Stripe[]> stripes_;
  std::atomic<uint64_t> next_queue_{0};
};

}  // namespace cofs
