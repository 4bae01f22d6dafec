// ReadProgress: passes everything on to a device and tells how much has been read, while
// someone listens. The check of the store's files is shown by it: the store reads them.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "device/block_device.h"

namespace cofs {

class ReadProgress : public BlockDevice {
 public:
  // `base` outlives this.
  explicit ReadProgress(BlockDevice& base) : base_(base) {}

  // `listener` gets the bytes read since this call, from threads that read, one at a time
  // as long as one thread reads. nullptr: nobody. Nothing is being read meanwhile.
  void Listen(std::function<void(uint64_t)> listener) {
    listener_ = std::move(listener);
    read_bytes_ = 0;
  }

  const DeviceGeometry& geometry() const override { return base_.geometry(); }
  Status Execute(std::span<IoOp> ops) override {
    Status status = base_.Execute(ops);
    if (!listener_) return status;
    uint64_t bytes = 0;
    for (const IoOp& op : ops)
      if (op.kind == IoKind::kRead) bytes += op.length_bytes;
    listener_(read_bytes_.fetch_add(bytes) + bytes);
    return status;
  }
  std::unique_ptr<IoQueue> NewQueue(unsigned depth) override {
    return base_.NewQueue(depth);
  }
  int native_fd() const override { return base_.native_fd(); }

 private:
  BlockDevice& base_;
  std::function<void(uint64_t)> listener_;
  std::atomic<uint64_t> read_bytes_{0};
};

}  // namespace cofs
