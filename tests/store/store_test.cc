// The store as its users see it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "device/memory_device.h"
#include "extent_map/records.h"
#include "tests/store/test_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 64 << 20;

#define ASSERT_OK(expression)                                \
  do {                                                       \
    const auto& status_ = (expression);                      \
    ASSERT_TRUE(status_.ok()) << status_.error().ToString(); \
  } while (false)

std::string KeyOf(int i) { return InodeKey(InodeId{static_cast<uint64_t>(i)}); }

TEST(StoreTest, KeepsWhatWasWritten) {
  MemoryDevice device(kVolumeBytes);
  Batch initial;
  initial.Put(KeyOf(1), "root");
  ASSERT_OK(FormatTestVolume(device, initial));
  {
    auto volume = OpenTestVolume(device);
    ASSERT_OK(volume);
    Store& store = *volume->store;
    EXPECT_EQ(store.Get(KeyOf(1)).value(), "root");
    EXPECT_EQ(store.Get(KeyOf(2)).value(), std::nullopt);
    Batch batch;
    batch.Put(KeyOf(2), "two");
    batch.Delete(KeyOf(1));
    ASSERT_OK(store.Write(std::move(batch)));
    EXPECT_EQ(store.Get(KeyOf(2)).value(), "two");
    ASSERT_OK(store.Commit());
    ASSERT_OK(store.Close());
  }
  auto volume = OpenTestVolume(device);
  ASSERT_OK(volume);
  EXPECT_EQ(volume->store->Get(KeyOf(1)).value(), std::nullopt);
  EXPECT_EQ(volume->store->Get(KeyOf(2)).value(), "two");
}

TEST(StoreTest, DropIsACrash) {
  MemoryDevice device(kVolumeBytes);
  ASSERT_OK(FormatTestVolume(device));
  {
    auto volume = OpenTestVolume(device);
    ASSERT_OK(volume);
    for (int i = 0; i < 3; ++i) {
      Batch batch;
      batch.Put(KeyOf(i), "x");
      ASSERT_OK(volume->store->Write(std::move(batch)));
      if (i == 1) ASSERT_OK(volume->store->Commit());
    }
  }
  auto volume = OpenTestVolume(device);
  ASSERT_OK(volume);
  EXPECT_EQ(volume->store->Get(KeyOf(0)).value(), "x");
  EXPECT_EQ(volume->store->Get(KeyOf(1)).value(), "x");
  EXPECT_EQ(volume->store->Get(KeyOf(2)).value(), std::nullopt);
}

}  // namespace
}  // namespace cofs
