#include "device/software_queue.h"

#include <algorithm>

namespace cofs {

SoftwareQueue::SoftwareQueue(BlockDevice& device, unsigned depth,
                             std::optional<uint64_t> shuffle_seed)
    : device_(device), depth_(std::max(depth, 1u)) {
  if (shuffle_seed) random_.emplace(*shuffle_seed);
}

SoftwareQueue::~SoftwareQueue() {
  while (!held_.empty()) CarryOutOne();
}

void SoftwareQueue::Submit(IoOp* op) {
  if (held_.size() == depth_) CarryOutOne();
  held_.push_back(op);
  if (!random_) CarryOutOne();
}

IoOp* SoftwareQueue::Reap() {
  if (completed_.empty() && !held_.empty()) CarryOutOne();
  if (completed_.empty()) return nullptr;
  IoOp* op = completed_.front();
  completed_.pop_front();
  return op;
}

unsigned SoftwareQueue::in_flight() const {
  return static_cast<unsigned>(held_.size() + completed_.size());
}

void SoftwareQueue::CarryOutOne() {
  const size_t index = random_ ? (*random_)() % held_.size() : 0;
  IoOp* op = held_[index];
  held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
  device_.Execute({op, 1}).IgnoreError("op->error has it");
  completed_.push_back(op);
}

}  // namespace cofs
