#include "tests/image/forgery.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "extent_map/records.h"
#include "extent_map/store/store.h"
#include "extent_map/superblock.h"

namespace cofs {
namespace {

// Numbers at which arithmetic goes wrong.
constexpr uint64_t kOddNumbers[] = {0,
                                    1,
                                    2,
                                    3,
                                    15,
                                    16,
                                    4095,
                                    4096,
                                    65536,
                                    1 << 20,
                                    2 << 20,
                                    64 << 20,
                                    0x7fffffff,
                                    0x80000000,
                                    0xffffffff,
                                    0x100000000,
                                    uint64_t{1} << 40,
                                    uint64_t{1} << 62,
                                    INT64_MAX & ~uint64_t{4095},
                                    INT64_MAX,
                                    uint64_t{1} << 63,
                                    UINT64_MAX - 4095,
                                    UINT64_MAX - 1,
                                    UINT64_MAX};

// In the order of RecordKind.
constexpr const char* kKindNames[] = {"inode counter", "inode",        "entry",
                                      "extent",        "attribute",    "orphan",
                                      "checksums",     "shared range", "scrub"};

class Forgery {
 public:
  Forgery(MemoryDevice& device, const BaseVolume& base, std::mt19937_64& random)
      : device_(device), base_(base), random_(random) {
    result_.is_forged = true;
  }

  DamageResult Run() {
    const uint64_t kind = random_() % 10;
    if (kind == 0) {
      ForgeSuperblock();
    } else if (kind == 1) {
      ForgeJournal();
    } else if (kind == 2 && HasImage()) {
      ForgeAllocatorImage();
    } else {
      ForgeRecords();
    }
    return std::move(result_);
  }

 private:
  uint64_t Odd() {
    const uint64_t number = kOddNumbers[random_() % std::size(kOddNumbers)];
    return random_() % 4 == 0 ? number + random_() % 9 - 4 : number;
  }
  void Say(std::string_view what) {
    result_.words += StrCat(result_.words.empty() ? "" : "; ", what);
    ++result_.counts.forged;
  }
  bool HasImage() const {
    return std::ranges::any_of(base_.places, [](const Place& place) {
      return place.kind == PlaceKind::kAllocatorImage;
    });
  }
  std::string Peek(uint64_t offset, uint64_t length) const {
    std::string bytes(length, '\0');
    device_.Peek(offset, bytes);
    return bytes;
  }

  // A number, a bit, a byte, or something cut or put in.
  void Mutate(std::string& bytes, bool may_resize) {
    if (bytes.empty()) {
      bytes = "x";
      return;
    }
    const size_t at = random_() % bytes.size();
    switch (random_() % (may_resize ? 6 : 4)) {
      case 0:
        bytes[at] ^= static_cast<char>(1u << random_() % 8);
        return;
      case 1:
        bytes[at] = static_cast<char>(random_());
        return;
      case 2:
      case 3: {
        const size_t width = size_t{1} << random_() % 4;
        if (bytes.size() < width) return Mutate(bytes, may_resize);
        const uint64_t number = Odd();
        std::memcpy(bytes.data() + at % (bytes.size() / width) * width, &number, width);
        return;
      }
      case 4:
        bytes.resize(at);
        return;
      default:
        bytes.insert(at, std::string(1 + random_() % 16, static_cast<char>(random_())));
    }
  }

  // ---- superblock: docs/FORMAT.md ----
  void ForgeSuperblock() {
    struct Field {
      const char* name;
      size_t offset, width;
    };
    static constexpr Field kFields[] = {{"version", 8, 4},
                                        {"compat", 16, 8},
                                        {"ro-compat", 24, 8},
                                        {"incompat", 32, 8},
                                        {"sequence", 40, 8},
                                        {"uuid", 48, 8},
                                        {"label", 64, 8},
                                        {"volume bytes", 96, 8},
                                        {"hash key", 104, 8},
                                        {"created", 120, 8},
                                        {"journal offset", 128, 8},
                                        {"journal bytes", 136, 8},
                                        {"journal generation", 144, 8},
                                        {"state", 152, 4},
                                        {"image crc", 156, 4},
                                        {"image offset", 160, 8},
                                        {"image bytes", 168, 8},
                                        {"block bytes", 176, 4}};
    const bool both = random_() % 4 != 0;
    std::string block = Peek(kSuperblockOffsets[0].value(), kBlockBytes);
    for (uint64_t n = 1 + random_() % 2; n > 0; --n) {
      const Field& field = kFields[random_() % std::size(kFields)];
      const uint64_t number = Odd();
      std::memcpy(block.data() + field.offset, &number, field.width);
      Say(StrCat(both ? "superblocks: " : "superblock 0: ", field.name, " = ", number));
    }
    std::memset(block.data() + 12, 0, 4);
    const uint32_t crc32c = Crc32c(block.data(), kBlockBytes);
    std::memcpy(block.data() + 12, &crc32c, 4);
    device_.Poke(kSuperblockOffsets[0].value(), block);
    if (both) device_.Poke(kSuperblockOffsets[1].value(), block);
  }

