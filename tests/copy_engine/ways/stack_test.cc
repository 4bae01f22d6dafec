// DeviceStack: tables of the device mapper as text, stacks of fixtures, sysfs trees in
// a temporary directory, and a stack that changes under a running copy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "copy_engine/device_stack.h"
#include "copy_engine/stacked_copy_way.h"

namespace cofs {
namespace {

using testing::HasSubstr;
constexpr uint64_t kSector = 512;

TEST(DmTableTest, Parses) {
  const auto targets = ParseDmTable(
      "0 2048 linear 259:1 384\n"
      "\n"
      "2048 4096 striped 2 128 259:1 0 259:2 64\n"
      "6144 8 error");
  ASSERT_TRUE(targets.ok());
  ASSERT_EQ(targets->size(), 3u);
  EXPECT_EQ((*targets)[1].start_sectors, 2048u);
  EXPECT_EQ((*targets)[1].length_sectors, 4096u);
  EXPECT_EQ((*targets)[1].type, "striped");
  EXPECT_EQ((*targets)[1].parameters, "2 128 259:1 0 259:2 64");
  EXPECT_EQ((*targets)[2].parameters, "");
  for (const char* bad : {"0 2048", "x 1 linear 1:1 0", "0 -1 linear 1:1 0",
                          "0 1x linear", "99999999999999999999 1 linear 1:1 0"})
    EXPECT_FALSE(ParseDmTable(bad).ok()) << bad;
}

TEST(DmTableTest, RefusesBadTargets) {
  const auto node_of = [](BlockNumber number) -> Result<StackMap::NodeId> {
    return StackMap::NodeId{number.minor};
  };
  const auto parse = [&](const char* type, const char* parameters) {
    return ParseDmTarget({.start_sectors = 8,
                          .length_sectors = 64,
                          .type = type,
                          .parameters = parameters},
                         node_of);
  };
  const auto good = parse("striped", "2 16 8:1 4 8:2 0");
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->offset, 8 * kSector);
  EXPECT_EQ(good->chunk_bytes, 16 * kSector);
  ASSERT_EQ(good->children.size(), 2u);
  EXPECT_EQ(good->children[0].node, 1u);
  EXPECT_EQ(good->children[0].offset, 4 * kSector);

  const std::pair<const char*, const char*> bad[] = {
      {"linear", ""},
      {"linear", "8:1"},
      {"linear", "8:1 x"},
      {"linear", "81 0"},
      {"linear", "8: 0"},
      {"linear", ":1 0"},
      {"linear", "8:1 0 feature"},
      {"linear", "8:1 99999999999999999"},  // more bytes than 64 bits hold
      {"striped", ""},
      {"striped", "2 16"},
      {"striped", "0 16"},
      {"striped", "2 16 8:1 0"},
      {"striped", "1 16 8:1 0 8:2 0"},
      {"striped", "9223372036854775809 16 8:1 0 8:2 0"},
      {"crypt", "aes-xts-plain64 :64:logon:k 0 8:1 0"},
      {"thin", "253:2 1"},
      {"", ""},
  };
  for (const auto& [type, parameters] : bad) {
    const auto parsed = parse(type, parameters);
    EXPECT_TRUE(parsed.Is(ErrorCode::kNotSupported)) << type << " " << parameters;
  }
}

// Facts and tables by device number; tables as dmsetup writes them.
class FixtureSource : public StackSource {
 public:
  void AddDrive(BlockNumber number, std::string name, uint64_t sectors,
                DriveKind drive = DriveKind::kNvme) {
    facts_[number] = {.name = std::move(name),
                      .size_bytes = sectors * kSector,
                      .kind = BlockKind::kDrive,
                      .drive = drive,
                      .parent = {},
                      .start_bytes = 0,
                      .reason = ""};
  }
  void AddPartition(BlockNumber number, std::string name, uint64_t sectors,
                    BlockNumber parent, uint64_t start) {
    AddDrive(number, std::move(name), sectors);
    facts_[number].kind = BlockKind::kPartition;
    facts_[number].parent = parent;
    facts_[number].start_bytes = start * kSector;
  }
  void AddOther(BlockNumber number, std::string name, std::string reason) {
    AddDrive(number, std::move(name), 1000);
    facts_[number].kind = BlockKind::kOther;
    facts_[number].reason = std::move(reason);
  }
  void SetTable(BlockNumber number, std::string text) {
    AddDrive(number, "dm-" + std::to_string(number.minor), 0);
    facts_[number].kind = BlockKind::kDeviceMapper;
    tables_[number] = std::move(text);
  }
  void SetSuspended(bool suspended) { suspended_ = suspended; }
  int read_count() const { return read_count_; }

