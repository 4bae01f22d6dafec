#include "tests/image/base_volume.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <map>

#include "base/check.h"
#include "base/file_descriptor.h"
#include "extent_map/records.h"
#include "extent_map/store/file_table.h"
#include "extent_map/store/store.h"
#include "tests/core/test_volume.h"
#include "tests/crash/history.h"
#include "tests/crash/scene.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 64 << 20;
constexpr int kManyFiles = 500;

template <typename T>
T Value(Result<T> result) {
  CHECK(result.ok(), result.ok() ? "" : result.error().ToString());
  return std::move(result).value();
}

void CheckOk(const Status& status) {
  CHECK(status.ok(), status.ok() ? "" : status.error().ToString());
}

using SeenData = std::map<InodeId, std::shared_ptr<const std::string>>;

void AddFacts(const Model& model, SeenData& seen, Facts& facts) {
  for (const auto& [id, node] : model.nodes()) {
    if (node.is_file()) {
      const auto [known, is_new] = seen.try_emplace(id, node.data);
      if (is_new || known->second != node.data)
        facts.Add(ContentFact(id, node.data == nullptr ? "" : *node.data));
      known->second = node.data;
    }
    if (!node.target.empty()) facts.Add("target " + node.target);
    for (const auto& [name, value] : node.xattrs) facts.Add(XattrFact(id, name, value));
    for (const auto& [name, child] : node.entries) facts.Add("name " + name);
  }
}

void AddFacts(const History& history, Facts& facts) {
  SeenData seen;
  Model model = history.base();
  for (const History::Change& change : history.changes()) {
    change.apply(model);
    AddFacts(model, seen, facts);
  }
}

PlaceKind KindOfFile(std::string_view name) {
  if (name.ends_with(".sst")) return PlaceKind::kTable;
  if (name.ends_with(".log")) return PlaceKind::kWal;
  if (name.starts_with("MANIFEST-")) return PlaceKind::kManifest;
  return PlaceKind::kSmallFile;
}

void AddRange(PlaceKind kind, DeviceRange range, std::vector<Place>& places) {
  for (uint64_t at = 0; at < range.length_bytes; at += kBlockBytes)
    places.push_back({kind, range.offset.value() + at});
}

void AddStorePlaces(MemoryDevice& device, const Superblock& superblock,
                    std::vector<Place>& places) {
  using store::FileTable;
  store::FailureLatch latch;
  const auto table = Value(FileTable::Load(
      device, {superblock.journal, superblock.journal_generation}, /*read_only=*/true,
      latch, [](DeviceRange, uint64_t) { return OkStatus(); }));
  for (const std::string& name : table->Names()) {
    const store::FileLayout layout = table->LayoutOf(*table->Find(name));
    store::ForEachRun(
        layout.extents, 0, layout.block_count,
        [&](DeviceRange range, uint64_t) { AddRange(KindOfFile(name), range, places); });
  }
}

void AddDataPlaces(MemoryDevice& device, SuperblockSlots& slots,
                   std::vector<Place>& places) {
  StoreOptions options;
  options.read_only = true;
  const auto store = Value(Store::Open(device, slots, options));
  const KeyRange keys = AllFileRecords();
  const auto cursor = store->NewCursor(keys.first, keys.last);
  for (cursor->Seek(keys.first); cursor->valid(); cursor->Next()) {
    const ParsedKey key = Value(ParseKey(cursor->key()));
    if (key.kind != RecordKind::kExtent) continue;
    const Extent extent = Value(DecodeExtent(FileOffset{key.position}, cursor->value()));
    AddRange(PlaceKind::kData, {extent.device_offset, extent.length_bytes}, places);
  }
  CheckOk(cursor->status());
}

void FindPlaces(BaseVolume& base) {
  const auto copy = base.device->Fork();
  const auto slots = Value(SuperblockSlots::Load(*copy));
  const Superblock superblock = slots->current();
  for (const DeviceOffset offset : kSuperblockOffsets)
    base.places.push_back({PlaceKind::kSuperblock, offset.value()});
  std::string block(kBlockBytes, '\0');
  for (uint64_t at = 0; at < superblock.journal.length_bytes; at += kBlockBytes) {
    const uint64_t place = superblock.journal.offset.value() + at;
    copy->Peek(place, block);
    if (block.starts_with("cJRN")) base.places.push_back({PlaceKind::kJournal, place});
  }
  AddRange(PlaceKind::kAllocatorImage, superblock.allocator_image, base.places);
  AddStorePlaces(*copy, superblock, base.places);
  AddDataPlaces(*copy, *slots, base.places);
}

// A volume on `memory` and the history of what is done to it.
struct Making {
  MemoryDevice& memory;
  std::unique_ptr<Volume> volume = Value(Volume::Mount(Borrow(memory), QuietOptions()));
  History history{*volume, {}};

  void Remount() {
    CheckOk(volume->Unmount());
    volume.reset();
    volume = Value(Volume::Mount(Borrow(memory), QuietOptions()));
    history.Continue(*volume);
  }
};

