// Reference counts of shared ranges, as pure functions: a list of shared records is
// cut and changed for a range whose references grow or shrink by one. Ranges without
// a record have one owner. A count that has reached kReferenceCountMax is no longer
// exact: it stays, and its range is never freed.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "extent_map/records.h"

namespace cofs {

struct SharedRange {
  DeviceOffset offset;
  SharedRecord record;
  friend bool operator==(const SharedRange&, const SharedRange&) = default;
};

// Each list in device order. Only what differs is erased and written.
struct SharedChange {
  std::vector<DeviceOffset> erased;   // records to delete
  std::vector<SharedRange> written;   // records to put
  std::vector<DeviceRange> freed;     // only for RemoveReference: no owner is left
};

// `existing` (sorted) holds every record that overlaps `range`, and its neighbours
// that touch it (joined with where counts are equal).
SharedChange AddReference(std::span<const SharedRange> existing, DeviceRange range);
SharedChange RemoveReference(std::span<const SharedRange> existing, DeviceRange range);

}  // namespace cofs
