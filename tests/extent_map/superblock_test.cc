// The superblock's bytes, and the two slots under damage, errors and torn writes.
#include "extent_map/superblock.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "device/memory_device.h"
#include "tests/extent_map/hex.h"
#include "tests/extent_map/random.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 1ull << 30;

Superblock Example() {
  Superblock superblock;
  superblock.compat = 0x11;
  superblock.ro_compat = 0x22;
  superblock.sequence = 7;
  for (size_t i = 0; i < 16; ++i) superblock.uuid.bytes[i] = static_cast<uint8_t>(i);
  superblock.label = "data";
  superblock.volume_bytes = kVolumeBytes;
  superblock.name_hash_key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
  superblock.created_s = 0x65000000;
  superblock.journal = {DeviceOffset{2 << 20}, 1 << 20};
  superblock.journal_generation = 3;
  superblock.clean = true;
  superblock.allocator_image = {DeviceOffset{0x10000000}, 0x3000};
  superblock.allocator_image_crc32c = 0xaabbccdd;
  return superblock;
}

constexpr size_t kGoldenBytes = 192;  // the rest is zero
const char kGoldenHex[] =
    "89 636f6673 0d0a1a 01000000 8eee5296 1100000000000000 2200000000000000"
    "0000000000000000 0700000000000000 000102030405060708090a0b0c0d0e0f"
    "6461746100000000000000000000000000000000000000000000000000000000"
    "0000004000000000 0001020304050607 08090a0b0c0d0e0f 0000006500000000"
    "0000200000000000 0000100000000000 0300000000000000 01000000 ddccbbaa"
    "0000001000000000 0030000000000000 00100000 000000000000000000000000";

bool Same(const Superblock& a, const Superblock& b) {
  return EncodeSuperblock(a) == EncodeSuperblock(b);
}

// `block` with `hex` at `place` and the checksum made right again.
std::string Patched(std::string block, size_t place, std::string_view hex) {
  const std::string bytes = FromHex(hex);
  block.replace(place, bytes.size(), bytes);
  block.replace(12, 4, 4, '\0');
  const uint32_t crc = Crc32c(block.data(), block.size());
  block.replace(12, 4, reinterpret_cast<const char*>(&crc), 4);
  return block;
}

TEST(Superblock, GoldenBytes) {
  const std::string block = EncodeSuperblock(Example());
  ASSERT_EQ(block.size(), kBlockBytes);
  EXPECT_EQ(ToHex(block.substr(0, kGoldenBytes)), PlainHex(kGoldenHex));
  EXPECT_EQ(block.find_first_not_of('\0', kGoldenBytes), std::string::npos);
  std::string golden = FromHex(kGoldenHex);
  golden.resize(kBlockBytes);
  const auto again = DecodeSuperblock(golden);
  ASSERT_TRUE(again.ok()) << again.error().ToString();
  EXPECT_EQ(again->label, "data");
  EXPECT_EQ(again->journal, Example().journal);
  EXPECT_TRUE(Same(*again, Example()));
}

TEST(Superblock, LabelsOfEveryLength) {
  for (size_t length = 0; length <= kLabelBytesMax; ++length) {
    Superblock superblock = Example();
    superblock.label = std::string(length, 'x');
    EXPECT_EQ(DecodeSuperblock(EncodeSuperblock(superblock))->label, superblock.label);
  }
}

