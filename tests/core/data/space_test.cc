// Space: the one rule for reuse, against a model; reserves, windows, waiting, discards.
#include "fs/core/space.h"

#include <gtest/gtest.h>

#include <deque>
#include <set>
#include <thread>

#include "device/memory_device.h"
#include "fs/core/reader_epochs.h"
#include "tests/core/data/data_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 64 << 20;
constexpr uint64_t kReserveBytes = 1 << 20;

class SpaceTest : public ::testing::Test {
 protected:
  SpaceTest() { Make(false); }
  void Make(bool discard) {
    space_.reset();
    auto allocator = std::make_unique<Allocator>(kVolumeBytes);
    DATA_EXPECT_OK(allocator->Release({DeviceOffset{0}, kVolumeBytes}));
    space_ = std::make_unique<Space>(
        device_, std::move(allocator),
        Space::Options{.discard = discard, .commit = [this] { return Commit(); }});
  }
  Status Commit() {
    commit_count_.fetch_add(1);
    const uint64_t token = space_->BeginCommit();
    space_->EndCommit(token, true);
    return OkStatus();
  }
  Result<std::vector<DeviceRange>> Take(uint64_t bytes,
                                        SpacePurpose purpose = SpacePurpose::kGrowth) {
    return space_->Allocate(bytes, std::nullopt, purpose);
  }
  std::vector<DeviceRange> TakeAllGrowth() {
    return *Take(space_->usage().free_bytes - kReserveBytes);
  }

  MemoryDevice device_{kVolumeBytes};
  std::unique_ptr<Space> space_;
  std::atomic<int> commit_count_{0};
};

TEST_F(SpaceTest, ReservesAreForOverwritesAndThePool) {
  EXPECT_EQ(kReserveBytes, space_->usage().reserve_bytes);
  TakeAllGrowth();
  DATA_EXPECT_CODE(kNoSpace, Take(kBlockBytes));
  DATA_EXPECT_OK(Take(kReserveBytes * 3 / 4, SpacePurpose::kOverwrite));
  DATA_EXPECT_CODE(kNoSpace, Take(kBlockBytes, SpacePurpose::kOverwrite));
  DATA_EXPECT_OK(space_->TakeForPool(kReserveBytes / 4, kBlockBytes));
  EXPECT_EQ(0, commit_count_) << "a commit that can't bring anything is not made";
  while (space_->usage().free_bytes > 0)
    DATA_EXPECT_OK(space_->TakeForPool(1 << 20, kBlockBytes));
  DATA_EXPECT_CODE(kNoSpace, space_->TakeForPool(1 << 20, kBlockBytes));
}

TEST_F(SpaceTest, ScratchIsFreeAgainAndChangesNothing) {
  const uint64_t free_bytes = space_->usage().free_bytes;
  int cleared = 0;
  space_->OnFirstAllocation([&] {
    ++cleared;
    return OkStatus();
  });
  // The image lies at the start of the only run.
  const DeviceRange image{DeviceOffset{0}, 3 * kBlockBytes};
  const auto scratch = space_->BorrowScratch(8 * kBlockBytes, 1 << 20, image);
  ASSERT_TRUE(scratch.ok());
  EXPECT_EQ(scratch->length_bytes, 1u << 20);
  EXPECT_GE(scratch->offset, image.end());
  DATA_EXPECT_CODE(kBusy, space_->EncodeImage());
  space_->ReturnScratch(*scratch);
  DATA_EXPECT_OK(space_->EncodeImage());
  EXPECT_EQ(space_->usage().free_bytes, free_bytes);
  EXPECT_FALSE(space_->changed());
  EXPECT_EQ(cleared, 0);

  TakeAllGrowth();
  DATA_EXPECT_CODE(kNoSpace, space_->BorrowScratch(8 * kBlockBytes, 1 << 20, {}));
  EXPECT_EQ(0, commit_count_) << "it never waits";
}

TEST_F(SpaceTest, WhatIsAbandonedIsNeverUsedAgain) {
  const auto taken = Take(4 * kBlockBytes);
  ASSERT_TRUE(taken.ok());
  space_->Abandon(*taken);
  DATA_EXPECT_OK(Commit());
  for (const DeviceRange& run : TakeAllGrowth())
    EXPECT_TRUE(run.end() <= taken->front().offset || run.offset >= taken->front().end());
  DATA_EXPECT_CODE(kBusy, space_->EncodeImage());
}

