#include "fs/core/dentries.h"

#include "base/check.h"

namespace cofs {

Status CheckName(std::string_view name) {
  if (name.size() > kNameBytesMax) return Error(ErrorCode::kNameTooLong, "entry");
  if (name.empty() || name == "." || name == ".." ||
      name.find('/') != std::string_view::npos ||
      name.find('\0') != std::string_view::npos)
    return Error(ErrorCode::kInvalidArgument, "name of an entry");
  return OkStatus();
}

Result<DentryRecord> DecodeDentryAt(InodeId directory, uint64_t cookie,
                                    std::string_view value) {
  Result<DentryRecord> record = DecodeDentry(value);
  if (!record.ok())
    return record.error().Within(StrCat("directory ", directory, ", entry ", cookie));
  return record;
}

Result<std::optional<FoundEntry>> Dentries::GetFirst(InodeId directory,
                                                     uint64_t base) const {
  TRY_ASSIGN(const std::optional<std::string> value,
             store_.Get(DentryKey(directory, base)));
  if (!value) return std::optional<FoundEntry>();
  TRY_ASSIGN(DentryRecord record, DecodeDentryAt(directory, base, *value));
  return std::optional<FoundEntry>(FoundEntry{base, std::move(record)});
}

Result<std::optional<FoundEntry>> Dentries::Find(InodeId directory,
                                                 std::string_view name) const {
  const uint64_t base = CookieBase(key_, name);
  TRY_ASSIGN(std::optional<FoundEntry> first, GetFirst(directory, base));
  if (first && first->record.name == name) return first;
  if (census_.HasNoCollisions()) return std::optional<FoundEntry>();
  TRY_ASSIGN(NamePlaces places, Scan(directory, name, base));
  return std::move(places.entry);
}

Result<NamePlaces> Dentries::FindPlaces(InodeId directory, std::string_view name) const {
  const uint64_t base = CookieBase(key_, name);
  if (census_.HasNoCollisions()) {
    TRY_ASSIGN(std::optional<FoundEntry> first, GetFirst(directory, base));
    if (!first) return NamePlaces{std::nullopt, base};
    if (first->record.name == name) return NamePlaces{std::move(first), std::nullopt};
  }
  return Scan(directory, name, base);
}

Result<NamePlaces> Dentries::Scan(InodeId directory, std::string_view name,
                                  uint64_t base) const {
  const uint64_t end = base + kCollisionIndexCount;
  const std::string first = DentryKey(directory, base);
  const auto cursor = store_.NewCursor(first, DentryKey(directory, end));
  NamePlaces places;
  uint64_t next = base;  // the first place not known to be taken
  for (cursor->Seek(first); cursor->valid(); cursor->Next()) {
    TRY_ASSIGN(const ParsedKey key, ParseKey(cursor->key()));
    if (key.position != next && !places.free_cookie) places.free_cookie = next;
    next = key.position + 1;
    TRY_ASSIGN(DentryRecord record,
               DecodeDentryAt(directory, key.position, cursor->value()));
    if (record.name == name)
      return NamePlaces{FoundEntry{key.position, std::move(record)}, std::nullopt};
  }
  TRY(cursor->status());
  if (!places.free_cookie && next != end) places.free_cookie = next;
  return places;
}

}  // namespace cofs