TEST(Superblock, RefusesDamage) {
  const std::string good = EncodeSuperblock(Example());
  struct Case {
    const char* what;
    std::string block;
    ErrorCode code;
  };
  std::string bad_sum = good;
  bad_sum[4000] = 1;
  const Case cases[] = {
      {"short", good.substr(1), ErrorCode::kInvalidArgument},
      {"zeros", std::string(kBlockBytes, '\0'), ErrorCode::kNotCofs},
      {"magic", Patched(good, 0, "88"), ErrorCode::kNotCofs},
      {"a flipped bit", bad_sum, ErrorCode::kCorrupt},
      {"newer version", Patched(good, 8, "02000000"), ErrorCode::kUnsupportedFormat},
      {"incompat", Patched(good, 32, "0000000000000080"), ErrorCode::kUnsupportedFormat},
      {"sequence 0", Patched(good, 40, "00"), ErrorCode::kCorrupt},
      {"label padding", Patched(good, 70, "61"), ErrorCode::kCorrupt},
      {"volume too small", Patched(good, 96, "0000000000000000"), ErrorCode::kCorrupt},
      {"volume is not blocks", Patched(good, 96, "01"), ErrorCode::kCorrupt},
      {"volume too large", Patched(good, 96, "00000000000000f0"), ErrorCode::kCorrupt},
      {"journal in the reserved region", Patched(good, 128, "0000100000000000"),
       ErrorCode::kCorrupt},
      {"journal is nothing", Patched(good, 136, "0000000000000000"), ErrorCode::kCorrupt},
      {"journal past the end", Patched(good, 128, "0010f03f00000000"), ErrorCode::kCorrupt},
      {"journal overflows", Patched(good, 128, "00f0ffffffffffff"), ErrorCode::kCorrupt},
      {"journal is not blocks", Patched(good, 128, "01"), ErrorCode::kCorrupt},
      {"unknown state", Patched(good, 152, "03000000"), ErrorCode::kCorrupt},
      {"image past the end", Patched(good, 160, "00f0ff3f00000000"), ErrorCode::kCorrupt},
      {"image without a length", Patched(good, 168, "0000000000000000"),
       ErrorCode::kCorrupt},
      {"block size", Patched(good, 176, "00020000"), ErrorCode::kCorrupt},
      {"reserved", Patched(good, 180, "01"), ErrorCode::kCorrupt},
      {"reserved, last", Patched(good, 4095, "01"), ErrorCode::kCorrupt},
  };
  for (const Case& test : cases) {
    const auto got = DecodeSuperblock(test.block);
    EXPECT_TRUE(got.Is(test.code)) << test.what;
  }
}

TEST(Superblock, AnyBytesAreRefusedOrAreCanonical) {
  TestRandom random;
  const std::string good = EncodeSuperblock(Example());
  for (int i = 0; i < 20000; ++i) {
    const std::string byte(1, static_cast<char>(random.Below(256)));
    const std::string block = Patched(good, random.Below(200), ToHex(byte));
    const auto got = DecodeSuperblock(block);
    if (got.ok()) {
      ASSERT_EQ(EncodeSuperblock(*got), block);
    }
  }
}

// A device whose writes can tear and whose places can be unreadable.
class FaultyDevice : public BlockDevice {
 public:
  explicit FaultyDevice(uint64_t size_bytes) : memory_(size_bytes) {}
  const DeviceGeometry& geometry() const override { return memory_.geometry(); }
  Status Execute(std::span<IoOp> ops) override {
    for (IoOp& op : ops) {
      if (op.kind == IoKind::kFlush) ++flush_count;
      if (operations_left && (*operations_left)-- == 0) {
        operations_left = 0;
        if (op.kind == IoKind::kWrite)  // a part of it reached the medium
          memory_.Poke(op.offset.value(), {op.data, 64});
        return Error(ErrorCode::kIo, "injected");
      }
      if (op.kind == IoKind::kRead && unreadable && *unreadable == op.offset)
        return Error(ErrorCode::kIo, "injected");
    }
    return memory_.Execute(ops);
  }
  std::unique_ptr<IoQueue> NewQueue(unsigned depth) override {
    return memory_.NewQueue(depth);
  }
  MemoryDevice& memory() { return memory_; }
  void Flip(DeviceOffset offset) {
    char byte;
    memory_.Peek(offset.value(), {&byte, 1});
    byte = static_cast<char>(byte ^ 0x10);
    memory_.Poke(offset.value(), {&byte, 1});
  }
  void Put(int slot, const std::string& block) {
    memory_.Poke(kSuperblockOffsets[slot].value(), block);
  }

  std::optional<uint64_t> operations_left;  // then all fail
  std::optional<DeviceOffset> unreadable;
  int flush_count = 0;

 private:
  MemoryDevice memory_;
};

class SlotsTest : public testing::Test {
 protected:
  void SetUp() override {
    SetLogSink([this](LogLevel level, std::string_view) {
      if (level == LogLevel::kWarning) ++warning_count_;
    });
    ASSERT_TRUE(SuperblockSlots::Format(device_, Example()).ok());
  }
  void TearDown() override { SetLogSink(nullptr); }
  std::unique_ptr<SuperblockSlots> Load() {
    auto slots = SuperblockSlots::Load(device_);
    EXPECT_TRUE(slots.ok()) << (slots.ok() ? "" : slots.error().ToString());
    return slots.ok() ? std::move(*slots) : nullptr;
  }
  ErrorCode LoadError() {
    const auto slots = SuperblockSlots::Load(device_);
    EXPECT_FALSE(slots.ok());
    return slots.ok() ? ErrorCode::kExists : slots.error().code();
  }

