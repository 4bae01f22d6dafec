// How fast the core reads, writes and copies, without FUSE, on a device in memory or on
// an image. Prints; checks only that everything succeeds.
//
//   core_data_speed [IMAGE] [THREADS]     ("-" or nothing: memory)
#include <time.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "device/file_device.h"
#include "device/memory_device.h"
#include "fs/core/volume.h"
#include "mkfs/format.h"

namespace cofs {
namespace {

constexpr uint64_t kVolumeBytes = 3ull << 29;
constexpr uint64_t kFileBytes = 256ull << 20;
constexpr uint64_t kBig = 1 << 20;

double ProcessSeconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// By the clock on the wall, and by the time that the process had processors.
void Measure(const std::string& what, uint64_t count, uint64_t bytes, int thread_count,
             const std::function<void(int thread, uint64_t i)>& body) {
  const auto start = std::chrono::steady_clock::now();
  const double cpu_start = ProcessSeconds();
  std::vector<std::thread> threads;
  const uint64_t share = count / static_cast<uint64_t>(thread_count);
  for (int thread = 0; thread < thread_count; ++thread)
    threads.emplace_back([&, thread] {
      for (uint64_t i = 0; i < share; ++i)
        body(thread, static_cast<uint64_t>(thread) * share + i);
    });
  for (std::thread& thread : threads) thread.join();
  const double cpu = ProcessSeconds() - cpu_start;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const auto done = static_cast<double>(share * static_cast<uint64_t>(thread_count));
  std::cout << what << ": " << static_cast<uint64_t>(done / took.count()) << " per s, "
            << static_cast<uint64_t>(done * static_cast<double>(bytes) / took.count() / 1e6)
            << " MB/s; " << cpu / done * 1e6 << " us of processor each" << std::endl;
}

template <typename T>
T Checked(Result<T> result) {
  CHECK(result.ok(), result.ok() ? "" : result.error().ToString());
  return std::move(result).value();
}
void CheckOk(const Status& status) {
  CHECK(status.ok(), status.ok() ? "" : status.error().ToString());
}

// The first write to memory costs more than all that is measured here.
void Touch(BlockDevice& device) {
  AlignedBuffer buffer = AlignedBuffer::Zeroed(kBig);
  for (uint64_t at = 0; at < device.geometry().size_bytes; at += kBig)
    CheckOk(device.Write(DeviceOffset{at}, buffer.span()));
}

int Main(int argc, char** argv) {
  const std::string path = argc > 1 ? argv[1] : "-";
  const int threads = argc > 2 ? std::atoi(argv[2]) : 1;
  std::unique_ptr<BlockDevice> device;
  if (path == "-") {
    device = std::make_unique<MemoryDevice>(kVolumeBytes);
  } else {
    FileDevice::CreateImage(path, kVolumeBytes).IgnoreError("it may be there already");
    device = Checked(FileDevice::Open(path, OpenMode::kReadWrite));
  }
  Touch(*device);
  FormatOptions format;
  format.discard = false;
  format.force = true;
  Checked(FormatDevice(*device, format));
  const auto volume = Checked(Volume::Mount(std::move(device), {}));
  const InodeId file = Checked(volume->Create(kRootInode, "f", {.mode = 0100644})).id;
  const InodeId copy = Checked(volume->Create(kRootInode, "c", {.mode = 0100644})).id;

  std::vector<AlignedBuffer> buffers;
  std::vector<std::mt19937_64> random;
  for (int i = 0; i < threads; ++i) {
    buffers.emplace_back(kBig);
    random.emplace_back(static_cast<uint64_t>(i));
    for (uint64_t at = 0; at < kBig; at += 8) {
      const uint64_t value = random.back()();
      std::memcpy(buffers.back().data() + at, &value, 8);
    }
  }
  const auto write = [&](int thread, uint64_t offset, uint64_t bytes) {
    const AlignedBuffer& buffer = buffers[static_cast<size_t>(thread)];
    CheckOk(volume->Write(file, FileOffset{offset}, buffer.span().first(bytes), {}));
  };
  const auto read = [&](int thread, uint64_t offset, uint64_t bytes) {
    const auto got = volume->Read(file, FileOffset{offset}, bytes,
                                  buffers[static_cast<size_t>(thread)]);
    CHECK(got.ok() && got->size() == bytes);
  };
  const auto any_block = [&](int thread) {
    return random[static_cast<size_t>(thread)]() % (kFileBytes / kBlockBytes) * kBlockBytes;
  };
  constexpr uint64_t kBigCount = kFileBytes / kBig, kSmallCount = 40000;
  for (const char* round : {"new", "again"}) {
    Measure(StrCat("write 1 MiB sequential, ", round), kBigCount, kBig, threads,
            [&](int thread, uint64_t i) { write(thread, i * kBig, kBig); });
    CheckOk(volume->SyncAll());
  }
  Measure("read 1 MiB sequential", kBigCount, kBig, threads,
          [&](int thread, uint64_t i) { read(thread, i * kBig, kBig); });
  Measure("read 4 KiB random", kSmallCount, kBlockBytes, threads,
          [&](int thread, uint64_t) { read(thread, any_block(thread), kBlockBytes); });
  const uint64_t copied = [&] {
    uint64_t sum = 0;
    Measure("copy 256 MiB", 1, kFileBytes, 1, [&](int, uint64_t) {
      sum = Checked(volume->Copy({.source = file,
                                  .source_offset = FileOffset{0},
                                  .destination = copy,
                                  .destination_offset = FileOffset{0},
                                  .length_bytes = kFileBytes}));
    });
    return sum;
  }();
  CHECK(copied == kFileBytes);
  Measure("write 4 KiB random", kSmallCount, kBlockBytes, threads,
          [&](int thread, uint64_t) { write(thread, any_block(thread), kBlockBytes); });
  Measure("read 4 KiB random, scattered", kSmallCount, kBlockBytes, threads,
          [&](int thread, uint64_t) { read(thread, any_block(thread), kBlockBytes); });
  Measure("read 1 MiB sequential, scattered", kBigCount, kBig, threads,
          [&](int thread, uint64_t i) { read(thread, i * kBig, kBig); });
  Measure("clone 256 MiB, scattered", 1, kFileBytes, 1, [&](int, uint64_t) {
    CheckOk(volume->Clone({.source = file,
                           .source_offset = FileOffset{0},
                           .destination = copy,
                           .destination_offset = FileOffset{0},
                           .length_bytes = kFileBytes}));
  });
  const uint64_t extents =
      Checked(volume->Map(file, FileOffset{0}, FileOffset{kFileBytes}, SIZE_MAX)).size();
  std::cout << extents << " extents at the end" << std::endl;
  CheckOk(volume->Unmount());
  return 0;
}

}  // namespace
}  // namespace cofs

int main(int argc, char** argv) { return cofs::Main(argc, argv); }
