#include "copy_engine/read_back.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "base/aligned_buffer.h"

namespace cofs {
namespace {

constexpr uint64_t kSampleEveryBytes = 64 << 20;
constexpr uint64_t kProofBytes = 4 << 20;

class Comparer {
 public:
  Comparer(BlockDevice& device, const CopyTask& task) : device_(device), task_(task) {}

  // Source and destination at that position of the copy.
  Status Compare(uint64_t position, uint64_t length_bytes) {
    for (const CopyPiece& piece : task_.pieces) {
      if (length_bytes == 0) break;
      if (position >= piece.length_bytes) {
        position -= piece.length_bytes;
        continue;
      }
      const uint64_t length = std::min(length_bytes, piece.length_bytes - position);
      TRY(CompareRun(piece.source + position, piece.destination + position, length));
      length_bytes -= length;
      position = 0;
    }
    return OkStatus();
  }
  bool is_source_bad() const { return is_source_bad_; }

 private:
  Status CompareRun(DeviceOffset from, DeviceOffset to, uint64_t length_bytes) {
    IoOp reads[2] = {{.kind = IoKind::kRead,
                      .offset = from,
                      .data = source_.data(),
                      .length_bytes = length_bytes},
                     {.kind = IoKind::kRead,
                      .offset = to,
                      .data = destination_.data(),
                      .length_bytes = length_bytes}};
    TRY(device_.Execute(reads));
    if (task_.check_source) {
      const Status status =
          task_.check_source(from, source_.span().first(length_bytes));
      is_source_bad_ = !status.ok();
      TRY(status);
    }
    if (std::memcmp(source_.data(), destination_.data(), length_bytes) != 0)
      return Error(ErrorCode::kIo, StrCat("the copy differs from its source, ",
                                          length_bytes, " bytes from ", from, " to ", to));
    return OkStatus();
  }

  BlockDevice& device_;
  const CopyTask& task_;
  AlignedBuffer source_{kReadBackSampleBytes}, destination_{kReadBackSampleBytes};
  bool is_source_bad_ = false;
};

}  // namespace

ReadBack ReadBackCopy(BlockDevice& device, const CopyTask& task, uint64_t claimed_bytes,
                      CopyVerify verify, bool is_proved, uint64_t random_seed) {
  ReadBack result;
  std::mt19937_64 random(random_seed);
  Comparer comparer(device, task);
  uint64_t step = 0;
  for (uint64_t begin = 0; begin < claimed_bytes && result.status.ok(); begin += step) {
    const bool reads_all =
        verify == CopyVerify::kAll || (!is_proved && begin < kProofBytes);
    step = reads_all ? kReadBackSampleBytes : kSampleEveryBytes;
    const uint64_t stretch = std::min(step, claimed_bytes - begin);
    const uint64_t length_bytes = std::min(kReadBackSampleBytes, stretch);
    const uint64_t places = (stretch - length_bytes) / kBlockBytes + 1;
    const uint64_t offset = random() % places * kBlockBytes;
    result.status = comparer.Compare(begin + offset, length_bytes);
    result.verified_bytes += length_bytes;
  }
  result.is_source_bad = comparer.is_source_bad();
  return result;
}

}  // namespace cofs