// Each operation of the scenes once; what is left open stays in `open`.
void RunScenes(Making& making, size_t from, size_t to, std::vector<Scene>* open) {
  History& history = making.history;
  const auto& operations = SceneOperations();
  for (size_t i = from; i < std::min(to, operations.size()); i += 4) {
    const Scene scene = Scene::Make(history, Numbered("s", static_cast<int64_t>(i)));
    for (size_t k = i; k < std::min(i + 4, operations.size()); ++k)
      operations[k].run(history, scene);
    Persist(history, scene, i);
    if (open == nullptr)
      scene.Leave(history);
    else
      open->push_back(scene);
  }
}

void MakeMany(Making& making) {
  InodeId directory{};
  for (int i = 0; i < kManyFiles; ++i) {
    if (i % 100 == 0)
      directory = making.history.Create(kRootInode, Numbered("d", i), Directory());
    const InodeId file = making.history.Create(directory, Numbered("file", i), File());
    if (i % 3 != 0) making.history.Write(file, (i % 5) * 4096, 1 + i * 37 % 12000);
    if (i % 50 == 0)
      making.history.SetXattr(file, "user.long",
                              CrashBytes(static_cast<uint64_t>(i), 9000));
    making.volume->Forget(file, 1);
    if (i % 170 == 169) making.Remount();
  }
}

}  // namespace

std::string ContentFact(InodeId inode, std::string_view bytes) {
  return StrCat("content ", inode, " ", bytes.size(), " ", HashOf(bytes));
}

std::string XattrFact(InodeId inode, std::string_view name, std::string_view value) {
  return StrCat("xattr ", inode, " ", name, " ", HashOf(value));
}

std::string_view NameOf(PlaceKind kind) {
  constexpr std::string_view kNames[kPlaceKindCount] = {
      "superblock", "journal",         "WAL", "MANIFEST", "table",
      "small file", "allocator image", "data"};
  return kNames[static_cast<size_t>(kind)];
}

BaseVolume MakeBase(int index) {
  BaseVolume base;
  base.device = FormattedMemory(kVolumeBytes);
  {
    Making making{*base.device};
    const size_t half = SceneOperations().size() / 2;
    std::vector<Scene> open;
    if (index == 0) {
      RunScenes(making, 0, half, nullptr);
      making.Remount();
      RunScenes(making, half, SIZE_MAX, nullptr);
    } else if (index == 1) {
      RunScenes(making, 0, half, nullptr);
      making.Remount();
      RunScenes(making, half, SIZE_MAX, &open);
      for (const Scene& scene : open) making.history.Unlink(scene.d, "c");
      making.history.SyncAll();
      for (const Scene& scene : open) making.history.Append(scene.b, 3000);
    } else if (index == 2) {
      MakeMany(making);
    }
    AddFacts(making.history, base.facts);
    if (index == 1) {
      making.volume.reset();  // as a crash
    } else {
      CheckOk(making.volume->Unmount());
    }
  }
  FindPlaces(base);
  return base;
}

void SaveImage(const MemoryDevice& device, const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  CHECK(fd.valid(), path);
  const uint64_t size = device.geometry().size_bytes;
  CHECK(::ftruncate(fd.get(), static_cast<off_t>(size)) == 0, path);
  std::string piece(MemoryDevice::kPageBytes, '\0');
  for (uint64_t at = 0; at < size; at += piece.size()) {
    device.Peek(at, piece);
    if (piece.find_first_not_of('\0') == std::string::npos) continue;
    CHECK(::pwrite(fd.get(), piece.data(), piece.size(), static_cast<off_t>(at)) ==
              static_cast<ssize_t>(piece.size()),
          path);
  }
}

std::unique_ptr<MemoryDevice> LoadImage(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat stat {};
  CHECK(fd.valid() && ::fstat(fd.get(), &stat) == 0, path);
  auto device = std::make_unique<MemoryDevice>(static_cast<uint64_t>(stat.st_size));
  std::string piece(MemoryDevice::kPageBytes, '\0');
  for (uint64_t at = 0; at < device->geometry().size_bytes; at += piece.size()) {
    CHECK(::pread(fd.get(), piece.data(), piece.size(), static_cast<off_t>(at)) ==
              static_cast<ssize_t>(piece.size()),
          path);
    if (piece.find_first_not_of('\0') != std::string::npos) device->Poke(at, piece);
  }
  return device;
}

void SaveBase(const BaseVolume& base, const std::string& path) {
  SaveImage(*base.device, path + ".img");
  std::ofstream text(path + ".txt");
  for (const Place& place : base.places)
    text << "place " << static_cast<int>(place.kind) << ' ' << place.offset << '\n';
  for (const std::string& fact : base.facts.all()) text << fact << '\n';
  CHECK(text.flush().good(), path);
}

BaseVolume LoadBase(const std::string& path) {
  BaseVolume base;
  base.device = LoadImage(path + ".img");
  std::ifstream text(path + ".txt");
  for (std::string line; std::getline(text, line);) {
    int kind = 0;
    uint64_t offset = 0;
    if (std::sscanf(line.c_str(), "place %d %lu", &kind, &offset) == 2)
      base.places.push_back({static_cast<PlaceKind>(kind), offset});
    else
      base.facts.Add(line);
  }
  CHECK(!base.places.empty(), path);
  return base;
}

}  // namespace cofs
