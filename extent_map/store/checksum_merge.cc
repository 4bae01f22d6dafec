#include "extent_map/store/checksum_merge.h"

#include <exception>

#include "extent_map/records.h"

namespace cofs::store {
namespace {

// Lays `record` over `chunk`; false when it is none.
bool LayOver(ChecksumChunk& chunk, const rocksdb::Slice& record) {
  const auto later = DecodeChecksums({record.data(), record.size()});
  if (later.ok()) chunk = MergeChecksums(chunk, later.value());
  return later.ok();
}

template <typename Operands>
bool MergeAll(const rocksdb::Slice* existing, const Operands& operands,
              std::string* value) noexcept {
  try {
    ChecksumChunk chunk;
    if (existing != nullptr && !LayOver(chunk, *existing)) return false;
    for (const rocksdb::Slice& operand : operands)
      if (!LayOver(chunk, operand)) return false;
    *value = EncodeChecksums(chunk);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

bool ChecksumMerge::FullMergeV2(const MergeOperationInput& in,
                                MergeOperationOutput* out) const {
  return MergeAll(in.existing_value, in.operand_list, &out->new_value);
}

bool ChecksumMerge::PartialMergeMulti(const rocksdb::Slice&,
                                      const std::deque<rocksdb::Slice>& operands,
                                      std::string* value, rocksdb::Logger*) const {
  return MergeAll(nullptr, operands, value);
}

}  // namespace cofs::store
