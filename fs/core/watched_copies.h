// WatchedCopies: a copy engine whose copies are watched as other I/O is
// (device/watched_device.h): commands of a drive's own don't go through BlockDevice.
// Thread-safety: as CopyEngine.
#pragma once

#include <memory>

#include "copy_engine/copy_engine.h"
#include "device/watched_device.h"

namespace cofs {

class WatchedCopies : public CopyEngine {
 public:
  // `watch` outlives this.
  WatchedCopies(std::unique_ptr<CopyEngine> base, StallWatch& watch)
      : base_(std::move(base)), watch_(watch) {}

  Result<CopyReport> Copy(const CopyRequest& request) override;
  CopyTotals totals() const override { return base_->totals(); }
  std::vector<CopyWayState> ways(CopyVerify verify) const override {
    return base_->ways(verify);
  }
  std::optional<CopyOrigin> OriginOf(DeviceOffset block) const override {
    return base_->OriginOf(block);
  }

 private:
  const std::unique_ptr<CopyEngine> base_;
  StallWatch& watch_;
};

}  // namespace cofs
