// The allocator on a fragmented volume of 1 TiB, extents and checksums: in memory.
#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"
#include "extent_map/allocator.h"
#include "extent_map/extent.h"
#include "extent_map/records.h"

namespace cofs {
namespace {

constexpr uint64_t kTiB = uint64_t{1} << 40;

// Free runs of 4 KiB to 1 MiB all over the volume, `run_count` of them.
std::unique_ptr<Allocator> FragmentedAllocator(uint64_t run_count) {
  auto allocator = std::make_unique<Allocator>(kTiB);
  std::mt19937_64 random(1);
  const uint64_t distance = RoundDown(kTiB / run_count, kBlockBytes);
  for (uint64_t i = 0; i < run_count; ++i) {
    const uint64_t length = (1 + random() % 255) * kBlockBytes;
    CHECK(allocator->Release({DeviceOffset{i * distance}, length}).ok());
  }
  return allocator;
}

// Takes a run of `length` near a random goal and gives it back.
void BM_AllocateAndRelease(benchmark::State& state) {
  const auto allocator = FragmentedAllocator(static_cast<uint64_t>(state.range(0)));
  const auto length = static_cast<uint64_t>(state.range(1));
  std::mt19937_64 random(2);
  for (auto _ : state) {
    const DeviceOffset goal{RoundDown(random() % kTiB, kBlockBytes)};
    auto runs = allocator->Allocate({.length_bytes = length, .goal = goal});
    CHECK(runs.ok(), runs.ok() ? "" : runs.error().ToString());
    for (const DeviceRange& run : *runs) CHECK(allocator->Release(run).ok());
  }
}
BENCHMARK(BM_AllocateAndRelease)
    ->ArgNames({"runs", "bytes"})
    ->ArgsProduct({{10'000, 1'000'000}, {4096, 128 << 10, 16 << 20}});

// Fills what is left of the volume by small pieces, each next to the one before.
void BM_AllocateNextToTheLast(benchmark::State& state) {
  const auto allocator = FragmentedAllocator(static_cast<uint64_t>(state.range(0)));
  DeviceOffset goal{0};
  std::vector<DeviceRange> taken;
  for (auto _ : state) {
    auto runs = allocator->Allocate({.length_bytes = kBlockBytes, .goal = goal});
    if (!runs.ok()) {
      state.PauseTiming();
      for (const DeviceRange& run : taken) CHECK(allocator->Release(run).ok());
      taken.clear();
      state.ResumeTiming();
      continue;
    }
    goal = runs->back().end();
    taken.insert(taken.end(), runs->begin(), runs->end());
  }
}
BENCHMARK(BM_AllocateNextToTheLast)->ArgName("runs")->Arg(10'000)->Arg(1'000'000);

void BM_AllocatorImage(benchmark::State& state) {
  const auto allocator = FragmentedAllocator(static_cast<uint64_t>(state.range(0)));
  const std::string image = allocator->EncodeImage();
  for (auto _ : state) {
    auto decoded = Allocator::DecodeImage(image, kTiB);
    CHECK(decoded.ok());
    benchmark::DoNotOptimize(decoded);
  }
  state.SetBytesProcessed(static_cast<int64_t>(image.size()) * state.iterations());
}
BENCHMARK(BM_AllocatorImage)->ArgName("runs")->Arg(10'000)->Arg(1'000'000)
    ->Unit(benchmark::kMillisecond);

// One block of a file of many extents is overwritten.
void BM_ReplaceOneBlock(benchmark::State& state) {
  const Extent existing{FileOffset{0}, DeviceOffset{1 << 30}, 1 << 20, 0};
  const Extent replacement{FileOffset{512 << 10}, DeviceOffset{2u << 30}, kBlockBytes, 0};
  for (auto _ : state) {
    benchmark::DoNotOptimize(ReplaceRange({&existing, 1}, replacement.file_offset,
                                          replacement.file_end(), {&replacement, 1}));
  }
}
BENCHMARK(BM_ReplaceOneBlock);

void BM_InodeRecord(benchmark::State& state) {
  InodeRecord record;
  record.mode = 0100644;
  record.link_count = 1;
  record.size_bytes = 123456;
  record.mtime = record.ctime = record.atime = record.btime = {1700000000, 123456789};
  for (auto _ : state) {
    const auto decoded = DecodeInode(EncodeInode(record));
    CHECK(decoded.ok());
    benchmark::DoNotOptimize(decoded);
  }
}
BENCHMARK(BM_InodeRecord);

void BM_MergeChecksums(benchmark::State& state) {
  ChecksumChunk earlier, later;
  earlier.present = ~uint64_t{0};
  later.present = 0xff00;
  for (auto _ : state) {
    const auto a = DecodeChecksums(EncodeChecksums(earlier));
    const auto b = DecodeChecksums(EncodeChecksums(later));
    benchmark::DoNotOptimize(MergeChecksums(*a, *b));
  }
}
BENCHMARK(BM_MergeChecksums);

void BM_Crc32c(benchmark::State& state) {
  const std::string block(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(Crc32c(block.data(), block.size()));
  state.SetBytesProcessed(state.range(0) * state.iterations());
}
BENCHMARK(BM_Crc32c)->Arg(4096)->Arg(1 << 20);

}  // namespace
}  // namespace cofs
