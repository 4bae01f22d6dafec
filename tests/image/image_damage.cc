#include "tests/image/image_damage.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "tests/image/forgery.h"

namespace cofs {
namespace {

class RandomDamage {
 public:
  RandomDamage(MemoryDevice& device, const BaseVolume& base, std::mt19937_64& random)
      : device_(device), random_(random) {
    for (const Place& place : base.places)
      by_kind_[static_cast<size_t>(place.kind)].push_back(place.offset);
  }

  DamageResult Run() {
    const int count = random_() % 3 == 0 ? 1 + static_cast<int>(random_() % 12) : 1;
    for (int i = 0; i < count; ++i) Once();
    return std::move(result_);
  }

 private:
  using Block = std::array<char, kBlockBytes>;

  // Each kind as likely as the others, however few its blocks are.
  Place Choose() {
    for (;;) {
      const size_t kind = random_() % kPlaceKindCount;
      const auto& places = by_kind_[kind];
      if (places.empty()) continue;
      // Ends of files more often than by chance: footers, last groups.
      const size_t index =
          random_() % 4 == 0 ? places.size() - 1 : random_() % places.size();
      return {static_cast<PlaceKind>(kind), places[index]};
    }
  }
  Place ChooseOf(PlaceKind kind) {
    const auto& places = by_kind_[static_cast<size_t>(kind)];
    return {kind, places[random_() % places.size()]};
  }
  Block Get(uint64_t offset) const {
    Block block;
    device_.Peek(offset, block);
    return block;
  }
  void Put(uint64_t offset, std::span<const char> bytes) {
    device_.Poke(offset, bytes);
    ++result_.counts.blocks_changed;
  }
  void Say(const Place& place, std::string_view what) {
    result_.words += StrCat(result_.words.empty() ? "" : "; ", NameOf(place.kind), " at ",
                            place.offset, ": ", what);
  }

  void FlipBits(const Place& place) {
    Block block = Get(place.offset);
    const int count = random_() % 4 == 0 ? 2 + static_cast<int>(random_() % 30) : 1;
    for (int i = 0; i < count; ++i) {
      // The first bytes hold headers.
      const size_t bytes = random_() % 3 == 0 ? 256 : kBlockBytes;
      block[random_() % bytes] ^= static_cast<char>(1u << random_() % 8);
    }
    device_.Poke(place.offset, block);
    result_.counts.bits_flipped += static_cast<uint64_t>(count);
    Say(place, StrCat(count, " bits flipped"));
  }

  void Fill(const Place& place) {
    Block block;
    const uint64_t how = random_() % 4;
    for (char& byte : block)
      byte = how == 0 ? '\0' : how == 1 ? '\xff' : static_cast<char>(random_());
    Put(place.offset, block);
    Say(place, how == 0 ? "zeros" : how == 1 ? "ones" : "random bytes");
  }

  // The two are mixed up, or one is lost.
  void Misplace(const Place& place) {
    const Place other = random_() % 3 == 0 ? Choose() : ChooseOf(place.kind);
    const Block here = Get(place.offset);
    const Block there = Get(other.offset);
    Put(place.offset, there);
    const bool swaps = random_() % 2 == 0;
    if (swaps) Put(other.offset, here);
    Say(place, StrCat(swaps ? "swapped with " : "overwritten by ", NameOf(other.kind),
                      " at ", other.offset));
  }

  void Tear(const Place& place) {
    Block block = Get(place.offset);
    const Block other = Get(ChooseOf(place.kind).offset);
    const bool has_other = random_() % 2 == 0;
    for (size_t sector = 0; sector < kBlockBytes; sector += 512) {
      if (random_() % 2 == 0) continue;
      if (has_other)
        std::memcpy(block.data() + sector, other.data() + sector, 512);
      else
        std::memset(block.data() + sector, 0, 512);
    }
    Put(place.offset, block);
    Say(place, has_other ? "torn, with parts of another" : "torn, with zeros");
  }

  void Wipe(const Place& place) {
    const uint64_t blocks = 2 + random_() % 62;
    const uint64_t size = device_.geometry().size_bytes;
    const uint64_t length = std::min(blocks * kBlockBytes, size - place.offset);
    device_.Clear(place.offset, length);
    result_.counts.blocks_changed += length / kBlockBytes;
    Say(place, StrCat("zeros for ", length, " bytes"));
  }

  void Once() {
    const Place place = Choose();
    switch (random_() % 10) {
      case 0:
        return Fill(place);
      case 1:
      case 2:
        return Misplace(place);
      case 3:
        return Tear(place);
      case 4:
        return Wipe(place);
      default:
        return FlipBits(place);
    }
  }

  MemoryDevice& device_;
  std::mt19937_64& random_;
  std::array<std::vector<uint64_t>, kPlaceKindCount> by_kind_;
  DamageResult result_;
};

}  // namespace

DamageResult DamageImage(MemoryDevice& device, const BaseVolume& base, DamageStyle style,
                         std::mt19937_64& random) {
  if (style == DamageStyle::kForged) return ForgeImage(device, base, random);
  return RandomDamage(device, base, random).Run();
}

}  // namespace cofs
