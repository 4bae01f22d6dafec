// ChecksumMerge: RocksDB's merge operator for checksum records (records.h).
#pragma once

#include <rocksdb/merge_operator.h>

namespace cofs::store {

class ChecksumMerge : public rocksdb::MergeOperator {
 public:
  const char* Name() const override { return "cofs.checksums"; }
  bool FullMergeV2(const MergeOperationInput& in,
                   MergeOperationOutput* out) const override;
  bool PartialMergeMulti(const rocksdb::Slice& key,
                         const std::deque<rocksdb::Slice>& operands, std::string* value,
                         rocksdb::Logger* logger) const override;
};

}  // namespace cofs::store