TEST_F(SpaceTest, CommitsWhenEnoughIsPending) {
  const auto all = TakeAllGrowth();
  space_->Freed({{all[0].offset, 8 * kBlockBytes}});
  EXPECT_EQ(8 * kBlockBytes, space_->usage().pending_bytes);
  DATA_EXPECT_CODE(kNoSpace, Take(9 * kBlockBytes));
  EXPECT_EQ(0, commit_count_);
  const auto again = Take(8 * kBlockBytes);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(1, commit_count_);
  EXPECT_EQ(all[0].offset, again->at(0).offset);
}

TEST_F(SpaceTest, ReclaimsBeforeItFails) {
  std::vector<DeviceRange> all;
  int calls = 0;
  auto allocator = std::make_unique<Allocator>(kVolumeBytes);
  DATA_EXPECT_OK(allocator->Release({DeviceOffset{0}, kVolumeBytes}));
  space_ = std::make_unique<Space>(
      device_, std::move(allocator),
      Space::Options{.commit = [this] { return Commit(); },
                     .reclaim = [&] {
                       if (++calls == 1) space_->Freed({{all[0].offset, kBlockBytes}});
                     }});
  all = TakeAllGrowth();
  EXPECT_EQ(0, calls);
  DATA_EXPECT_OK(Take(kBlockBytes));
  EXPECT_EQ(1, calls);
  DATA_EXPECT_CODE(kNoSpace, Take(kBlockBytes));
  EXPECT_EQ(2, calls);
}

TEST_F(SpaceTest, AFailedCommitFreesNothing) {
  const auto all = TakeAllGrowth();
  const uint64_t free_bytes = space_->usage().free_bytes;
  space_->Freed(all);
  space_->EndCommit(space_->BeginCommit(), false);
  EXPECT_EQ(0u, space_->usage().pending_bytes);
  EXPECT_EQ(free_bytes, space_->usage().free_bytes);
  DATA_EXPECT_CODE(kNoSpace, Take(kBlockBytes));
}

TEST_F(SpaceTest, TheCleanFlagComesFirst) {
  int calls = 0;
  bool fails = true;
  space_->OnFirstAllocation([&]() -> Status {
    ++calls;
    if (fails) return Error(ErrorCode::kIo, "superblock");
    return OkStatus();
  });
  EXPECT_FALSE(space_->changed());
  DATA_EXPECT_CODE(kIo, Take(kBlockBytes));
  DATA_EXPECT_CODE(kIo, space_->TakeForPool(kBlockBytes, kBlockBytes));
  EXPECT_FALSE(space_->changed());
  fails = false;
  DATA_EXPECT_OK(Take(kBlockBytes));
  DATA_EXPECT_OK(Take(kBlockBytes));
  EXPECT_EQ(3, calls);
  EXPECT_TRUE(space_->changed());
}

