#include "copy_engine/buffered_way.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/check.h"

namespace cofs {
namespace {

constexpr size_t kIdleArenaCountMax = 4;

}  // namespace

// One Run(). Chunks are numbered in the order of the pieces; each goes through one
// slot: read, check, write.
//  1. A chunk's write is sent only after its data was read and checked.
//  2. After the first failure no chunk is started; chunks behind it are dropped, those
//     before it are finished, so that the prefix is as long as it can be.
//  3. Everything in flight has been reaped when Run() returns.
class BufferedWay::Pipeline {
 public:
  Pipeline(Arena& arena, uint64_t chunk_bytes, size_t slot_count, const CopyTask& task)
      : task_(task), queue_(*arena.queue), chunk_bytes_(chunk_bytes), slots_(slot_count) {
    for (size_t i = 0; i < slot_count; ++i) {
      slots_[i].memory = arena.memory.data() + i * chunk_bytes;
      free_slots_.push_back(slot_count - 1 - i);
    }
  }

  CopyOutcome Run() {
    StartChunks();
    while (IoOp* op = queue_.Reap()) {
      OnCompletion(op->tag);
      StartChunks();
    }
    CopyOutcome outcome;
    outcome.completed_bytes = prefix_bytes_;
    outcome.command_count = next_chunk_;
    if (error_) {
      outcome.stop = CopyStop::kCopyFailed;
      outcome.error = std::move(error_);
    } else if (is_interrupted_) {
      outcome.stop = CopyStop::kInterrupted;
    }
    return outcome;
  }

 private:
  struct Slot {
    char* memory = nullptr;
    uint64_t chunk = 0;
    CopyPiece piece{};  // the part of the request that the chunk is
    IoOp op{};
    std::chrono::steady_clock::time_point begun_at{};
  };

  bool HasFailedBefore(uint64_t chunk) const { return error_ && failed_chunk_ < chunk; }

  void StartChunks() {
    while (!free_slots_.empty() && !error_ && !is_interrupted_ &&
           piece_index_ < task_.pieces.size()) {
      if (task_.interrupted && task_.interrupted()) {
        is_interrupted_ = true;
        return;
      }
      const size_t slot_index = free_slots_.back();
      free_slots_.pop_back();
      Slot& slot = slots_[slot_index];
      slot.chunk = next_chunk_++;
      slot.piece = TakeChunk();
      slot.begun_at = std::chrono::steady_clock::now();
      slot.op = {.kind = IoKind::kRead,
                 .offset = slot.piece.source,
                 .data = slot.memory,
                 .length_bytes = slot.piece.length_bytes,
                 .tag = slot_index};
      queue_.Submit(&slot.op);
    }
  }

  CopyPiece TakeChunk() {
    const CopyPiece& piece = task_.pieces[piece_index_];
    const CopyPiece chunk = {
        .source = piece.source + done_in_piece_,
        .destination = piece.destination + done_in_piece_,
        .length_bytes = std::min(chunk_bytes_, piece.length_bytes - done_in_piece_)};
    done_in_piece_ += chunk.length_bytes;
    if (done_in_piece_ == piece.length_bytes) {
      ++piece_index_;
      done_in_piece_ = 0;
    }
    return chunk;
  }

  void OnCompletion(size_t slot_index) {
    Slot& slot = slots_[slot_index];
    if (slot.op.error) {
      Fail(slot, slot.op.error->Within("copy"));
    } else if (slot.op.kind == IoKind::kWrite) {
      AddToPrefix(slot);
    } else if (!HasFailedBefore(slot.chunk) && IsGood(slot)) {
      slot.op.kind = IoKind::kWrite;
      slot.op.offset = slot.piece.destination;
      queue_.Submit(&slot.op);
      return;
    }
    if (task_.latency != nullptr)
      task_.latency->Add(std::chrono::steady_clock::now() - slot.begun_at);
    free_slots_.push_back(slot_index);
  }