  // ---- journal: 32 bytes of header (magic, crc, ..., payload bytes at 24), payload ----
  void ForgeJournal() {
    std::vector<uint64_t> records;
    for (const Place& place : base_.places)
      if (place.kind == PlaceKind::kJournal) records.push_back(place.offset);
    const uint64_t at = records[random_() % records.size()];
    uint32_t payload_bytes = 0;
    device_.Peek(at + 24, {reinterpret_cast<char*>(&payload_bytes), 4});
    const uint64_t length = RoundUp(32 + uint64_t{payload_bytes}, kBlockBytes);
    if (at + length > device_.geometry().size_bytes) return;
    std::string record = Peek(at, length);
    std::string body = record.substr(8, 24 + std::max<uint32_t>(payload_bytes, 1));
    for (uint64_t n = 1 + random_() % 3; n > 0; --n) Mutate(body, /*may_resize=*/false);
    record.replace(8, body.size(), body);
    const uint32_t crc32c = Crc32c(record.data() + 8, length - 8);
    std::memcpy(record.data() + 4, &crc32c, 4);
    // Its copy, where there is one, follows.
    const bool has_copy = Peek(at + length, length).substr(0, 8) == Peek(at, 8);
    device_.Poke(at, record);
    if (has_copy && random_() % 4 != 0) device_.Poke(at + length, record);
    Say(StrCat("journal record at ", at));
  }

  void ForgeAllocatorImage() {
    std::string block = Peek(kSuperblockOffsets[0].value(), kBlockBytes);
    auto superblock = DecodeSuperblock(block);
    CHECK(superblock.ok());
    const DeviceRange range = superblock->allocator_image;
    std::string image = Peek(range.offset.value(), range.length_bytes);
    std::string front = image.substr(0, 64);
    for (uint64_t n = 1 + random_() % 3; n > 0; --n) Mutate(front, /*may_resize=*/false);
    image.replace(0, front.size(), front);
    device_.Poke(range.offset.value(), image);
    superblock->allocator_image_crc32c = Crc32c(image.data(), image.size());
    block = EncodeSuperblock(*superblock);
    for (const DeviceOffset slot : kSuperblockOffsets) device_.Poke(slot.value(), block);
    Say("allocator image");
  }

  // ---- records, through the store ----
  using Record = std::pair<std::string, std::string>;

  void ForgeRecords() {
    const auto slots = SuperblockSlots::Load(device_);
    CHECK(slots.ok(), slots.error().ToString());
    const auto store = Store::Open(device_, **slots, StoreOptions{});
    CHECK(store.ok(), store.error().ToString());
    const std::vector<Record> records = ReadRecords(**store);
    Batch batch;
    for (uint64_t n = random_() % 3 == 0 ? 1 + random_() % 8 : 1; n > 0; --n)
      ForgeRecord(records, batch);
    CHECK((*store)->Write(std::move(batch)).ok() && (*store)->Commit().ok());
    if (random_() % 4 != 0) CHECK((*store)->Close().ok());
  }

  static std::vector<Record> ReadRecords(const Store& store) {
    std::vector<Record> records;
    const auto cursor = store.NewCursor();
    for (cursor->Seek(""); cursor->valid(); cursor->Next())
      records.emplace_back(cursor->key(), cursor->value());
    CHECK(cursor->status().ok());
    return records;
  }

  InodeId AnyInode(const std::vector<Record>& records) {
    for (;;) {
      const auto key = ParseKey(records[random_() % records.size()].first);
      if (key.ok() && key->kind == RecordKind::kInode) return key->inode;
    }
  }

  void ForgeRecord(const std::vector<Record>& records, Batch& batch) {
    // Each kind of record as often as the others.
    const auto wanted = static_cast<RecordKind>(random_() % std::size(kKindNames));
    std::vector<const Record*> of_kind;
    for (const Record& record : records)
      if (const auto key = ParseKey(record.first); key.ok() && key->kind == wanted)
        of_kind.push_back(&record);
    const Record& record = of_kind.empty() ? records[random_() % records.size()]
                                           : *of_kind[random_() % of_kind.size()];
    const auto key = ParseKey(record.first);
    CHECK(key.ok());
    std::string value = record.second;
    switch (random_() % 8) {
      case 0:
        batch.Delete(record.first);
        return Say(StrCat("deleted: ", Name(*key)));
      case 1: {
        std::string other = record.first;
        Mutate(other, random_() % 4 == 0);
        batch.Put(other, value);
        return Say(StrCat("copied to another key: ", Name(*key)));
      }
      case 2: {
        const Record& source =
            of_kind.empty() ? record : *of_kind[random_() % of_kind.size()];
        batch.Put(record.first, source.second);
        return Say(StrCat("value of another: ", Name(*key)));
      }
      case 3:
        Mutate(value, /*may_resize=*/true);
        batch.Put(record.first, value);
        return Say(StrCat("bytes changed: ", Name(*key)));
      default:
        return ForgeFields(*key, record, records, batch);
    }
  }

  static std::string Name(const ParsedKey& key) {
    return StrCat(kKindNames[static_cast<size_t>(key.kind)], " ", key.inode, "/",
                  key.position);
  }

