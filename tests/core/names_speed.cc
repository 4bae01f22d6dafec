// How many files a second the core makes, looks up and removes, without FUSE, on a
// device in memory, from one thread. Prints; checks nothing.
#include <time.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>

#include "base/check.h"
#include "tests/core/test_volume.h"

namespace cofs {
namespace {

double ThreadSeconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// By the clock on the wall, and by the time that this thread had a processor.
void Measure(const char* what, int count, const std::function<void(int)>& body) {
  const auto start = std::chrono::steady_clock::now();
  const double cpu_start = ThreadSeconds();
  for (int i = 0; i < count; ++i) body(i);
  const double cpu = ThreadSeconds() - cpu_start;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::cout << what << ": " << static_cast<int>(count / took.count()) << " per s, "
            << static_cast<int>(count / cpu) << " per s of processor time" << std::endl;
}

int Main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 200'000;
  TestVolume volume(4ull << 30);
  const InodeId directory = MakeDirectory(*volume, kRootInode, "d");
  const auto name = [](int i) { return Numbered("file-", i); };
  Measure("create", count, [&](int i) {
    const auto made = volume->Create(directory, name(i), File());
    CHECK(made.ok());
    volume->Forget(made->id, 1);
  });
  Measure("look-up (warm)", count, [&](int i) {
    const auto found = volume->Lookup(directory, name(i));
    CHECK(found.ok());
    volume->Forget(found->id, 1);
  });
  Measure("look-up of nothing", count,
          [&](int i) { CHECK(!volume->Lookup(directory, StrCat("no", name(i))).ok()); });
  volume.Remount();
  Measure("look-up (cold)", count, [&](int i) {
    const auto found = volume->Lookup(directory, name(i));
    CHECK(found.ok());
    volume->Forget(found->id, 1);
  });
  Measure("rename", count, [&](int i) {
    CHECK(volume
              ->Rename(directory, name(i), directory, StrCat("moved-", name(i)),
                       RenameMode::kReplace)
              .ok());
  });
  Measure("unlink", count, [&](int i) {
    CHECK(volume->Unlink(directory, StrCat("moved-", name(i))).ok());
  });
  const auto start = std::chrono::steady_clock::now();
  CHECK(volume->DrainRemoved().ok());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::cout << "then to free them: " << took.count() << " s\n";
  return 0;
}

}  // namespace
}  // namespace cofs

int main(int argc, char** argv) { return cofs::Main(argc, argv); }
