#include "copy_engine/copy_origins.h"

#include <algorithm>

namespace cofs {

void CopyOrigins::Note(CopyWayId way, std::span<const CopyPiece> pieces,
                       uint64_t completed_bytes) {
  MutexLock lock(mutex_);
  for (CopyPiece piece : pieces) {
    if (completed_bytes == 0) break;
    piece.length_bytes = std::min(piece.length_bytes, completed_bytes);
    completed_bytes -= piece.length_bytes;
    if (entries_.size() < kCopyOriginsMax) {
      entries_.push_back({piece, way});
    } else {
      entries_[next_] = {piece, way};
      next_ = (next_ + 1) % kCopyOriginsMax;
    }
  }
}

std::optional<CopyOrigin> CopyOrigins::Find(DeviceOffset block) const {
  MutexLock lock(mutex_);
  for (size_t i = entries_.size(); i > 0; --i) {
    const Entry& entry = entries_[(next_ + i - 1) % entries_.size()];
    const CopyPiece& piece = entry.piece;
    if (block >= piece.destination && block < piece.destination + piece.length_bytes)
      return CopyOrigin{entry.way, piece.source + (block - piece.destination)};
  }
  return std::nullopt;
}

}  // namespace cofs