  FaultyDevice device_{kVolumeBytes};
  int warning_count_ = 0;
};

TEST_F(SlotsTest, LoadsWhatFormatWrote) {
  const auto slots = Load();
  EXPECT_EQ(slots->current().label, "data");
  EXPECT_EQ(slots->current().sequence, 8u);
  EXPECT_EQ(warning_count_, 0);
}

TEST_F(SlotsTest, EitherCopyMayBeDamagedOrUnreadable) {
  for (DeviceOffset place : kSuperblockOffsets) {
    device_.Flip(place + 70);
    EXPECT_EQ(Load()->current().label, "data");
    device_.Flip(place + 70);
    device_.Flip(place);  // not even the magic
    EXPECT_EQ(Load()->current().label, "data");
    device_.Flip(place);
    device_.unreadable = place;
    EXPECT_EQ(Load()->current().label, "data");
    device_.unreadable.reset();
  }
  EXPECT_EQ(warning_count_, 6);
}

TEST_F(SlotsTest, BothDamaged) {
  device_.Flip(kSuperblockOffsets[0] + 70);
  device_.Flip(kSuperblockOffsets[1] + 70);
  EXPECT_EQ(LoadError(), ErrorCode::kCorrupt);
  device_.Flip(kSuperblockOffsets[0]);
  EXPECT_EQ(LoadError(), ErrorCode::kCorrupt);
  device_.Flip(kSuperblockOffsets[1]);
  EXPECT_EQ(LoadError(), ErrorCode::kNotCofs);
  device_.unreadable = kSuperblockOffsets[0];
  EXPECT_EQ(LoadError(), ErrorCode::kIo);
}

TEST_F(SlotsTest, AnUpdateIsInBothCopies) {
  auto slots = Load();
  for (int i = 0; i < 5; ++i) {
    const std::string label = "turn " + std::to_string(i);
    const int flushes = device_.flush_count;
    ASSERT_TRUE(slots->Update([&](Superblock& s) { s.label = label; }).ok());
    EXPECT_EQ(device_.flush_count, flushes + 3);
    EXPECT_EQ(slots->current().label, label);
    EXPECT_EQ(slots->current().sequence, 9u + static_cast<uint64_t>(i));
    for (DeviceOffset place : kSuperblockOffsets) {
      device_.Flip(place + 70);
      EXPECT_EQ(Load()->current().label, label);
      device_.Flip(place + 70);
    }
  }
}

// A forged one, of which every later copy has to be valid, too. A crash between the copies
// of an update leaves the old or the new one.
TEST_F(SlotsTest, TheLastSequenceNumberIsNotTheEndOfTheVolume) {
  Superblock forged = Example();
  forged.sequence = kSuperblockSequenceMax;
  for (int slot : {0, 1}) device_.Put(slot, EncodeSuperblock(forged));
  for (int i = 0; i < 3; ++i) {
    const auto slots = Load();
    ASSERT_NE(slots, nullptr);
    EXPECT_EQ(slots->current().journal_generation, forged.journal_generation + i);
    EXPECT_TRUE(slots
                    ->Update([&](Superblock& next) {
                      next.journal_generation = forged.journal_generation + i + 1;
                    })
                    .ok());
  }
  ASSERT_TRUE(SuperblockSlots::Format(device_, Load()->current()).ok());
  EXPECT_EQ(Load()->current().journal_generation, forged.journal_generation + 3);
}

TEST_F(SlotsTest, ATornUpdateLeavesTheOlderOne) {
  auto slots = Load();
  ASSERT_TRUE(slots->Update([](Superblock& s) { s.label = "older"; }).ok());
  for (uint64_t at : {0, 1}) {  // the flush before, the first write
    device_.operations_left = at;
    EXPECT_FALSE(slots->Update([](Superblock& s) { s.label = "newer"; }).ok());
    device_.operations_left.reset();
    EXPECT_EQ(slots->current().label, "older");
    EXPECT_EQ(Load()->current().label, "older");
  }
  // Written, but the flush fails: nothing has changed in memory, the device has either.
  device_.operations_left = 2;
  EXPECT_FALSE(slots->Update([](Superblock& s) { s.label = "newer"; }).ok());
  device_.operations_left.reset();
  EXPECT_EQ(slots->current().label, "older");
  ASSERT_TRUE(slots->Update([](Superblock& s) { s.label = "newest"; }).ok());
  EXPECT_EQ(Load()->current().label, "newest");
}

