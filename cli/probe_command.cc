#include "cli/probe_command.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/aligned_buffer.h"
#include "cli/copy_facts.h"
#include "cli/mount_list.h"
#include "cli/volume_client.h"
#include "copy_engine/copy_probe.h"
#include "copy_engine/copy_ways_json.h"
#include "device/device_use.h"
#include "device/file_device.h"
#include "device/signature.h"
#include "extent_map/mount_protection.h"
#include "extent_map/store/store.h"
#include "extent_map/superblock.h"
#include "fs/core/inode_numbers.h"
#include "fs/core/recovery.h"

namespace cofs {
namespace {

using Json = StatsJson;

// One range, whose contents are put back.
class RestoringScratch final : public CopyScratch {
 public:
  RestoringScratch(BlockDevice& device, DeviceRange range) : device_(device), range_(range) {}

  Result<DeviceRange> Borrow(uint64_t bytes_max) override {
    DeviceRange range = range_;
    range.length_bytes = std::min(range.length_bytes, bytes_max);
    before_ = AlignedBuffer(range.length_bytes);
    TRY(device_.Read(range.offset, before_.span()));
    return range;
  }
  void Return(DeviceRange range) override {
    Status restored = device_.Write(range.offset, before_.span());
    if (restored.ok()) restored = device_.Flush();
    if (!restored.ok())
      LogError(StrCat("what was at ", range.offset, " can't be put back: ",
                      restored.error().ToString()));
  }

 private:
  BlockDevice& device_;
  const DeviceRange range_;
  AlignedBuffer before_;
};

// What is on the device, and where a trial may write.
struct Contents {
  std::string words;
  std::optional<DeviceRange> scratch{};
  std::string trial;  // where it is done, or why it is not
};

std::string PlaceOf(DeviceRange range) {
  return StrCat(FormatBytes(range.length_bytes), " at offset ", range.offset);
}

// A free run of a volume that nobody has mounted; its metadata is only read.
Result<DeviceRange> FreeRunOf(BlockDevice& device, SuperblockSlots& slots) {
  const Superblock superblock = slots.current();
  StoreOptions options;
  options.read_only = true;
  TRY_ASSIGN(const std::unique_ptr<Store> store,
             Store::Open(device, slots, std::move(options)));
  TRY_ASSIGN(const InodeId counter, InodeNumbers::ReadCounter(*store));
  TRY_ASSIGN(RecoveredSpace space, RecoverSpace(device, *store, superblock, counter));
  // The image of the free space lies in free space.
  const DeviceRange image = superblock.allocator_image;
  DeviceRange best;
  for (const DeviceRange& run : space.allocator->FreeRuns()) {
    const DeviceRange parts[2] = {
        {run.offset, std::min(run.end(), std::max(run.offset, image.offset)) - run.offset},
        {std::max(run.offset, std::min(run.end(), image.end())),
         run.end() - std::max(run.offset, std::min(run.end(), image.end()))}};
    for (const DeviceRange& part : parts)
      if (part.length_bytes > best.length_bytes) best = part;
  }
  if (best.length_bytes < kProbeScratchBytesMin)
    return Error(ErrorCode::kNoSpace, "no free run for a trial copy");
  best.length_bytes = std::min(best.length_bytes, kProbeScratchBytesMax);
  return best;
}

// Whether a way was there to be tried.
bool HasTried(const Json& ways) {
  return std::any_of(ways.begin(), ways.end(), [](const Json& way) {
    const std::string state = StatsText(way, "state");
    return StatsText(way, "way") != "buffered" && !state.empty() && state != "absent" &&
           state != "not proved";
  });
}
constexpr const char* kNothingToTry = "none: there is no way to be tried";

class Prober {
 public:
  Prober(std::string path, const ProbeOptions& options)
      : path_(std::move(path)), options_(options) {}

  Result<Json> Run() {
    struct stat info;
    if (::stat(path_.c_str(), &info) != 0) return ErrorOfErrno(errno, Printable(path_));
    if (S_ISDIR(info.st_mode)) return FromMount(path_);
    if (const auto mount = FindMountOf(path_)) return FromMount(*mount);
    return FromDevice();
  }

 private:
  static Result<Json> FromMount(const std::string& directory) {
    TRY_ASSIGN(const VolumeClient client, VolumeClient::Open(directory));
    TRY_ASSIGN(const std::string text, client.StatsText());
    const Json stats = Json::parse(text, nullptr, false);
    if (!stats.is_object())
      return Error(ErrorCode::kCorrupt, "the daemon's statistics are no JSON object");
    Json out;
    out["device"] = StatsText(StatsPart(stats, "volume"), "device");
    out["contents"] = "cofs volume, mounted at " +
                      StatsText(StatsPart(stats, "volume"), "mounted_at");
    const Json& ways = StatsList(StatsPart(stats, "copy"), "ways");
    out["trial"] = StatsFlag(stats, "read_only") ? "none: the mount is read-only"
                   : HasTried(ways)              ? "by the daemon, in free blocks"
                                                 : kNothingToTry;
    out["ways"] = ways;
    return out;
  }