  void ForgeFields(const ParsedKey& key, const Record& record,
                   const std::vector<Record>& records, Batch& batch) {
    std::string value = record.second;
    std::string what;
    switch (key.kind) {
      case RecordKind::kInodeCounter: {
        const uint64_t number = Odd();
        value.assign(reinterpret_cast<const char*>(&number), 8);
        what = StrCat("= ", number);
        break;
      }
      case RecordKind::kInode:
        what = ForgeInode(records, value);
        break;
      case RecordKind::kDentry: {
        // Another inode: an ancestor makes a cycle.
        const uint64_t inode = random_() % 4 == 0   ? Odd()
                               : random_() % 3 == 0 ? 1
                                                    : AnyInode(records).value();
        if (value.size() < 9) break;
        std::memcpy(value.data(), &inode, 8);
        if (random_() % 2 == 0) value[8] = static_cast<char>(random_() % 2 == 0 ? 4 : 8);
        what = StrCat("inode ", inode);
        break;
      }
      case RecordKind::kExtent:
        return ForgeExtent(key, records, batch);
      case RecordKind::kOrphan: {
        const InodeId inode = random_() % 3 == 0 ? InodeId{Odd()} : AnyInode(records);
        batch.Put(OrphanKey(inode), "");
        return Say(StrCat("orphan ", inode));
      }
      case RecordKind::kShared: {
        value.clear();
        ByteWriter writer(value);
        const uint64_t blocks = random_() % 2 == 0 ? 1 + random_() % 64 : Odd() >> 12;
        const uint64_t count = random_() % 2 == 0 ? 1 + random_() % 4 : Odd();
        writer.Varint(blocks);
        writer.Varint(count);
        what = StrCat(blocks, " blocks, count ", count);
        break;
      }
      case RecordKind::kChecksums:
      case RecordKind::kXattr:
      case RecordKind::kScrub:
        Mutate(value, /*may_resize=*/true);
        what = "bytes";
        break;
    }
    batch.Put(record.first, value);
    Say(StrCat(Name(key), ": ", what));
  }

  std::string ForgeInode(const std::vector<Record>& records, std::string& value) {
    struct Field {
      const char* name;
      size_t offset, width;
    };
    static constexpr Field kFields[] = {
        {"link count", 12, 4}, {"size", 16, 8}, {"allocated", 24, 8}, {"parent", 88, 8},
        {"flags", 84, 4},      {"mode", 0, 4},  {"mtime", 40, 8},     {"rdev", 80, 4}};
    if (value.size() < 104) return "nothing";
    const Field& field = kFields[random_() % std::size(kFields)];
    uint64_t number = Odd();
    if (field.offset == 88 && random_() % 2 == 0) number = AnyInode(records).value();
    if (field.offset == 84) number = random_() % 16;
    if (field.offset == 16 && random_() % 2 == 0) number = random_() % 200'000;
    if (field.offset == 0) {
      static constexpr uint32_t kTypes[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFIFO};
      number = kTypes[random_() % std::size(kTypes)] | 0644;
    }
    std::memcpy(value.data() + field.offset, &number, field.width);
    // What has a directory's or a symlink's type must have a parent or a target.
    if (field.offset == 0 && (number & S_IFMT) == S_IFDIR) {
      const uint64_t parent = AnyInode(records).value();
      std::memcpy(value.data() + 88, &parent, 8);
      std::memset(value.data() + 24, 0, 8);
    }
    return StrCat(field.name, " = ", number);
  }

  // Over metadata, over another file's blocks, outside, huge, overlapping in the file.
  void ForgeExtent(const ParsedKey& key, const std::vector<Record>& records,
                   Batch& batch) {
    const uint64_t volume_blocks = device_.geometry().size_bytes / kBlockBytes;
    const Place& place = base_.places[random_() % base_.places.size()];
    uint64_t device_block = place.offset / kBlockBytes;
    if (random_() % 3 == 0) device_block = random_() % volume_blocks;
    if (random_() % 6 == 0) device_block = Odd() / kBlockBytes;
    uint64_t blocks = 1 + random_() % 16;
    if (random_() % 5 == 0) blocks = 1 + Odd() / kBlockBytes;
    InodeId inode = random_() % 3 == 0 ? AnyInode(records) : key.inode;
    uint64_t offset = random_() % 2 == 0 ? key.position : random_() % 64 * kBlockBytes;
    if (random_() % 6 == 0) offset = Odd();
    std::string value(1, static_cast<char>(random_() % 4));
    ByteWriter writer(value);
    writer.Varint(device_block);
    writer.Varint(blocks);
    batch.Put(ExtentKey(inode, FileOffset{offset}), value);
    Say(StrCat("extent ", inode, "/", offset, ": ", blocks, " blocks at block ",
               device_block, ", flags ", static_cast<int>(value[0])));
  }

  MemoryDevice& device_;
  const BaseVolume& base_;
  std::mt19937_64& random_;
  DamageResult result_;
};

}  // namespace

DamageResult ForgeImage(MemoryDevice& device, const BaseVolume& base,
                        std::mt19937_64& random) {
  return Forgery(device, base, random).Run();
}

}  // namespace cofs
