#include "extent_map/store/batch.h"

#include "extent_map/records.h"

namespace cofs {
namespace {

rocksdb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

void CheckAdded(const rocksdb::Status& status) {
  CHECK(status.ok(), "batch of records: ", status.ToString());
}

}  // namespace

Batch::Batch() : rep_(std::make_unique<Rep>()) {}
Batch::~Batch() = default;
Batch::Batch(Batch&&) noexcept = default;
Batch& Batch::operator=(Batch&&) noexcept = default;

void Batch::Put(std::string_view key, std::string_view value) {
  CheckAdded(rep_->batch.Put(ToSlice(key), ToSlice(value)));
}

void Batch::Delete(std::string_view key) { CheckAdded(rep_->batch.Delete(ToSlice(key))); }

void Batch::Merge(std::string_view key, std::string_view operand) {
  const auto parsed = ParseKey(key);
  CHECK(parsed.ok() && parsed->kind == RecordKind::kChecksums,
        "a merge into a record that holds no checksums");
  CheckAdded(rep_->batch.Merge(ToSlice(key), ToSlice(operand)));
}

bool Batch::empty() const { return rep_->batch.Count() == 0; }
size_t Batch::size_bytes() const { return rep_->batch.GetDataSize(); }

}  // namespace cofs