  Result<BlockFacts> Describe(BlockNumber number) override {
    if (facts_.count(number) == 0)
      return Error(ErrorCode::kNotSupported, "unknown " + ToString(number));
    return facts_[number];
  }
  Result<DmTable> ReadTable(BlockNumber number) override {
    ++read_count_;
    DmTable table;
    TRY_ASSIGN(table.targets, ParseDmTable(tables_[number]));
    table.uuid = "uuid";
    table.is_suspended = suspended_;
    return table;
  }

 private:
  std::map<BlockNumber, BlockFacts> facts_;
  std::map<BlockNumber, std::string> tables_;
  bool suspended_ = false;
  int read_count_ = 0;
};

constexpr BlockNumber kDriveA{259, 0}, kPartA{259, 1}, kDriveB{259, 2}, kDm0{253, 0},
    kDm1{253, 1};

std::shared_ptr<FixtureSource> TwoDrives() {
  auto source = std::make_shared<FixtureSource>();
  source->AddDrive(kDriveA, "nvme0n1", 100'000);
  source->AddPartition(kPartA, "nvme0n1p1", 50'000, kDriveA, 2048);
  source->AddDrive(kDriveB, "nvme1n1", 100'000);
  return source;
}

void ExpectRun(const DeviceStack& stack, uint64_t sector, const char* leaf,
               uint64_t leaf_sector, uint64_t run_sectors) {
  const StackRun run = stack.map.RunAt(sector * kSector);
  EXPECT_EQ(stack.leaves[run.leaf].name, leaf) << "sector " << sector;
  EXPECT_EQ(run.offset, leaf_sector * kSector) << "sector " << sector;
  EXPECT_EQ(run.length_bytes, run_sectors * kSector) << "sector " << sector;
}

TEST(DeviceStackTest, DriveAndPartition) {
  const auto source = TwoDrives();
  const auto drive = ResolveStack(*source, kDriveA);
  ASSERT_TRUE(drive.ok());
  EXPECT_EQ(drive->description, "nvme0n1");
  ExpectRun(*drive, 7, "nvme0n1", 7, 99'993);
  const auto part = ResolveStack(*source, kPartA);
  ASSERT_TRUE(part.ok());
  EXPECT_EQ(part->description, "nvme0n1p1 on nvme0n1");
  EXPECT_EQ(part->map.size_bytes(), 50'000 * kSector);
  ExpectRun(*part, 0, "nvme0n1", 2048, 50'000);
  ExpectRun(*part, 49'999, "nvme0n1", 52'047, 1);
  // Nothing to change, nobody to ask.
  EXPECT_EQ(part->generation, "");
  EXPECT_EQ(source->read_count(), 0);
}

TEST(DeviceStackTest, LinearOnStripedOnPartitionAndDrive) {
  const auto source = TwoDrives();
  source->SetTable(kDm0, "0 4096 striped 2 128 259:1 256 259:2 0");
  source->SetTable(kDm1, "0 1000 linear 253:0 3000\n1000 500 linear 259:2 50000\n");
  const auto stack = ResolveStack(*source, kDm1);
  ASSERT_TRUE(stack.ok()) << stack.error().ToString();
  EXPECT_EQ(stack->map.size_bytes(), 1500 * kSector);
  EXPECT_EQ(stack->leaves.size(), 2u);
  EXPECT_EQ(stack->description, "dm-1 on nvme0n1, nvme1n1");
  // Sector 3000 of the stripes: chunk 23, the second drive's 12th, 56 sectors in.
  ExpectRun(*stack, 0, "nvme1n1", 11 * 128 + 56, 72);
  ExpectRun(*stack, 72, "nvme0n1", 2048 + 256 + 12 * 128, 128);
  ExpectRun(*stack, 1000, "nvme1n1", 50'000, 500);
  EXPECT_THAT(stack->generation, HasSubstr("striped 2 128 259:1 256 259:2 0"));
  EXPECT_THAT(stack->generation, HasSubstr("linear 253:0 3000"));
  EXPECT_EQ(*ReadGeneration(*source, *stack), stack->generation);
  source->SetTable(kDm0, "0 4096 striped 2 128 259:1 257 259:2 0");
  EXPECT_NE(*ReadGeneration(*source, *stack), stack->generation);
}

TEST(DeviceStackTest, RefusesWhatIsNotUnderstood) {
  const auto source = TwoDrives();
  source->AddOther({9, 0}, "md0", "an md array");
  source->AddPartition({9, 1}, "md0p1", 10, {9, 0}, 0);
  const std::pair<const char*, const char*> tables[] = {
      {"0 100 crypt aes-xts-plain64 key 0 259:0 0", "dm-0: target \"crypt\""},
      {"0 100 linear 9:0 0", "md0: an md array"},
      {"0 100 linear 9:1 0", "md0: an md array"},
      {"0 100 linear 7:7 0", "unknown 7:7"},
      {"0 100 linear 253:0 0", "stacked too deep"},  // on itself
      {"0 100001 linear 259:2 0", "past the end"},
      {"0 100 linear 259:2 0\n100 100 linear 259:2 50", "same blocks below"},
      {"0 100 linear 259:0 2048\n100 100 linear 259:1 99", "same blocks below"},
      {"0 100 linear 259:2 0\n101 100 linear 259:2 200", "gap"},
      {"", "empty table"},
  };
  for (const auto& [table, reason] : tables) {
    source->SetTable(kDm0, table);
    const auto stack = ResolveStack(*source, kDm0);
    ASSERT_TRUE(stack.Is(ErrorCode::kNotSupported)) << table;
    EXPECT_THAT(stack.error().ToString(), HasSubstr(reason)) << table;
  }
  source->SetTable(kDm0, "0 100 linear 259:2 0");
  ASSERT_TRUE(ResolveStack(*source, kDm0).ok());
  source->SetSuspended(true);
  EXPECT_TRUE(ResolveStack(*source, kDm0).Is(ErrorCode::kRetry));
}

// --- The way over a stack ---

struct RunnerLog {
  int opened = 0;
  std::vector<CopyCommand> sent;
  std::vector<std::string> leaves;  // of the last one opened
};

// Sends nothing anywhere: notes what it was to send and completes it.
class NotingRunner : public CommandRunner {
 public:
  explicit NotingRunner(RunnerLog& log) : log_(log) { ++log_.opened; }
  const CopyLimits& limits() const override { return limits_; }
  std::string description() const override { return "noted"; }
  Outcome Run(const CopyPlan& plan, const CopyTask& task,
              CopyProgress& progress) override {
    Outcome outcome;
    for (const CopyCommand& command : plan.commands) {
      if (task.interrupted && task.interrupted()) {
        outcome.stop = CopyStop::kInterrupted;
        break;
      }
      ++outcome.command_count;
      log_.sent.push_back(command);
      progress.AddAll(command);
    }
    return outcome;
  }

 private:
  RunnerLog& log_;
  const CopyLimits limits_{.alignment_bytes = kSector,
                           .segment_bytes_max = 64 * 1024,
                           .command_bytes_max = 64 * 1024,
                           .segments_max = 1,
                           .request_bytes_min = 0};
};

class StackedCopyWayTest : public testing::Test {
 protected:
  void OpenOn(BlockNumber device) {
    auto way = StackedCopyWay::Open(
        CopyWayId::kNvmeCopy, source_, device,
        [this](const DeviceStack& stack) -> Result<std::unique_ptr<CommandRunner>> {
          log_.leaves.clear();
          for (const StackLeaf& leaf : stack.leaves) log_.leaves.push_back(leaf.name);
          return std::unique_ptr<CommandRunner>(new NotingRunner(log_));
        });
    ASSERT_TRUE(way.ok()) << way.error().ToString();
    way_ = *std::move(way);
  }
  CopyOutcome Copy(uint64_t source_block, uint64_t destination_block, uint64_t blocks,
                   std::function<bool()> interrupted = nullptr) {
    const CopyPiece pieces[] = {{DeviceOffset(source_block * kBlockBytes),
                                 DeviceOffset(destination_block * kBlockBytes),
                                 blocks * kBlockBytes}};
    log_.sent.clear();
    return way_->Run({.pieces = pieces,
                      .depth = 4,
                      .interrupted = interrupted,
                      .check_source = nullptr});
  }

  std::shared_ptr<FixtureSource> source_ = TwoDrives();
  RunnerLog log_;
  std::unique_ptr<StackedCopyWay> way_;
};

TEST_F(StackedCopyWayTest, CopiesBelowATable) {
  source_->SetTable(kDm0, "0 800 linear 259:1 0\n800 800 linear 259:2 80");
  OpenOn(kDm0);
  EXPECT_EQ(way_->description(), "noted for dm-0 on nvme0n1, nvme1n1");
  const CopyOutcome outcome = Copy(0, 50, 20);
  EXPECT_EQ(outcome.stop, CopyStop::kDone);
  EXPECT_EQ(outcome.completed_bytes, 20 * kBlockBytes);
  EXPECT_EQ(outcome.command_count, 2u);
  ASSERT_EQ(log_.sent.size(), 2u);
  EXPECT_EQ(log_.sent[0].segments[0].source, 2048 * kSector);
  EXPECT_EQ(log_.sent[0].destination, (2048 + 400) * kSector);

  // The last three blocks would have to change drives.
  const CopyOutcome partial = Copy(20, 97, 6);
  EXPECT_EQ(partial.stop, CopyStop::kNotApplicable);
  EXPECT_EQ(partial.completed_bytes, 3 * kBlockBytes);
  EXPECT_EQ(partial.error->code(), ErrorCode::kNotSupported);
  const CopyOutcome none = Copy(20, 150, 6);
  EXPECT_EQ(none.stop, CopyStop::kNotApplicable);
  EXPECT_EQ(none.completed_bytes, 0u);
  EXPECT_EQ(none.command_count, 0u);
}

TEST_F(StackedCopyWayTest, TableChangedBetweenCopies) {
  source_->SetTable(kDm0, "0 1600 linear 259:1 0");
  OpenOn(kDm0);
  source_->SetTable(kDm0, "0 1600 linear 259:2 800");
  const CopyOutcome outcome = Copy(0, 50, 1);
  EXPECT_EQ(outcome.stop, CopyStop::kDone);
  EXPECT_EQ(log_.leaves, std::vector<std::string>{"nvme1n1"});
  EXPECT_EQ(log_.sent[0].destination, (800 + 400) * kSector);
  EXPECT_EQ(log_.opened, 2);
  EXPECT_EQ(Copy(0, 50, 1).stop, CopyStop::kDone);
  EXPECT_EQ(log_.opened, 2);
}

TEST_F(StackedCopyWayTest, TableChangedDuringACopy) {
  source_->SetTable(kDm0, "0 1600 linear 259:1 0");
  OpenOn(kDm0);
  int polls = 0;
  const CopyOutcome outcome = Copy(0, 100, 60, [&] {
    if (++polls == 2) source_->SetTable(kDm0, "0 1600 linear 259:2 0");
    return false;
  });
  EXPECT_EQ(outcome.stop, CopyStop::kCopyFailed);
  EXPECT_EQ(outcome.completed_bytes, 0u);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code(), ErrorCode::kRetry);
  EXPECT_EQ(Copy(0, 100, 60).stop, CopyStop::kDone);
}

TEST_F(StackedCopyWayTest, SuspendedTableIsForLater) {
  source_->SetTable(kDm0, "0 1600 linear 259:1 0");
  OpenOn(kDm0);
  source_->SetSuspended(true);
  const CopyOutcome outcome = Copy(0, 100, 1);
  EXPECT_EQ(outcome.stop, CopyStop::kNotApplicable);
  EXPECT_TRUE(log_.sent.empty());
  source_->SetSuspended(false);
  const CopyOutcome interrupted = Copy(0, 100, 60, [] { return true; });
  EXPECT_EQ(interrupted.stop, CopyStop::kInterrupted);
  EXPECT_EQ(interrupted.completed_bytes, 0u);
}

TEST_F(StackedCopyWayTest, OverlapsAreNotSent) {
  OpenOn(kPartA);
  const CopyOutcome outcome = Copy(0, 1, 2);
  EXPECT_EQ(outcome.stop, CopyStop::kNotApplicable);
  EXPECT_TRUE(log_.sent.empty());
}

// --- sysfs ---

class SysfsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string text = testing::TempDir() + "cofs-sysfs-XXXXXX";
    ASSERT_NE(::mkdtemp(text.data()), nullptr);
    root_ = text;
    std::filesystem::create_directories(root_ / "dev/block");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  // A device at `path` below devices/, with its /sys/dev/block entry.
  std::filesystem::path AddDevice(const std::string& path, BlockNumber number,
                                  uint64_t sectors) {
    const auto directory = root_ / "devices" / path;
    std::filesystem::create_directories(directory);
    Write(directory / "dev", ToString(number));
    Write(directory / "size", std::to_string(sectors));
    std::filesystem::create_directory_symlink(directory,
                                              root_ / "dev/block" / ToString(number));
    return directory;
  }
  static void Write(const std::filesystem::path& path, const std::string& line) {
    std::ofstream(path) << line << "\n";
  }
  void SetSubsystem(const std::filesystem::path& directory,
                    const std::string& subsystem) {
    std::filesystem::create_directories(root_ / "class" / subsystem);
    std::filesystem::create_directories(directory / "device");
    std::filesystem::create_directory_symlink(root_ / "class" / subsystem,
                                              directory / "device/subsystem");
  }

  std::filesystem::path root_;
};

TEST_F(SysfsTest, Describes) {
  const auto drive = AddDevice("nvme0/nvme0n1", {259, 0}, 1000);
  SetSubsystem(drive, "nvme");
  const auto part = AddDevice("nvme0/nvme0n1/nvme0n1p1", {259, 1}, 500);
  Write(part / "partition", "1");
  Write(part / "start", "34");
  std::filesystem::create_directories(AddDevice("virtual/dm-0", {253, 0}, 8) / "dm");
  std::filesystem::create_directories(AddDevice("virtual/md0", {9, 0}, 8) / "md");
  std::filesystem::create_directories(AddDevice("virtual/loop0", {7, 0}, 8) / "loop");
  std::filesystem::create_directories(AddDevice("virtual/x", {99, 0}, 8) / "slaves/sda");
  SetSubsystem(AddDevice("sda", {8, 0}, 8), "scsi");
  SetSubsystem(AddDevice("vda", {254, 0}, 8), "virtio");
  const auto source = NewSystemStackSource(root_);

  const auto partition = source->Describe({259, 1});
  ASSERT_TRUE(partition.ok());
  EXPECT_EQ(partition->name, "nvme0n1p1");
  EXPECT_EQ(partition->kind, BlockKind::kPartition);
  EXPECT_EQ(partition->parent, (BlockNumber{259, 0}));
  EXPECT_EQ(partition->start_bytes, 34 * kSector);
  EXPECT_EQ(partition->size_bytes, 500 * kSector);
  const auto whole = source->Describe({259, 0});
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->kind, BlockKind::kDrive);
  EXPECT_EQ(whole->drive, DriveKind::kNvme);
  EXPECT_EQ(source->Describe({8, 0})->drive, DriveKind::kScsi);
  EXPECT_EQ(source->Describe({253, 0})->kind, BlockKind::kDeviceMapper);

  const std::pair<BlockNumber, const char*> others[] = {
      {{9, 0}, "md array"},
      {{7, 0}, "loop"},
      {{99, 0}, "other devices"},
      {{254, 0}, "virtio drives have no copy command"}};
  for (const auto& [number, reason] : others) {
    const auto facts = source->Describe(number);
    ASSERT_TRUE(facts.ok());
    EXPECT_EQ(facts->kind, BlockKind::kOther);
    EXPECT_THAT(facts->reason, HasSubstr(reason));
  }
  EXPECT_TRUE(source->Describe({1, 1}).Is(ErrorCode::kNotSupported));
  Write(drive / "size", "not a number");
  EXPECT_TRUE(source->Describe({259, 0}).Is(ErrorCode::kNotSupported));
}

}  // namespace
}  // namespace cofs
