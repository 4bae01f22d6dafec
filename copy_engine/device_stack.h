// DeviceStack: what a block device is made of, down to the drives that could copy.
//
// Understood are partitions, dm-linear and dm-striped, in any nesting. Everything
// else (md, dm-crypt, dm-thin, loop, ...) is kNotSupported with the reason in words,
// and means that there is no copy by the device: commands to the drive pass below the
// layer that would have changed the data or the place.
//
// Tables can change while the device is in use. ReadGeneration() before a plan is
// made and after its last command has completed tells whether the plan was true in
// between.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "copy_engine/stack_map.h"
#include "device/block_node.h"

namespace cofs {

// Of sysfs and of device-mapper tables, whatever the drive's own block size is.
inline constexpr uint64_t kSectorBytes = 512;

std::string ToString(BlockNumber number);  // "259:1"

// One line of a device-mapper table.
struct DmTarget {
  uint64_t start_sectors = 0;
  uint64_t length_sectors = 0;
  std::string type;
  std::string parameters;
};

struct DmTable {
  std::vector<DmTarget> targets;
  std::string uuid;
  uint32_t event_number = 0;
  bool is_suspended = false;
};

enum class BlockKind : uint8_t { kDrive, kPartition, kDeviceMapper, kOther };
enum class DriveKind : uint8_t { kNone, kNvme, kScsi };

// What is known about one block device by itself.
struct BlockFacts {
  std::string name;  // "nvme0n1"
  uint64_t size_bytes = 0;
  BlockKind kind = BlockKind::kDrive;
  DriveKind drive = DriveKind::kNone;  // kDrive
  BlockNumber parent;                  // kPartition
  uint64_t start_bytes = 0;            // kPartition, on the parent
  std::string reason;                  // kOther: why nothing can be said about it
};

// Where the facts come from: sysfs and the device mapper, or a test's fixture.
// Functions may be called from any thread.
class StackSource {
 public:
  virtual ~StackSource() = default;
  virtual Result<BlockFacts> Describe(BlockNumber number) = 0;
  virtual Result<DmTable> ReadTable(BlockNumber number) = 0;
};

struct StackLeaf {
  BlockNumber number;
  std::string name;
  DriveKind drive = DriveKind::kNone;
  uint64_t size_bytes = 0;
};

struct DeviceStack {
  StackMap map;
  std::vector<StackLeaf> leaves;    // by the leaf numbers of `map`
  std::vector<BlockNumber> tables;  // its device-mapper devices
  std::string generation;           // of those tables, as ReadGeneration()
  std::string description;          // "dm-0 on nvme0n1p1, nvme1n1"
};

// kNotSupported for what is not understood, in words.
Result<DeviceStack> ResolveStack(StackSource& source, BlockNumber device);

// A text that differs when any of the stack's tables does; empty, without asking
// anybody, for a stack without tables. kRetry while one of them is suspended.
Result<std::string> ReadGeneration(StackSource& source, const DeviceStack& stack);

// The lines of `dmsetup table`: "START LENGTH TYPE PARAMETERS".
Result<std::vector<DmTarget>> ParseDmTable(std::string_view text);

// One segment of a linear or striped target; `node_of` gives the node of a device.
Result<StackMap::Segment> ParseDmTarget(
    const DmTarget& target,
    const std::function<Result<StackMap::NodeId>(BlockNumber)>& node_of);

// The real ones. `sysfs_root` is "/sys" except in tests.
std::unique_ptr<StackSource> NewSystemStackSource(std::string sysfs_root = "/sys");

}  // namespace cofs
