#include "tests/vm/power/load_plan.h"

#include <algorithm>
#include <iterator>

#include "tests/vm/guest/stream.h"

namespace cofs {
namespace {

constexpr const char* kWords[] = {"create",   "direct write", "durable write", "buffered write",
                                  "copy",     "clone",        "truncate",      "punch",
                                  "rename",   "unlink",       "fsync",         "fsync of the directory"};

// Of a hundred operations on a file that exists. Few make things durable: each of them
// does so for all threads, and what is between them is at stake.
constexpr struct {
  LoadKind kind;
  unsigned weight;
} kWeights[] = {
    {LoadKind::kWriteDirect, 30}, {LoadKind::kWriteDurable, 1}, {LoadKind::kWriteBuffered, 3},
    {LoadKind::kCopy, 31},        {LoadKind::kClone, 16},       {LoadKind::kTruncate, 5},
    {LoadKind::kPunch, 4},        {LoadKind::kRename, 4},       {LoadKind::kUnlink, 3},
    {LoadKind::kFsync, 2},        {LoadKind::kFsyncDirectory, 1},
};

}  // namespace

uint64_t LoadOperation::fingerprint() const {
  uint64_t sum = static_cast<uint64_t>(kind);
  for (const uint64_t each : {static_cast<uint64_t>(file), static_cast<uint64_t>(source), offset,
                              source_offset, length, seed})
    sum = Mix(sum ^ each);
  return sum;
}

std::string LoadOperation::Words() const {
  std::string text = kWords[static_cast<size_t>(kind)];
  if (kind == LoadKind::kFsyncDirectory) return text;
  text += " " + LoadFileName(file) + " offset " + std::to_string(offset) + " length " +
          std::to_string(length);
  if (kind == LoadKind::kCopy || kind == LoadKind::kClone || kind == LoadKind::kRename)
    text += " from " + LoadFileName(source) + " at " + std::to_string(source_offset);
  return text;
}

std::string LoadFileName(int file) { return "f" + std::to_string(file); }
std::string LoadDirectoryName(int thread) { return "t" + std::to_string(thread); }
uint64_t LoadThreadSeed(uint64_t seed, int thread) {
  return Mix(seed * kLoadThreads + static_cast<uint64_t>(thread));
}

LoadOperation LoadPlan::Next() {
  const LoadOperation operation = Choose();
  Follow(operation);
  return operation;
}

LoadOperation LoadPlan::Choose() {
  LoadOperation operation;
  operation.file = static_cast<int>(Below(kLoadFiles));
  operation.seed = random_();
  const auto& size = sizes_[static_cast<size_t>(operation.file)];
  if (!size) {
    operation.kind = LoadKind::kCreate;
    return operation;
  }
  uint64_t lot = Below(100);
  const auto* weight = std::begin(kWeights);
  while (lot >= weight->weight) lot -= weight++->weight;
  operation.kind = weight->kind;
  switch (operation.kind) {
    case LoadKind::kWriteDirect:
    case LoadKind::kWriteDurable:
    case LoadKind::kWriteBuffered:
      ChooseWrite(operation);
      break;
    case LoadKind::kCopy:
    case LoadKind::kClone:
      if (ChooseCopy(operation)) break;
      operation.kind = LoadKind::kWriteDirect;
      ChooseWrite(operation);
      break;
    case LoadKind::kTruncate:
      operation.length = Below(kLoadBlocksMax * kLoadBlock);
      break;
    case LoadKind::kPunch:
      operation.offset = Below(kLoadBlocksMax * kLoadBlock);
      operation.length = 1 + Below(200000);
      break;
    case LoadKind::kRename:
      operation.source = operation.file;
      operation.file = static_cast<int>(Below(kLoadFiles));
      break;
    default:
      break;
  }
  return operation;
}

void LoadPlan::ChooseWrite(LoadOperation& operation) {
  operation.offset = Below(kLoadBlocksMax - 32) * kLoadBlock;
  operation.length = (1 + Below(32)) * kLoadBlock;
  if (operation.kind != LoadKind::kWriteBuffered) return;
  operation.offset += Below(kLoadBlock);
  operation.length -= Below(kLoadBlock);
}

// Whole blocks, up to the end of the source. False when there is nothing to copy.
bool LoadPlan::ChooseCopy(LoadOperation& operation) {
  operation.source = static_cast<int>(Below(kLoadFiles));
  const uint64_t size = sizes_[static_cast<size_t>(operation.source)].value_or(0);
  if (operation.source == operation.file || size == 0) return false;
  const uint64_t blocks = (size + kLoadBlock - 1) / kLoadBlock;
  const uint64_t block = Below(blocks);
  operation.source_offset = block * kLoadBlock;
  operation.length =
      std::min((1 + Below(blocks - block)) * kLoadBlock, size - operation.source_offset);
  operation.offset = Below(kLoadBlocksMax / 2) * kLoadBlock;
  // A clone may end inside a block only at the end of both files.
  if (operation.kind == LoadKind::kClone &&
      operation.offset + operation.length < *sizes_[static_cast<size_t>(operation.file)])
    operation.length -= operation.length % kLoadBlock;
  return operation.length > 0;
}

void LoadPlan::Grow(int file, uint64_t end) {
  auto& size = sizes_[static_cast<size_t>(file)];
  size = std::max(size.value_or(0), end);
}

void LoadPlan::Follow(const LoadOperation& operation) {
  auto& size = sizes_[static_cast<size_t>(operation.file)];
  switch (operation.kind) {
    case LoadKind::kCreate:
      size = 0;
      break;
    case LoadKind::kWriteDirect:
    case LoadKind::kWriteDurable:
    case LoadKind::kWriteBuffered:
    case LoadKind::kCopy:
    case LoadKind::kClone:
      Grow(operation.file, operation.offset + operation.length);
      break;
    case LoadKind::kTruncate:
      size = operation.length;
      break;
    case LoadKind::kRename:
      if (operation.source == operation.file) break;
      size = sizes_[static_cast<size_t>(operation.source)];
      sizes_[static_cast<size_t>(operation.source)].reset();
      break;
    case LoadKind::kUnlink:
      size.reset();
      break;
    default:
      break;
  }
}

}  // namespace cofs
