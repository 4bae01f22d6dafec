#include "tests/device/block_device_contract.h"

#include <algorithm>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "tests/device/device_fixture.h"

namespace cofs {

TEST_P(BlockDeviceContract, ReadsWhatWasWritten) {
  // A block, a few, the best size, more than that and not a multiple of it.
  const uint64_t lengths[] = {kBlockBytes, 3 * kBlockBytes,
                              device().geometry().io_bytes_max, (5u << 20) + kBlockBytes};
  for (const uint64_t length : lengths) {
    const AlignedBuffer data = Pattern(length, length);
    ASSERT_TRUE(device().Write(DeviceOffset(kBlockBytes), data.span()).ok());
    EXPECT_EQ(ViewOf(ReadAll(device(), DeviceOffset(kBlockBytes), length)), ViewOf(data));
  }
  // Neighbours are as they were.
  EXPECT_EQ(ViewOf(ReadAll(device(), DeviceOffset(0), kBlockBytes)),
            std::string(kBlockBytes, '\0'));
  EXPECT_EQ(
      ViewOf(ReadAll(device(), DeviceOffset((5u << 20) + 2 * kBlockBytes), kBlockBytes)),
      std::string(kBlockBytes, '\0'));
}

TEST_P(BlockDeviceContract, LastBlockIsInside) {
  const DeviceOffset last(device().geometry().size_bytes - kBlockBytes);
  const AlignedBuffer data = Pattern(kBlockBytes, 7);
  ASSERT_TRUE(device().Write(last, data.span()).ok());
  EXPECT_EQ(ViewOf(ReadAll(device(), last, kBlockBytes)), ViewOf(data));
}

TEST_P(BlockDeviceContract, MisalignedMemoryIsBounced) {
  // More than one bounce buffer, and memory at an odd address.
  const uint64_t length = (3u << 20) + kBlockBytes;
  std::vector<char> memory(length + 1), out(length + 3);
  FillPattern(memory, 5);
  const std::vector<char> before = memory;
  ASSERT_TRUE(device().Write(DeviceOffset(0), {memory.data() + 1, length}).ok());
  EXPECT_EQ(memory, before) << "a write changed its data";
  ASSERT_TRUE(device().Read(DeviceOffset(0), {out.data() + 3, length}).ok());
  EXPECT_TRUE(std::equal(out.begin() + 3, out.end(), memory.begin() + 1));
}

TEST_P(BlockDeviceContract, RangesOutsideAreInvalid) {
  const uint64_t size = device().geometry().size_bytes;
  const struct {
    uint64_t offset, length;
  } cases[] = {
      {size, kBlockBytes},                                // behind the end
      {size - kBlockBytes, 2 * kBlockBytes},              // across it
      {RoundDown(UINT64_MAX, kBlockBytes), kBlockBytes},  // the sum overflows
      {kBlockBytes, RoundDown(UINT64_MAX, kBlockBytes)},
      {512, kBlockBytes},  // not whole blocks
      {0, 512},
      {kBlockBytes, kBlockBytes + 512},
  };
  AlignedBuffer memory = AlignedBuffer::Zeroed(2 * kBlockBytes);
  for (const auto& c : cases) {
    for (const IoKind kind :
         {IoKind::kRead, IoKind::kWrite, IoKind::kWriteZeroes, IoKind::kDiscard}) {
      IoOp op{.kind = kind,
              .offset = DeviceOffset(c.offset),
              .data = memory.data(),
              .length_bytes = c.length};
      EXPECT_TRUE(device().Execute({&op, 1}).Is(ErrorCode::kInvalidArgument))
          << NameOf(kind) << " " << c.length << " at " << c.offset;
      ASSERT_TRUE(op.error.has_value());
      EXPECT_EQ(op.error->code(), ErrorCode::kInvalidArgument);
    }
  }
}

TEST_P(BlockDeviceContract, NothingIsNoError) {
  EXPECT_TRUE(device().Read(DeviceOffset(0), {}).ok());
  EXPECT_TRUE(device().Write(DeviceOffset(0), {}).ok());
  EXPECT_TRUE(device().WriteZeroes({DeviceOffset(kBlockBytes), 0}).ok());
  EXPECT_TRUE(device().Discard({DeviceOffset(kBlockBytes), 0}).ok());
  IoOp op{.kind = IoKind::kRead, .length_bytes = 0};
  EXPECT_TRUE(device().Execute({&op, 1}).ok());
  EXPECT_TRUE(device().Execute({}).ok());
}

TEST_P(BlockDeviceContract, EachOperationHasItsOwnError) {
  const AlignedBuffer data = Pattern(3 * kBlockBytes, 9);
  IoOp ops[3];
  for (size_t i = 0; i < 3; ++i) {
    ops[i] = {.kind = IoKind::kWrite,
              .offset = DeviceOffset(i * kBlockBytes),
              .data = const_cast<char*>(data.data()) + i * kBlockBytes,
              .length_bytes = kBlockBytes};
  }
  ops[1].offset = DeviceOffset(device().geometry().size_bytes);
  ops[0].error = Error(ErrorCode::kIo, "left from an earlier use");
  EXPECT_TRUE(device().Execute(ops).Is(ErrorCode::kInvalidArgument));
  EXPECT_FALSE(ops[0].error.has_value());
  EXPECT_TRUE(ops[1].error.has_value());
  EXPECT_FALSE(ops[2].error.has_value());
  // The good ones were carried out.
  const AlignedBuffer read = ReadAll(device(), DeviceOffset(0), 3 * kBlockBytes);
  EXPECT_EQ(ViewOf(read).substr(0, kBlockBytes), ViewOf(data).substr(0, kBlockBytes));
  EXPECT_EQ(ViewOf(read).substr(2 * kBlockBytes), ViewOf(data).substr(2 * kBlockBytes));
}

TEST_P(BlockDeviceContract, ManyOperationsInOneCall) {
  constexpr size_t kCount = 500;  // more than any queue is deep
  const AlignedBuffer data = Pattern(kCount * kBlockBytes, 11);
  std::vector<IoOp> ops(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    ops[i] = {.kind = IoKind::kWrite,
              .offset = DeviceOffset((kCount - 1 - i) * kBlockBytes),
              .data = const_cast<char*>(data.data()) + (kCount - 1 - i) * kBlockBytes,
              .length_bytes = kBlockBytes};
  }
  ASSERT_TRUE(device().Execute(ops).ok());
  EXPECT_EQ(ViewOf(ReadAll(device(), DeviceOffset(0), kCount * kBlockBytes)),
            ViewOf(data));
}

TEST_P(BlockDeviceContract, ZeroesAndDiscards) {
  const AlignedBuffer data = Pattern(4 << 20, 13);
  ASSERT_TRUE(device().Write(DeviceOffset(0), data.span()).ok());
  // Not at a round place, so that both ends are parts of larger units.
  const DeviceRange range{DeviceOffset(3 * kBlockBytes), (2 << 20) + kBlockBytes};
  ASSERT_TRUE(device().WriteZeroes(range).ok());
  const AlignedBuffer read = ReadAll(device(), DeviceOffset(0), 4 << 20);
  const uint64_t begin = range.offset.value(), end = range.end().value();
  EXPECT_EQ(ViewOf(read).substr(begin, range.length_bytes),
            std::string(range.length_bytes, '\0'));
  EXPECT_EQ(ViewOf(read).substr(0, begin), ViewOf(data).substr(0, begin));
  EXPECT_EQ(ViewOf(read).substr(end), ViewOf(data).substr(end));

  ASSERT_TRUE(device().Discard({range.end(), 1 << 20}).ok());
  const AlignedBuffer after = ReadAll(device(), DeviceOffset(0), 4 << 20);
  const uint64_t discard_end = end + (1 << 20);
  EXPECT_EQ(ViewOf(after).substr(0, begin), ViewOf(data).substr(0, begin));
  EXPECT_EQ(ViewOf(after).substr(discard_end), ViewOf(data).substr(discard_end));
}

TEST_P(BlockDeviceContract, FlushesAndWritesThrough) {
  const AlignedBuffer data = Pattern(2 * kBlockBytes, 15);
  EXPECT_TRUE(device().Write(DeviceOffset(0), data.span(), /*fua=*/true).ok());
  EXPECT_TRUE(device().Flush().ok());
  IoOp ops[2] = {{.kind = IoKind::kFlush},
                 {.kind = IoKind::kWrite,
                  .offset = DeviceOffset(1 << 20),
                  .data = const_cast<char*>(data.data()),
                  .length_bytes = 2 * kBlockBytes,
                  .fua = true}};
  EXPECT_TRUE(device().Execute(ops).ok());
  EXPECT_EQ(ViewOf(ReadAll(device(), DeviceOffset(0), 2 * kBlockBytes)), ViewOf(data));
  EXPECT_EQ(ViewOf(ReadAll(device(), DeviceOffset(1 << 20), 2 * kBlockBytes)),
            ViewOf(data));
}

TEST_P(BlockDeviceContract, QueueReapsEachOperationOnce) {
  constexpr unsigned kDepth = 4;
  constexpr size_t kCount = 50;
  AlignedBuffer data = Pattern(kCount * kBlockBytes, 17);
  std::vector<IoOp> ops(kCount);
  const auto queue = device().NewQueue(kDepth);
  EXPECT_EQ(queue->in_flight(), 0u);
  EXPECT_EQ(queue->Reap(), nullptr);
  queue->UseMemory(data.span());
  // More are submitted than the queue is deep: it waits for places by itself and
  // keeps the completions.
  for (size_t i = 0; i < kCount; ++i) {
    ops[i] = {.kind = IoKind::kWrite,
              .offset = DeviceOffset(i * kBlockBytes),
              .data = data.data() + i * kBlockBytes,
              .length_bytes = kBlockBytes,
              .tag = i};
    queue->Submit(&ops[i]);
    EXPECT_EQ(queue->in_flight(), i + 1);
  }
  IoOp bad{.kind = IoKind::kRead,
           .offset = DeviceOffset(1),
           .data = data.data(),
           .length_bytes = kBlockBytes,
           .tag = kCount};
  queue->Submit(&bad);
  std::set<uint64_t> tags;
  while (IoOp* op = queue->Reap()) {
    EXPECT_EQ(op->error.has_value(), op->tag == kCount);
    EXPECT_TRUE(tags.insert(op->tag).second) << "twice: " << op->tag;
  }
  EXPECT_EQ(tags.size(), kCount + 1);
  EXPECT_EQ(queue->in_flight(), 0u);
  EXPECT_EQ(ViewOf(ReadAll(device(), DeviceOffset(0), kCount * kBlockBytes)),
            ViewOf(data));

  // The same memory, registered or not, takes reads too; other memory as well.
  AlignedBuffer other(kBlockBytes);
  FillPattern(data.span(), 18);
  IoOp reads[2] = {
      {.kind = IoKind::kRead, .data = data.data(), .length_bytes = kBlockBytes},
      {.kind = IoKind::kRead, .data = other.data(), .length_bytes = kBlockBytes}};
  for (IoOp& op : reads) queue->Submit(&op);
  while (IoOp* op = queue->Reap()) EXPECT_FALSE(op->error.has_value());
  EXPECT_EQ(ViewOf(data).substr(0, kBlockBytes), ViewOf(other));
  EXPECT_EQ(ViewOf(other),
            ViewOf(Pattern(kCount * kBlockBytes, 17)).substr(0, kBlockBytes));
}

TEST_P(BlockDeviceContract, QueueTakesEveryKind) {
  AlignedBuffer data = Pattern(kBlockBytes, 19);
  const auto queue = device().NewQueue(8);
  IoOp ops[] = {
      {.kind = IoKind::kWrite, .data = data.data(), .length_bytes = kBlockBytes},
      {.kind = IoKind::kWriteZeroes,
       .offset = DeviceOffset(1 << 20),
       .length_bytes = 1 << 20},
      {.kind = IoKind::kDiscard,
       .offset = DeviceOffset(2 << 20),
       .length_bytes = 1 << 20},
      {.kind = IoKind::kFlush}};
  for (IoOp& op : ops) queue->Submit(&op);
  size_t count = 0;
  while (IoOp* op = queue->Reap()) {
    EXPECT_FALSE(op->error.has_value()) << op->error->ToString();
    ++count;
  }
  EXPECT_EQ(count, std::size(ops));
}

TEST_P(BlockDeviceContract, QueueDestructorWaits) {
  const AlignedBuffer data = Pattern(8 << 20, 21);
  std::vector<IoOp> ops(8);
  {
    const auto queue = device().NewQueue(8);
    for (size_t i = 0; i < ops.size(); ++i) {
      ops[i] = {.kind = IoKind::kWrite,
                .offset = DeviceOffset(i << 20),
                .data = const_cast<char*>(data.data()) + (i << 20),
                .length_bytes = 1 << 20};
      queue->Submit(&ops[i]);
    }
  }
  EXPECT_EQ(ViewOf(ReadAll(device(), DeviceOffset(0), 8 << 20)), ViewOf(data));
}

TEST_P(BlockDeviceContract, ManyThreadsAtOnce) {
  constexpr size_t kThreadCount = 6;
  constexpr uint64_t kShareBytes = 2 << 20;
  const uint64_t seed = TestSeed();
  std::vector<std::thread> threads;
  std::vector<std::string> failures(kThreadCount);
  for (size_t t = 0; t < kThreadCount; ++t) {
    threads.emplace_back([this, t, seed, &failures] {
      std::mt19937_64 random(seed + t);
      const uint64_t base = t * kShareBytes;
      AlignedBuffer expected = AlignedBuffer::Zeroed(kShareBytes);
      AlignedBuffer read(64 << 10);
      for (int round = 0; round < 60 && failures[t].empty(); ++round) {
        const uint64_t length = (1 + random() % 16) * kBlockBytes;
        const uint64_t at =
            random() % ((kShareBytes - length) / kBlockBytes) * kBlockBytes;
        const std::span<char> share = expected.span().subspan(at, length);
        FillPattern(share, random());
        Status status = device().Write(DeviceOffset(base + at), share, round % 8 == 0);
        if (status.ok())
          status = device().Read(DeviceOffset(base + at), read.span().first(length));
        if (status.ok() && round % 16 == 0) status = device().Flush();
        if (!status.ok()) failures[t] = status.error().ToString();
        if (!std::equal(share.begin(), share.end(), read.data()))
          failures[t] = "wrong bytes";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
}

TEST_P(BlockDeviceContract, OverlappingIoIsEitherOldOrNew) {
  // Each thread writes blocks of one letter; readers may see any of them, in any mix of
  // blocks, but nothing else.
  std::vector<std::thread> threads;
  std::vector<bool> good(4, true);
  for (size_t t = 0; t < good.size(); ++t) {
    threads.emplace_back([this, t, &good] {
      AlignedBuffer mine(4 * kBlockBytes), seen(4 * kBlockBytes);
      std::fill_n(mine.data(), mine.size_bytes(), static_cast<char>('a' + t));
      bool is_good = true;
      for (int round = 0; round < 30; ++round) {
        is_good &= device().Write(DeviceOffset(0), mine.span()).ok();
        is_good &= device().Read(DeviceOffset(0), seen.span()).ok();
        for (const char c : seen.span()) is_good &= c >= 'a' && c <= 'd';
      }
      static Mutex mutex;
      MutexLock lock(mutex);
      good[t] = is_good;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t t = 0; t < good.size(); ++t) EXPECT_TRUE(good[t]) << t;
}

TEST_P(BlockDeviceContract, CopyCommandOnlyWhereThereAreLimits) {
  const DeviceRange source{DeviceOffset(0), kBlockBytes};
  const Status status = device().Copy({&source, 1}, DeviceOffset(1 << 20));
  if (device().copy_limits())
    EXPECT_TRUE(status.ok());
  else
    EXPECT_TRUE(status.Is(ErrorCode::kNotSupported));
}

}  // namespace cofs
