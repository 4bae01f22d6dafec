// SoftwareQueue: the IoQueue of devices whose I/O does not run by itself (memory and
// the devices that wrap others for tests). It carries operations out through
// BlockDevice::Execute() on the calling thread.
//
// Without a seed an operation completes inside Submit(), in order. With a seed it is
// held back until Reap() needs it or the depth is reached, and operations are carried
// out in a random order: what a real device may do, and repeatable.
// Thread-safety: none, as every IoQueue.
#pragma once

#include <deque>
#include <optional>
#include <random>
#include <vector>

#include "device/block_device.h"

namespace cofs {

class SoftwareQueue : public IoQueue {
 public:
  // `device` outlives the queue. `depth` is at least 1.
  SoftwareQueue(BlockDevice& device, unsigned depth,
                std::optional<uint64_t> shuffle_seed = std::nullopt);
  ~SoftwareQueue() override;
  void Submit(IoOp* op) override;
  IoOp* Reap() override;
  unsigned in_flight() const override;

 private:
  void CarryOutOne();

  BlockDevice& device_;
  const size_t depth_;
  std::optional<std::mt19937_64> random_;
  std::vector<IoOp*> held_;
  std::deque<IoOp*> completed_;
};

}  // namespace cofs
