// MemoryDevice beyond the contract: sparse, forks, limits of its copy command.
#include "device/memory_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>

#include "device/software_queue.h"
#include "tests/device/device_fixture.h"

namespace cofs {
namespace {

constexpr uint64_t kPage = MemoryDevice::kPageBytes;

TEST(MemoryDevice, TerabytesCostNothing) {
  MemoryDevice device(1ull << 50);
  EXPECT_EQ(device.resident_bytes(), 0u);
  const AlignedBuffer data = Pattern(kBlockBytes, 1);
  ASSERT_TRUE(device.Write(DeviceOffset((1ull << 50) - kBlockBytes), data.span()).ok());
  EXPECT_EQ(device.resident_bytes(), kPage);
  ReadAll(device, DeviceOffset(1ull << 40), 1 << 20);
  EXPECT_EQ(device.resident_bytes(), kPage) << "reading made pages";
  ASSERT_TRUE(device.Discard({DeviceOffset(0), 1ull << 50}).ok());
  EXPECT_EQ(device.resident_bytes(), 0u);
}

TEST(MemoryDevice, SizeIsWholeBlocks) {
  EXPECT_EQ(MemoryDevice(3 * kBlockBytes + 1).geometry().size_bytes, 3 * kBlockBytes);
}

// Against a plain array, at any byte.
TEST(MemoryDevice, AnyRangeAgainstAModel) {
  constexpr uint64_t kSize = 80 * kPage;  // enough for Clear to go by stripes
  MemoryDevice device(kSize);
  std::string model(kSize, '\0');
  std::mt19937_64 random(TestSeed());
  for (int i = 0; i < 300; ++i) {
    const uint64_t offset = random() % kSize;
    const uint64_t limit = random() % 3 == 0 ? kSize : 2 * kPage;
    const uint64_t length = random() % std::min(limit, kSize - offset + 1);
    if (random() % 3 == 0) {
      device.Clear(offset, length);
      model.replace(offset, length, std::string(length, '\0'));
    } else {
      std::string data(length, '\0');
      FillPattern(data, random());
      device.Poke(offset, data);
      model.replace(offset, length, data);
    }
    const uint64_t from = random() % kSize;
    std::string seen(random() % (kSize - from), '?');
    device.Peek(from, seen);
    ASSERT_EQ(seen, model.substr(from, seen.size())) << "round " << i;
  }
}

TEST(MemoryDevice, ForksGoTheirOwnWays) {
  MemoryDevice first(16 * kPage);
  first.Poke(100, std::string("before"));
  const auto second = first.Fork();
  const auto third = second->Fork();
  first.Poke(100, std::string("first!"));
  second->Clear(0, kPage);
  const struct {
    const MemoryDevice* device;
    std::string holds;
  } cases[] = {
      {&first, "first!"}, {second.get(), std::string(6, '\0')}, {third.get(), "before"}};
  for (const auto& c : cases) {
    std::string seen(6, '?');
    c.device->Peek(100, seen);
    EXPECT_EQ(seen, c.holds);
  }
  EXPECT_EQ(second->geometry().size_bytes, first.geometry().size_bytes);
}

TEST(MemoryDevice, ForksInManyThreads) {
  // One page shared by all; each changes its own copy while others read theirs.
  MemoryDevice base(kPage);
  base.Poke(0, std::string(kPage, 'x'));
  std::vector<std::thread> threads;
  for (char letter = 'a'; letter < 'f'; ++letter) {
    std::shared_ptr<MemoryDevice> fork = base.Fork();
    threads.emplace_back([fork, letter]() mutable {
      std::string seen(kPage, '?');
      fork->Peek(0, seen);
      EXPECT_EQ(seen, std::string(kPage, 'x'));
      fork->Poke(0, std::string(kPage, letter));
      fork->Peek(0, seen);
      EXPECT_EQ(seen, std::string(kPage, letter));
      fork.reset();
    });
  }
  base.Clear(0, kPage);
  for (std::thread& thread : threads) thread.join();
}

TEST(MemoryDevice, CopyHasLimits) {
  MemoryDevice device(
      1 << 20, {.copy_limits = DeviceCopyLimits{.segment_bytes_max = 2 * kBlockBytes,
                                                .command_bytes_max = 3 * kBlockBytes,
                                                .segments_max = 2}});
  const AlignedBuffer data = Pattern(8 * kBlockBytes, 5);
  ASSERT_TRUE(device.Write(DeviceOffset(0), data.span()).ok());
  const auto block = [](uint64_t n) { return DeviceOffset(n * kBlockBytes); };
  const struct {
    std::vector<DeviceRange> sources;
    DeviceOffset destination;
    std::optional<ErrorCode> code;
  } cases[] = {
      {{{block(2), 2 * kBlockBytes}, {block(0), kBlockBytes}}, block(100), std::nullopt},
      {{{block(0), 3 * kBlockBytes}}, block(100), ErrorCode::kIo},
      {{{block(0), 2 * kBlockBytes}, {block(4), 2 * kBlockBytes}},
       block(100),
       ErrorCode::kIo},
      {{{block(0), kBlockBytes}, {block(2), kBlockBytes}, {block(4), kBlockBytes}},
       block(100),
       ErrorCode::kIo},
      {{{block(256), kBlockBytes}}, block(100), ErrorCode::kInvalidArgument},
      {{{block(0), 2 * kBlockBytes}}, block(255), ErrorCode::kInvalidArgument},
  };
  for (const auto& c : cases) {
    const Status status = device.Copy(c.sources, c.destination);
    if (c.code)
      EXPECT_TRUE(status.Is(*c.code));
    else
      EXPECT_TRUE(status.ok());
  }
  const AlignedBuffer copied = ReadAll(device, block(100), 3 * kBlockBytes);
  EXPECT_EQ(ViewOf(copied).substr(0, 2 * kBlockBytes),
            ViewOf(data).substr(2 * kBlockBytes, 2 * kBlockBytes));
  EXPECT_EQ(ViewOf(copied).substr(2 * kBlockBytes), ViewOf(data).substr(0, kBlockBytes));
}

TEST(SoftwareQueue, ShufflesAndRepeats) {
  MemoryDevice device(1 << 20);
  AlignedBuffer memory(64 * kBlockBytes);
  const auto order_of = [&](std::optional<uint64_t> seed) {
    SoftwareQueue queue(device, 16, seed);
    std::vector<IoOp> ops(64);
    for (size_t i = 0; i < ops.size(); ++i) {
      ops[i] = {.kind = IoKind::kRead,
                .data = memory.data(),
                .length_bytes = kBlockBytes,
                .tag = i};
      queue.Submit(&ops[i]);
    }
    std::vector<uint64_t> order;
    while (IoOp* op = queue.Reap()) order.push_back(op->tag);
    return order;
  };
  const std::vector<uint64_t> in_order = order_of(std::nullopt);
  EXPECT_TRUE(std::is_sorted(in_order.begin(), in_order.end()));
  EXPECT_EQ(order_of(1), order_of(1));
  EXPECT_NE(order_of(1), order_of(2));
  EXPECT_NE(order_of(1), in_order);
  EXPECT_EQ(std::set<uint64_t>(in_order.begin(), in_order.end()).size(), 64u);
}

}  // namespace
}  // namespace cofs