  Result<Json> FromDevice() {
    const Result<std::string> use = FindDeviceUse(path_);
    const bool is_used = !use.ok() || !use->empty();
    FileDevice::Options device_options;
    auto opened = FileDevice::Open(path_, OpenMode::kReadWrite, device_options);
    if (!opened.ok() && !opened.Is(ErrorCode::kBusy)) return opened.error();
    if (!opened.ok())
      return opened.error().Within("it can be probed when nobody else uses it");
    FileDevice& device = **opened;
    Contents contents;
    if (is_used) {
      contents.words = use.ok() ? *use : use.error().ToString();
      contents.trial = "none: it is in use";
    } else {
      TRY_ASSIGN(contents, Look(device));
    }
    std::optional<RestoringScratch> scratch;
    if (contents.scratch) scratch.emplace(device, *contents.scratch);
    CopyEngine::Options options;
    options.scratch = scratch ? &*scratch : nullptr;
    TRY_ASSIGN(const auto engine, CopyEngine::Create(device, options));
    Json out;
    out["device"] = path_;
    out["size_bytes"] = device.geometry().size_bytes;
    out["contents"] = contents.words;
    out["trial"] = contents.trial;
    Json ways = Json::array();
    for (const CopyWayState& state : engine->ways(CopyVerify::kSample)) {
      Json way;
      way["way"] = NameOf(state.id);
      AddWayJson(state, way);
      ways.push_back(std::move(way));
    }
    if (contents.scratch && !HasTried(ways)) out["trial"] = kNothingToTry;
    out["ways"] = std::move(ways);
    return out;
  }

  Result<Contents> Look(BlockDevice& device) {
    Contents contents;
    auto slots = SuperblockSlots::Load(device);
    if (slots.ok()) {
      contents.words = "cofs volume, not mounted";
      TRY(CheckHeartbeat(device, LeftHeartbeat::kKeep));
      if (options_.scratch)
        return Error(ErrorCode::kInvalidArgument,
                     "--scratch is not for a cofs volume: its free blocks are found by itself");
      const Result<DeviceRange> run = FreeRunOf(device, **slots);
      if (run.ok()) {
        contents.scratch = *run;
        contents.trial = "in free blocks of the volume, " + PlaceOf(*run);
      } else {
        contents.trial = "none: " + run.error().ToString();
      }
      return contents;
    }
    const bool is_damaged_cofs = !slots.Is(ErrorCode::kNotCofs);
    TRY_ASSIGN(const std::string signature, FindForeignSignature(path_));
    contents.words = is_damaged_cofs          ? slots.error().ToString()
                     : signature.empty() ? "nothing known"
                                         : signature;
    if (options_.scratch) {
      TRY(CheckRange(device.geometry(), options_.scratch->offset,
                     options_.scratch->length_bytes));
      if (options_.scratch->length_bytes < kProbeScratchBytesMin)
        return Error(ErrorCode::kInvalidArgument,
                     StrCat("--scratch is shorter than ", FormatBytes(kProbeScratchBytesMin)));
      contents.scratch = options_.scratch;
      contents.trial = "in " + PlaceOf(*options_.scratch) + ", put back afterwards";
    } else if (is_damaged_cofs || !signature.empty()) {
      contents.trial = "none: there is something on it; --scratch OFFSET:LENGTH allows one";
    } else if (!options_.write_test) {
      contents.trial = "none: --write-test allows one";
    } else {
      const uint64_t size_bytes = device.geometry().size_bytes;
      const uint64_t bytes = std::min(RoundDown(size_bytes / 4, kBlockBytes),
                                      kProbeScratchBytesMax);
      if (bytes < kProbeScratchBytesMin)
        return Error(ErrorCode::kInvalidArgument, "too small for a trial copy");
      contents.scratch =
          DeviceRange{DeviceOffset(RoundDown(size_bytes / 2, kBlockBytes)), bytes};
      contents.trial = "in " + PlaceOf(*contents.scratch) + ", put back afterwards";
    }
    return contents;
  }

  const std::string path_;
  const ProbeOptions options_;
};

std::string Render(const Json& probe) {
  FactSheet sheet;
  sheet.Section("Device");
  sheet.Fact("device", StatsText(probe, "device"));
  if (const uint64_t bytes = StatsNumber(probe, "size_bytes"); bytes > 0)
    sheet.Fact("size", FormatBytes(bytes));
  sheet.Fact("contents", StatsText(probe, "contents"));
  sheet.Fact("trial copy", StatsText(probe, "trial"));
  sheet.Section("Ways of copying");
  WayFacts(probe, sheet);
  return sheet.Render();
}

}  // namespace

int RunProbe(const std::string& path, const ProbeOptions& options) {
  SetLogLevel(LogLevel::kWarning);
  const Result<Json> probe = Prober(path, options).Run();
  if (!probe.ok()) {
    LogError(probe.error().ToString());
    return probe.Is(ErrorCode::kInvalidArgument) ? 1 : 2;
  }
  std::fputs((options.json ? probe->dump(2, ' ', true, Json::error_handler_t::replace) + "\n"
                           : Render(*probe))
                 .c_str(),
             stdout);
  return 0;
}

}  // namespace cofs
