// BaseVolume: a real volume, made by the core, whose every content is known: what the
// image fuzzer damages. Kept as files, so that a run can be replayed with the same bytes.
//
// Belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/memory_device.h"

namespace cofs {

// All that the volume ever held, as words: "content 17 HASH" for each version of each
// file, "xattr 17 user.a HASH", "name x", "target a/b".
class Facts {
 public:
  void Add(std::string fact) { facts_.insert(std::move(fact)); }
  bool Hold(std::string_view fact) const { return facts_.contains(fact); }
  const std::set<std::string, std::less<>>& all() const { return facts_; }

 private:
  std::set<std::string, std::less<>> facts_;
};
std::string ContentFact(InodeId inode, std::string_view bytes);
std::string XattrFact(InodeId inode, std::string_view name, std::string_view value);

enum class PlaceKind : uint8_t {
  kSuperblock,
  kJournal,
  kWal,
  kManifest,
  kTable,
  kSmallFile,  // CURRENT, OPTIONS and the like
  kAllocatorImage,
  kData,
};
inline constexpr size_t kPlaceKindCount = 8;
std::string_view NameOf(PlaceKind kind);

// A block that means something.
struct Place {
  PlaceKind kind{};
  uint64_t offset = 0;
};

struct BaseVolume {
  std::unique_ptr<MemoryDevice> device;
  Facts facts;
  std::vector<Place> places;
};

// What there are: one that was unmounted cleanly, one that was not and has orphans, one
// with many files in many tables, an empty one.
inline constexpr int kBaseCount = 4;
// Starts RocksDB's threads: a process that is to fork must leave it to a child.
BaseVolume MakeBase(int index);

// PATH.img, a sparse image, and PATH.txt.
void SaveBase(const BaseVolume& base, const std::string& path);
BaseVolume LoadBase(const std::string& path);
void SaveImage(const MemoryDevice& device, const std::string& path);
std::unique_ptr<MemoryDevice> LoadImage(const std::string& path);

}  // namespace cofs