TEST_F(SpaceTest, ReadersHoldBackWhatWasMapped) {
  const auto all = TakeAllGrowth();
  std::optional<Space::ReadSection> reader(space_->EnterRead());
  space_->Freed({{all[0].offset, kBlockBytes}});
  DATA_EXPECT_OK(Commit());
  EXPECT_EQ(kBlockBytes, space_->usage().pending_bytes);
  // An allocation waits for the reader, and gets its block as soon as it has left.
  std::atomic<bool> has_left{false};
  std::thread waiter([&] {
    const auto block = Take(kBlockBytes);
    EXPECT_TRUE(block.ok());
    EXPECT_TRUE(has_left) << "handed out under a reader";
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  has_left = true;
  reader.reset();
  waiter.join();
}

TEST_F(SpaceTest, LaterReadersHoldNothingBack) {
  const auto all = TakeAllGrowth();
  space_->Freed({{all[0].offset, kBlockBytes}});
  DATA_EXPECT_OK(Commit());
  const auto reader = space_->EnterRead();
  DATA_EXPECT_OK(Take(kBlockBytes));
}

TEST_F(SpaceTest, PinsHoldBackExactlyTheirBlocks) {
  const auto all = TakeAllGrowth();
  const DeviceOffset base = all[0].offset;
  Space::Pin pin = space_->PinRanges({{base + 2 * kBlockBytes, 2 * kBlockBytes}});
  Space::Pin other = space_->PinRanges({{base + 3 * kBlockBytes, 2 * kBlockBytes}});
  space_->Freed({{base, 8 * kBlockBytes}});
  DATA_EXPECT_OK(Commit());
  EXPECT_EQ(3 * kBlockBytes, space_->usage().pending_bytes);
  // Nobody waits for a pin: that can take long, and a copy allocates while it pins.
  DATA_EXPECT_CODE(kNoSpace, Take(6 * kBlockBytes));
  pin.Release();
  EXPECT_EQ(2 * kBlockBytes, space_->usage().pending_bytes);
  Space::Pin moved = std::move(other);
  moved = Space::Pin();
  EXPECT_EQ(0u, space_->usage().pending_bytes);
}

TEST_F(SpaceTest, AReaderThatPinsHandsOver) {
  const auto all = TakeAllGrowth();
  std::optional<Space::ReadSection> reader(space_->EnterRead());
  space_->Freed({{all[0].offset, kBlockBytes}});
  DATA_EXPECT_OK(Commit());
  Space::Pin pin = space_->PinRanges({{all[0].offset, kBlockBytes}});
  reader.reset();
  EXPECT_EQ(kBlockBytes, space_->usage().pending_bytes);
  pin.Release();
  EXPECT_EQ(0u, space_->usage().pending_bytes);
}

TEST_F(SpaceTest, StreamsStayTogether) {
  // Two files that grow in turns, as the page cache writes them.
  constexpr uint64_t kStep = 1 << 20, kWindow = 4 << 20;
  std::array<std::optional<DeviceOffset>, 2> goal;
  std::array<int, 2> extents{};
  for (int round = 0; round < 8; ++round) {
    for (size_t file = 0; file < 2; ++file) {
      const auto runs = space_->Allocate(kStep, goal[file], SpacePurpose::kGrowth, kWindow);
      ASSERT_TRUE(runs.ok());
      for (const DeviceRange& run : *runs) {
        if (goal[file] != run.offset) ++extents[file];
        goal[file] = run.end();
      }
    }
  }
  EXPECT_LE(extents[0], 3);
  EXPECT_LE(extents[1], 3);
  const uint64_t free_bytes = space_->usage().free_bytes;
  EXPECT_EQ(kVolumeBytes - 16 * kStep, free_bytes) << "windows count as free";
  // And go back by themselves, or when space is short.
  DATA_EXPECT_OK(Take(free_bytes - kReserveBytes));
  EXPECT_EQ(kReserveBytes, space_->usage().free_bytes);
}

TEST_F(SpaceTest, WindowsGrowOld) {
  DATA_EXPECT_OK(space_->Allocate(1 << 20, DeviceOffset{0}, SpacePurpose::kGrowth, 8 << 20));
  EXPECT_EQ(kVolumeBytes - (9 << 20), space_->usage().largest_run_bytes);
  DATA_EXPECT_OK(Commit());
  EXPECT_EQ(kVolumeBytes - (9 << 20), space_->usage().largest_run_bytes);
  DATA_EXPECT_OK(Commit());
  EXPECT_EQ(kVolumeBytes - (1 << 20), space_->usage().largest_run_bytes);
}

TEST_F(SpaceTest, ImageNeedsQuiet) {
  const auto runs = Take(1 << 20);
  space_->Freed({{runs->at(0).offset, kBlockBytes}});
  DATA_EXPECT_CODE(kBusy, space_->EncodeImage());
  DATA_EXPECT_OK(Commit());
  const auto image = space_->EncodeImage();
  ASSERT_TRUE(image.ok());
  const auto decoded = Allocator::DecodeImage(*image, kVolumeBytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(space_->usage().free_bytes, (*decoded)->free_bytes());
  const auto place = space_->FindPlaceForImage(image->size());
  ASSERT_TRUE(place.has_value());
  EXPECT_EQ(image->size(), place->length_bytes);
  EXPECT_EQ(space_->usage().free_bytes, (*decoded)->free_bytes());
  EXPECT_FALSE(space_->FindPlaceForImage(2 * kVolumeBytes).has_value());
}

TEST_F(SpaceTest, DiscardsBeforeReuse) {
  Make(/*discard=*/true);
  ASSERT_TRUE(device_.geometry().can_discard);
  const auto all = TakeAllGrowth();
  const std::string data = Pattern(1, kBlockBytes);
  DATA_EXPECT_OK(device_.Write(all[0].offset, data));
  space_->Freed({{all[0].offset, kBlockBytes}});
  const auto again = Take(kBlockBytes);
  ASSERT_TRUE(again.ok());
  ASSERT_EQ(all[0].offset, again->at(0).offset);
  std::string found(kBlockBytes, 'x');
  device_.Peek(again->at(0).offset.value(), found);
  EXPECT_EQ(std::string(kBlockBytes, '\0'), found);
}

TEST_F(SpaceTest, TrimsFreeRunsOnly) {
  const std::string data = Pattern(1, 1 << 20);
  for (uint64_t at = 0; at < kVolumeBytes; at += 1 << 20)
    DATA_EXPECT_OK(device_.Write(DeviceOffset{at}, data));
  const auto used = space_->Allocate(1 << 20, DeviceOffset{8 << 20}, SpacePurpose::kGrowth);
  ASSERT_EQ(DeviceOffset{8 << 20}, used->at(0).offset);
  const auto trimmed = space_->Trim(DeviceOffset{4 << 20}, DeviceOffset{16 << 20}, 1 << 20);
  ASSERT_TRUE(trimmed.ok());
  EXPECT_EQ(uint64_t{11} << 20, *trimmed);
  std::string found(1 << 20, 'x');
  device_.Peek(8 << 20, found);
  EXPECT_EQ(data, found);
  device_.Peek(9 << 20, found);
  EXPECT_EQ(std::string(1 << 20, '\0'), found);
  device_.Peek(3 << 20, found);
  EXPECT_EQ(data, found);
  EXPECT_EQ(kVolumeBytes - (1 << 20), space_->usage().free_bytes);
}

// What may not be handed out: by block, how many things hold it.
TEST_F(SpaceTest, ReuseRuleAtRandom) {
  std::mt19937_64 random(SeedOf(11));
  struct Reader {
    Space::ReadSection section;
    std::vector<DeviceRange> may_touch;  // mapped when it entered
  };
  // Not in a batch yet; in one; freed by one that is not durable yet.
  std::vector<DeviceRange> fresh, mapped, freed;
  std::deque<std::pair<uint64_t, std::vector<DeviceRange>>> sealed;
  std::deque<Reader> readers;
  std::deque<std::pair<Space::Pin, DeviceRange>> pins;
  const auto overlaps = [](const DeviceRange& a, const DeviceRange& b) {
    return a.offset < b.end() && b.offset < a.end();
  };
  const auto expect_free = [&](const DeviceRange& run) {
    for (const auto& range : fresh) ASSERT_FALSE(overlaps(run, range)) << "taken";
    for (const auto& range : mapped) ASSERT_FALSE(overlaps(run, range)) << "mapped";
    for (const auto& range : freed) ASSERT_FALSE(overlaps(run, range)) << "not committed";
    for (const auto& [token, ranges] : sealed)
      for (const auto& range : ranges) ASSERT_FALSE(overlaps(run, range)) << "in a commit";
    for (const auto& reader : readers)
      for (const auto& range : reader.may_touch)
        ASSERT_FALSE(overlaps(run, range)) << "under a reader";
    for (const auto& [pin, range] : pins) ASSERT_FALSE(overlaps(run, range)) << "pinned";
  };
  // Allocations must not commit by themselves here: the model would not know.
  auto allocator = std::make_unique<Allocator>(kVolumeBytes);
  DATA_EXPECT_OK(allocator->Release({DeviceOffset{0}, kVolumeBytes}));
  space_ = std::make_unique<Space>(device_, std::move(allocator), Space::Options{});
  for (int round = 0; round < 20000 && !HasFatalFailure(); ++round) {
    switch (random() % 9) {
      case 0:
      case 1:
      case 2: {
        const uint64_t bytes = (1 + random() % 64) * kBlockBytes;
        // Never wait: that is for the other tests.
        if (space_->usage().free_bytes < bytes + 2 * kReserveBytes) break;
        std::optional<DeviceOffset> goal;
        if (random() % 2 == 0 && !mapped.empty()) goal = mapped[random() % mapped.size()].end();
        const auto runs = space_->Allocate(bytes, goal, SpacePurpose::kGrowth,
                                           random() % 3 == 0 ? 1 << 20 : 0);
        ASSERT_TRUE(runs.ok());
        uint64_t sum = 0;
        for (const DeviceRange& run : *runs) {
          sum += run.length_bytes;
          expect_free(run);
          if (HasFatalFailure()) return;
          fresh.push_back(run);
        }
        ASSERT_EQ(bytes, sum);
        break;
      }
      case 3:
      case 4:
        while (!fresh.empty() && random() % 4 != 0) {
          if (random() % 4 == 0)
            space_->ReturnUnused({fresh.back()});
          else
            mapped.push_back(fresh.back());
          fresh.pop_back();
        }
        for (uint64_t count = random() % 4; count > 0 && !mapped.empty(); --count) {
          std::swap(mapped[random() % mapped.size()], mapped.back());
          space_->Freed({mapped.back()});
          freed.push_back(mapped.back());
          mapped.pop_back();
        }
        break;
      case 5:
        if (sealed.size() < 3) sealed.emplace_back(space_->BeginCommit(), std::move(freed));
        freed.clear();
        break;
      case 6:
        if (!sealed.empty()) {
          space_->EndCommit(sealed.front().first, true);
          sealed.pop_front();
        }
        break;
      case 7:
        if (readers.size() < 4 && random() % 2 == 0) {
          readers.push_back({space_->EnterRead(), mapped});
          std::vector<DeviceRange>& may_touch = readers.back().may_touch;
          may_touch.insert(may_touch.end(), freed.begin(), freed.end());
          for (const auto& [token, ranges] : sealed)
            may_touch.insert(may_touch.end(), ranges.begin(), ranges.end());
        } else if (!readers.empty()) {
          const auto at = readers.begin() +
                          static_cast<std::ptrdiff_t>(random() % readers.size());
          std::deque<Reader> left;
          for (auto it = readers.begin(); it != readers.end(); ++it)
            if (it != at) left.push_back(std::move(*it));
          readers = std::move(left);
        }
        break;
      case 8:
        if (pins.size() < 6 && random() % 2 == 0) {
          const auto& from = random() % 2 == 0 ? freed : mapped;
          if (from.empty()) break;
          const DeviceRange range = from[random() % from.size()];
          pins.emplace_back(space_->PinRanges({range}), range);
        } else if (!pins.empty()) {
          pins.pop_front();
        }
        break;
    }
  }
  readers.clear();
  pins.clear();
  while (!sealed.empty()) {
    space_->EndCommit(sealed.front().first, true);
    sealed.pop_front();
  }
  DATA_EXPECT_OK(Commit());
  DATA_EXPECT_OK(Commit());
  uint64_t mapped_bytes = 0;
  mapped.insert(mapped.end(), fresh.begin(), fresh.end());
  for (const auto& range : mapped) mapped_bytes += range.length_bytes;
  EXPECT_EQ(kVolumeBytes - mapped_bytes, space_->usage().free_bytes);
}

// Threads read blocks whose owner is written in them; a block that is reused under a
// reader shows (and TSan sees it).
TEST_F(SpaceTest, ReaderEpochsUnderThreads) {
  ReaderEpochs epochs;
  std::atomic<int*> current{new int(1)};
  std::atomic<bool> stops{false};
  std::vector<std::thread> readers;
  std::atomic<uint64_t> reads{0};
  for (int i = 0; i < 4; ++i)
    readers.emplace_back([&] {
      while (!stops) {
        auto* const count = epochs.Enter();
        EXPECT_EQ(1, *current.load(std::memory_order_acquire));
        ReaderEpochs::Leave(count);
        ++reads;
      }
    });
  std::deque<std::pair<uint64_t, int*>> retired;
  uint64_t deleted = 0;
  while (deleted < 2000 || reads < 2000) {
    int* const old = current.exchange(new int(1), std::memory_order_acq_rel);
    retired.emplace_back(epochs.current(), old);
    epochs.TryAdvance();
    while (!retired.empty() && epochs.HasPassed(retired.front().first)) {
      *retired.front().second = 0;
      delete retired.front().second;
      retired.pop_front();
      ++deleted;
    }
  }
  stops = true;
  for (std::thread& reader : readers) reader.join();
  for (const auto& [epoch, value] : retired) delete value;
  delete current.load();
}

}  // namespace
}  // namespace cofs
