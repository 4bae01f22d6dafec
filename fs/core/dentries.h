// Entries of one directory in the store.
//
// An entry's place is its cookie: the hash of its name and a collision index, see
// records.h. A name may sit at any index of its hash, because removal never renumbers
// (a cookie that a reader of the directory holds stays valid): looking for a name
// means looking at all of them, unless the census says that only first ones are taken.
// All functions read the store only; the caller holds the directory's lock when the
// answer shall stay true.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "base/siphash.h"
#include "extent_map/records.h"
#include "extent_map/store/store.h"
#include "fs/core/census.h"

namespace cofs {

struct FoundEntry {
  uint64_t cookie = 0;
  DentryRecord record;
};

// What the places of one name hold.
struct NamePlaces {
  std::optional<FoundEntry> entry;
  // The first place that is free; unset when all are taken, or when there is an entry.
  std::optional<uint64_t> free_cookie;
};

// Whether `now` is still the entry that was found as `before`.
inline bool IsSameEntry(const FoundEntry& before, const std::optional<FoundEntry>& now) {
  return now && now->cookie == before.cookie && now->record.inode == before.record.inode;
}

// A name that can be an entry: kNameTooLong over 255 bytes; kInvalidArgument for "",
// ".", "..", and names with '/' or NUL.
Status CheckName(std::string_view name);

class Dentries {
 public:
  Dentries(const Store& store, const Census& census, const SipHashKey& key)
      : store_(store), census_(census), key_(key) {}

  // The entry, if there is one. Cheaper than FindPlaces() when there is.
  Result<std::optional<FoundEntry>> Find(InodeId directory, std::string_view name) const;
  Result<NamePlaces> FindPlaces(InodeId directory, std::string_view name) const;

 private:
  // What is at `base`: nothing, the name, or another one.
  Result<std::optional<FoundEntry>> GetFirst(InodeId directory, uint64_t base) const;
  // Looks at all places of the hash.
  Result<NamePlaces> Scan(InodeId directory, std::string_view name, uint64_t base) const;

  const Store& store_;
  const Census& census_;
  const SipHashKey key_;
};

// The entry in `value` at `cookie`; its error says where.
Result<DentryRecord> DecodeDentryAt(InodeId directory, uint64_t cookie,
                                    std::string_view value);

}  // namespace cofs