TEST_F(SlotsTest, AnUpdateHoldsWhenOnlyTheSecondCopyFails) {
  auto slots = Load();
  for (uint64_t at : {3, 4}) {  // the second write, the flush after it
    const std::string label = "at " + std::to_string(at);
    device_.operations_left = at;
    EXPECT_TRUE(slots->Update([&](Superblock& s) { s.label = label; }).ok());
    device_.operations_left.reset();
    EXPECT_EQ(slots->current().label, label);
    EXPECT_EQ(Load()->current().label, label);
    // The copy that is whole is not the first one to be written over.
    device_.operations_left = 1;
    EXPECT_FALSE(slots->Update([&](Superblock& s) { s.label = "never"; }).ok());
    device_.operations_left.reset();
    EXPECT_EQ(Load()->current().label, label);
  }
}

TEST_F(SlotsTest, UpdateMendsALostCopy) {
  device_.Flip(kSuperblockOffsets[1] + 70);
  ASSERT_TRUE(Load()->Update([](Superblock& s) { s.label = "mended"; }).ok());
  warning_count_ = 0;
  EXPECT_EQ(Load()->current().label, "mended");
  EXPECT_EQ(warning_count_, 0);
}

TEST_F(SlotsTest, ATornFormatLeavesNoOldVolume) {
  Superblock next = Example();
  next.uuid.bytes[0] = 0xff;
  next.label = "new";
  next.sequence = 0;
  for (uint64_t at = 0; at < 6; ++at) {
    ASSERT_TRUE(SuperblockSlots::Format(device_, Example()).ok());
    device_.operations_left = at;
    EXPECT_FALSE(SuperblockSlots::Format(device_, next).ok());
    device_.operations_left.reset();
    const auto slots = SuperblockSlots::Load(device_);
    if (at == 0) {  // the other copy is still as it was
      ASSERT_TRUE(slots.ok());
      EXPECT_EQ((*slots)->current().label, "data");
    } else if (slots.ok()) {
      EXPECT_EQ((*slots)->current().label, "new");
    } else {
      EXPECT_NE(slots.error().code(), ErrorCode::kIo);
    }
  }
}

TEST_F(SlotsTest, ANewerFormatInEitherCopyRefusesTheVolume) {
  const std::string newer = Patched(EncodeSuperblock(Example()), 8, "02000000");
  for (int slot : {0, 1}) {
    ASSERT_TRUE(SuperblockSlots::Format(device_, Example()).ok());
    device_.Put(slot, newer);
    EXPECT_EQ(LoadError(), ErrorCode::kUnsupportedFormat);
  }
}

TEST_F(SlotsTest, CopiesOfTwoVolumesAreRefused) {
  Superblock other = Example();
  other.uuid.bytes[0] = 0xff;
  device_.Put(1, EncodeSuperblock(other));
  EXPECT_EQ(LoadError(), ErrorCode::kCorrupt);
}

TEST(SuperblockSlots, ATruncatedDeviceIsNamed) {
  for (uint64_t bytes : {kVolumeBytes - kBlockBytes, uint64_t{512} << 10}) {
    FaultyDevice device(bytes);
    device.memory().Poke(kSuperblockOffsets[0].value(), EncodeSuperblock(Example()));
    const auto slots = SuperblockSlots::Load(device);
    ASSERT_TRUE(slots.Is(ErrorCode::kCorrupt));
    EXPECT_NE(slots.error().ToString().find("truncated"), std::string::npos);
  }
}

TEST(SuperblockSlots, OtherDevicesAreNotCofs) {
  for (uint64_t bytes : {uint64_t{0}, uint64_t{64} << 10, kVolumeBytes}) {
    FaultyDevice device(bytes);
    EXPECT_TRUE(SuperblockSlots::Load(device).Is(ErrorCode::kNotCofs));
  }
}

}  // namespace
}  // namespace cofs
