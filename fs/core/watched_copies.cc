#include "fs/core/watched_copies.h"

namespace cofs {

Result<CopyReport> WatchedCopies::Copy(const CopyRequest& request) {
  StallWatch::Entry entry;
  entry.operation = "copy";
  if (!request.pieces.empty()) entry.range.offset = request.pieces[0].destination;
  for (const CopyPiece& piece : request.pieces)
    entry.range.length_bytes += piece.length_bytes;
  watch_.Begin(entry);
  Result<CopyReport> report = base_->Copy(request);
  watch_.End(entry, report.ok() ? std::nullopt : std::optional(report.error()));
  return report;
}

}  // namespace cofs