  bool IsGood(const Slot& slot) {
    if (!task_.check_source) return true;
    const Status status =
        task_.check_source(slot.piece.source, {slot.memory, slot.piece.length_bytes});
    if (!status.ok()) Fail(slot, status.error());
    return status.ok();
  }

  void Fail(const Slot& slot, Error error) {
    if (error_ && failed_chunk_ <= slot.chunk) return;
    failed_chunk_ = slot.chunk;
    error_ = std::move(error);
  }

  void AddToPrefix(const Slot& slot) {
    written_.emplace_back(slot.chunk, slot.piece.length_bytes);
    // At most slot_count chunks are ahead of the oldest one that is missing, so a
    // search is cheap.
    for (bool is_found = true; is_found;) {
      const auto next =
          std::find_if(written_.begin(), written_.end(),
                       [&](const auto& w) { return w.first == prefix_chunk_count_; });
      is_found = next != written_.end();
      if (!is_found) break;
      prefix_bytes_ += next->second;
      ++prefix_chunk_count_;
      *next = written_.back();
      written_.pop_back();
    }
  }

  const CopyTask& task_;
  IoQueue& queue_;
  const uint64_t chunk_bytes_;
  std::vector<Slot> slots_;
  std::vector<size_t> free_slots_;
  size_t piece_index_ = 0;  // the next chunk begins here
  uint64_t done_in_piece_ = 0;
  uint64_t next_chunk_ = 0;

  std::vector<std::pair<uint64_t, uint64_t>> written_;  // chunk, bytes; beyond the prefix
  uint64_t prefix_chunk_count_ = 0;
  uint64_t prefix_bytes_ = 0;
  bool is_interrupted_ = false;
  std::optional<Error> error_;  // of the earliest chunk that failed
  uint64_t failed_chunk_ = 0;
};

BufferedWay::BufferedWay(BlockDevice& device, const CopyEngine::Options& options)
    : device_(device) {
  const uint64_t memory_bytes =
      std::max(RoundDown(options.in_flight_bytes_max, kBlockBytes), kBlockBytes);
  chunk_bytes_ =
      std::clamp(RoundDown(options.chunk_bytes, kBlockBytes), kBlockBytes, memory_bytes);
  slot_count_ = static_cast<size_t>(
      std::clamp<uint64_t>(memory_bytes / chunk_bytes_, 1, std::max(options.depth, 1u)));
}

BufferedWay::~BufferedWay() = default;

CopyOutcome BufferedWay::Run(const CopyTask& task) {
  uint64_t total_bytes = 0;
  for (const CopyPiece& piece : task.pieces) total_bytes += piece.length_bytes;
  std::unique_ptr<Arena> arena = TakeArena();
  // Registering faults all of the memory in: only for copies that use all of it.
  if (!arena->is_registered && total_bytes >= arena->memory.size_bytes()) {
    arena->queue->UseMemory(arena->memory.span());
    arena->is_registered = true;
  }
  const size_t slot_count = std::clamp<size_t>(task.depth, 1, slot_count_);
  CopyOutcome outcome = Pipeline(*arena, chunk_bytes_, slot_count, task).Run();
  ReturnArena(std::move(arena));
  return outcome;
}

std::unique_ptr<BufferedWay::Arena> BufferedWay::TakeArena() {
  {
    MutexLock lock(mutex_);
    if (!idle_arenas_.empty()) {
      auto arena = std::move(idle_arenas_.back());
      idle_arenas_.pop_back();
      return arena;
    }
  }
  auto arena = std::make_unique<Arena>();
  arena->memory = AlignedBuffer(slot_count_ * chunk_bytes_);
  arena->queue = device_.NewQueue(static_cast<unsigned>(slot_count_));
  return arena;
}

void BufferedWay::ReturnArena(std::unique_ptr<Arena> arena) {
  MutexLock lock(mutex_);
  if (idle_arenas_.size() < kIdleArenaCountMax) idle_arenas_.push_back(std::move(arena));
}

}  // namespace cofs
