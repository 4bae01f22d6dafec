#include "tests/store/workload.h"

#include <cstdio>
#include <cstdlib>
#include <random>

#include "extent_map/records.h"
#include "tests/store/hex.h"

namespace cofs {
namespace {

constexpr int kMergedBlockCount = 3 * static_cast<int>(kChecksumChunkBlocks);

std::string KeyOf(int key) {
  return ExtentKey(InodeId{static_cast<uint64_t>(key % 7 + 20)},
                   FileOffset{static_cast<uint64_t>(key) * kBlockBytes});
}

std::string CounterKey() { return InodeCounterKey(); }

DeviceOffset PlaceOf(int block) {
  return DeviceOffset{static_cast<uint64_t>(block) * kBlockBytes};
}

ChecksumChunk OneChecksum(int block, int n) {
  const uint64_t k = static_cast<uint64_t>(block) % kChecksumChunkBlocks;
  ChecksumChunk chunk;
  chunk.present = 1ull << k;
  chunk.crc32c[k] = static_cast<uint32_t>(n) * 2654435761u + static_cast<uint32_t>(block);
  return chunk;
}

}  // namespace

Workload::Workload(Options options) : options_(options) {
  std::mt19937_64 random(options_.seed);
  for (int n = 1; n <= options_.batch_count; ++n) {
    Step step;
    for (uint64_t i = random() % 4; i > 0; --i)
      step.puts.push_back(
          static_cast<int>(random() % static_cast<uint64_t>(options_.key_count)));
    if (random() % 3 == 0)
      step.deletes.push_back(
          static_cast<int>(random() % static_cast<uint64_t>(options_.key_count)));
    for (uint64_t i = random() % 3; i > 0; --i)
      step.merged_blocks.push_back(static_cast<int>(random() % kMergedBlockCount));
    step.is_large = options_.has_large_batches && random() % 40 == 0;
    steps_.push_back(std::move(step));
  }
}

std::string Workload::ValueOf(int key, int n, bool is_large) const {
  std::mt19937_64 random(options_.seed + static_cast<uint64_t>(key) * 1000003 +
                         static_cast<uint64_t>(n) * 7919);
  std::string value(is_large ? 70000 : random() % options_.value_bytes_max, '\0');
  for (size_t i = 0; i < value.size(); i += 8) {
    const uint64_t bits = random();
    for (size_t k = i; k < std::min(value.size(), i + 8); ++k)
      value[k] = static_cast<char>(bits >> (8 * (k - i)));
  }
  return value;
}

Batch Workload::MakeBatch(int n) const {
  const Step& step = steps_.at(static_cast<size_t>(n - 1));
  Batch batch;
  batch.Put(CounterKey(), std::to_string(n));
  for (const int key : step.puts) batch.Put(KeyOf(key), ValueOf(key, n, step.is_large));
  for (const int key : step.deletes) batch.Delete(KeyOf(key));
  for (const int block : step.merged_blocks)
    batch.Merge(ChecksumKey(PlaceOf(block)), EncodeChecksums(OneChecksum(block, n)));
  return batch;
}

Workload::Records Workload::RecordsAfter(int n) const {
  std::map<int, Put> puts;
  std::map<std::string, ChecksumChunk> chunks;
  for (int i = 1; i <= n; ++i) {
    const Step& step = steps_.at(static_cast<size_t>(i - 1));
    for (const int key : step.puts) puts[key] = {key, i};
    for (const int key : step.deletes) puts.erase(key);
    for (const int block : step.merged_blocks) {
      ChecksumChunk& chunk = chunks[ChecksumKey(PlaceOf(block))];
      chunk = MergeChecksums(chunk, OneChecksum(block, i));
    }
  }
  Records records;
  for (const auto& [key, put] : puts)
    records[KeyOf(key)] =
        ValueOf(key, put.n, steps_[static_cast<size_t>(put.n - 1)].is_large);
  for (const auto& [key, chunk] : chunks) records[key] = EncodeChecksums(chunk);
  if (n > 0) records[CounterKey()] = std::to_string(n);
  return records;
}

Result<int> Workload::CountBatches(const Store& store) const {
  TRY_ASSIGN(const auto counter, store.Get(CounterKey()));
  const int n = counter ? std::atoi(counter->c_str()) : 0;
  if (n > options_.batch_count) return Error(kDifference, "counter of batches");
  const Records expected = RecordsAfter(n);
  auto want = expected.begin();
  const auto cursor = store.NewCursor();
  for (cursor->Seek(""); cursor->valid(); cursor->Next(), ++want) {
    if (want == expected.end() || cursor->key() != want->first)
      return Error(kDifference, StrCat("after batch ", n,
                                       " a key is missing or "
                                       "should not be there"));
    if (cursor->value() != want->second)
      return Error(
          kDifference,
          StrCat("after batch ", n, " the value of ", ToHex(want->first), " has ",
                 cursor->value().size(), " bytes, not ", want->second.size(), ": ",
                 ToHex(cursor->value().substr(0, 64))));
  }
  TRY(cursor->status());
  if (want != expected.end())
    return Error(kDifference, StrCat("after batch ", n, " the last keys are gone"));
  return n;
}

uint64_t TestCount(const char* variable, uint64_t fixed) {
  const char* text = std::getenv(variable);
  return text == nullptr ? fixed : std::strtoull(text, nullptr, 0);
}

uint64_t TestSeed(uint64_t fixed) {
  const uint64_t seed = TestCount("COFS_SEED", fixed);
  std::printf("COFS_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

}  // namespace cofs
