// FileQueue: I/O of a FileDevice through one ring. Queues of callers are FileQueues,
// and Execute() borrows one for a call.
//
// Thread-safety: one thread at a time.
// Each operation has a slot and at most one entry in the ring; what is left after a
// short transfer, or after one piece through a bounce buffer, is sent again from its
// completion.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "device/block_device.h"
#include "device/ring.h"

namespace cofs {

// How a device writes zeros, best first; the next is taken for good when the kernel
// says that the former is not supported.
enum class ZeroWay : int { kZeroRange, kPunchHole, kWriteZeros };

// What all queues of one open file share.
struct FileTarget {
  int fd = -1;
  DeviceGeometry geometry;
  uint32_t memory_alignment = 1;  // of direct I/O
  uint32_t offset_alignment = 1;
  // Else a write that must be durable is followed by a flush.
  bool is_fua_trusted = true;
  std::atomic<ZeroWay> zero_way{ZeroWay::kZeroRange};
  std::atomic<int> queue_count{0};  // alive
};

class FileQueue : public IoQueue {
 public:
  // `target` outlives the queue.
  static Result<std::unique_ptr<FileQueue>> Create(FileTarget& target, unsigned depth);
  ~FileQueue() override;

  void Submit(IoOp* op) override;
  IoOp* Reap() override;
  unsigned in_flight() const override;
  void UseMemory(std::span<char> memory) override;

  // As Submit(), but the kernel hears of it only with the next Reap() or Submit():
  // many operations, or one and the wait for it, in one system call.
  void Prepare(IoOp* op);

 private:
  enum class Step : uint8_t { kTransfer, kSync, kPunchHole, kZeroRange, kWriteZeros };
  struct Slot {
    IoOp* op = nullptr;
    Step step = Step::kTransfer;
    bool is_bounced = false;
    bool must_block = false;  // let a worker of the kernel wait
    unsigned retry_count = 0;
    uint64_t done_bytes = 0;
    uint64_t piece_bytes = 0;  // what the kernel is asked for now
    AlignedBuffer bounce;
  };

  FileQueue(FileTarget& target, unsigned depth, Ring ring);
  Step FirstStepOf(IoKind kind) const;
  // Sends the next piece of the slot's operation.
  void Send(uint32_t slot_index);
  void PrepareTransfer(Slot& slot, io_uring_sqe* entry);
  // Takes one completion of the ring, waiting for it.
  void TakeCompletion();
  void OnCompletion(uint32_t slot_index, int result);
  void OnTransferred(uint32_t slot_index, uint64_t bytes);
  // Whether the operation goes on in another way after this failure.
  bool TryNextWay(uint32_t slot_index, int error_number);
  void Finish(uint32_t slot_index, std::optional<Error> error);
  void Complete(IoOp* op, std::optional<Error> error);

  FileTarget& target_;
  Ring ring_;
  std::span<char> registered_memory_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  std::vector<IoOp*> completed_;  // from completed_head_ on, oldest first
  size_t completed_head_ = 0;
};

// On the calling thread, blocking. A discard is not an error where the device can't.
Status DiscardBlocks(int fd, DeviceRange range, const std::string& path);
Status FlushFile(int fd, const std::string& path);

}  // namespace cofs
