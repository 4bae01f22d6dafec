#include "device/block_device.h"

#include "base/check.h"

namespace cofs {
namespace {

Status ExecuteOne(BlockDevice& device, IoOp op) {
  // A flush has no range; everything else of no bytes is nothing to do.
  if (op.kind != IoKind::kFlush && op.length_bytes == 0)
    return CheckRange(device.geometry(), op.offset, 0);
  return device.Execute({&op, 1});
}

}  // namespace

Status BlockDevice::Read(DeviceOffset offset, std::span<char> out) {
  return ExecuteOne(*this, {.kind = IoKind::kRead,
                            .offset = offset,
                            .data = out.data(),
                            .length_bytes = out.size()});
}

Status BlockDevice::Write(DeviceOffset offset, std::span<const char> data, bool fua) {
  return ExecuteOne(*this, {.kind = IoKind::kWrite,
                            .offset = offset,
                            .data = const_cast<char*>(data.data()),
                            .length_bytes = data.size(),
                            .fua = fua});
}

Status BlockDevice::WriteZeroes(DeviceRange range) {
  return ExecuteOne(*this, {.kind = IoKind::kWriteZeroes,
                            .offset = range.offset,
                            .length_bytes = range.length_bytes});
}

Status BlockDevice::Discard(DeviceRange range) {
  return ExecuteOne(*this, {.kind = IoKind::kDiscard,
                            .offset = range.offset,
                            .length_bytes = range.length_bytes});
}

Status BlockDevice::Flush() { return ExecuteOne(*this, {.kind = IoKind::kFlush}); }

Status BlockDevice::Copy(std::span<const DeviceRange> /*sources*/,
                         DeviceOffset /*destination*/) {
  return Error(ErrorCode::kNotSupported, geometry().path + " has no copy command");
}

Status CheckRange(const DeviceGeometry& geometry, DeviceOffset offset,
                  uint64_t length_bytes) {
  if (!IsBlockAligned(offset.value()) || !IsBlockAligned(length_bytes)) {
    return Error(ErrorCode::kInvalidArgument,
                 StrCat(geometry.path, ": ", length_bytes, " bytes at ", offset,
                        " are not whole blocks"));
  }
  if (length_bytes > geometry.size_bytes ||
      offset.value() > geometry.size_bytes - length_bytes) {
    return Error(ErrorCode::kInvalidArgument,
                 StrCat(geometry.path, ": ", length_bytes, " bytes at ", offset,
                        " are outside its ", geometry.size_bytes, " bytes"));
  }
  return OkStatus();
}

Status CheckOp(const DeviceGeometry& geometry, const IoOp& op) {
  if (op.kind == IoKind::kFlush) return OkStatus();
  if (op.kind != IoKind::kRead && geometry.is_read_only)
    return Error(ErrorCode::kReadOnly, geometry.path + " is open read-only");
  TRY(CheckRange(geometry, op.offset, op.length_bytes));
  const bool has_data = op.kind == IoKind::kRead || op.kind == IoKind::kWrite;
  if (has_data && op.data == nullptr && op.length_bytes > 0)
    return Error(ErrorCode::kInvalidArgument, geometry.path + ": an I/O without memory");
  return OkStatus();
}

std::string_view NameOf(IoKind kind) {
  switch (kind) {
    case IoKind::kRead:
      return "read";
    case IoKind::kWrite:
      return "write";
    case IoKind::kWriteZeroes:
      return "write-zeroes";
    case IoKind::kDiscard:
      return "discard";
    case IoKind::kFlush:
      return "flush";
  }
  return "I/O";
}

}  // namespace cofs
