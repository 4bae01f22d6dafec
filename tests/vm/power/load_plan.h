// LoadPlan: what a thread of the workload does, operation by operation.
//
// It follows from a seed and from the sizes of the thread's files alone, so that the host
// can tell afterwards, from the number of operations done, what must be in them: the
// guest carries the plan out (load_run.cc), the host plays it through (load_check.cc).
//
// Not thread-safe; one plan for each thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <random>
#include <string>

namespace cofs {

inline constexpr uint64_t kLoadBlock = 4096;
inline constexpr uint64_t kLoadBlocksMax = 256;  // of a file, but for what a copy adds
inline constexpr int kLoadFiles = 6;
inline constexpr int kLoadThreads = 3;

enum class LoadKind : uint8_t {
  kCreate,         // file
  kWriteDirect,    // file, offset, length, seed: one request, not durable
  kWriteDurable,   // the same with O_DSYNC
  kWriteBuffered,  // the same at any byte, followed by fdatasync
  kCopy,           // copy_file_range of [source_offset, + length) of source
  kClone,          // the same, armed as a clone
  kTruncate,       // file to `length` bytes
  kPunch,          // file, offset, length
  kRename,         // source to file, which may exist
  kUnlink,         // file
  kFsync,          // file
  kFsyncDirectory,  // of the thread; not syncfs, of which Linux 6.1 tells no FUSE daemon
};

struct LoadOperation {
  LoadKind kind = LoadKind::kFsyncDirectory;
  int file = 0, source = 0;
  uint64_t offset = 0, source_offset = 0, length = 0, seed = 0;

  // Nothing that was done before it, by any thread, is lost after it.
  bool makes_durable() const {
    return kind == LoadKind::kWriteDurable || kind == LoadKind::kWriteBuffered ||
           kind == LoadKind::kFsync || kind == LoadKind::kFsyncDirectory;
  }
  // It can be there by pieces (docs/RELIABILITY.md, "Not promised").
  bool by_pieces() const {
    return kind == LoadKind::kWriteBuffered || kind == LoadKind::kCopy ||
           kind == LoadKind::kTruncate || kind == LoadKind::kPunch;
  }
  // Tells one operation from another.
  uint64_t fingerprint() const;
  std::string Words() const;
};

// Of each file: nothing where there is none.
using LoadSizes = std::array<std::optional<uint64_t>, kLoadFiles>;

std::string LoadFileName(int file);                // "f3"
std::string LoadDirectoryName(int thread);         // "t0"
uint64_t LoadThreadSeed(uint64_t seed, int thread);

class LoadPlan {
 public:
  LoadPlan(uint64_t seed, LoadSizes sizes) : random_(seed), sizes_(sizes) {}

  // The next operation; the sizes are those after it.
  LoadOperation Next();
  const LoadSizes& sizes() const { return sizes_; }

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  LoadOperation Choose();
  void ChooseWrite(LoadOperation& operation);
  bool ChooseCopy(LoadOperation& operation);
  void Grow(int file, uint64_t end);
  void Follow(const LoadOperation& operation);

  std::mt19937_64 random_;
  LoadSizes sizes_;
};

}  // namespace cofs
