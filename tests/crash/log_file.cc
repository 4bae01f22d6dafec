#include "tests/crash/log_file.h"

#include <fstream>
#include <type_traits>

namespace cofs {
namespace {

constexpr uint64_t kMagic = 0x676f6c2d73666f63;

template <typename T>
void Put(std::ostream& out, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  out.write(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
T Take(std::istream& in) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value{};
  in.read(reinterpret_cast<char*>(&value), sizeof value);
  return value;
}

}  // namespace

Status WriteLogFile(const IoLog& log, const std::string& path) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  Put(out, kMagic);
  Put<uint64_t>(out, log.ios.size());
  for (const LoggedIo& io : log.ios) {
    Put(out, io.kind);
    Put(out, io.range.offset.value());
    Put(out, io.range.length_bytes);
    Put(out, io.fua);
    Put(out, io.is_copy);
    Put(out, io.failed);
    Put(out, io.started);
    Put(out, io.completed);
    Put<uint64_t>(out, io.data.size());
    out.write(io.data.data(), static_cast<std::streamsize>(io.data.size()));
  }
  Put<uint64_t>(out, log.marks.size());
  for (const LoggedMark& mark : log.marks) Put(out, mark);
  Put(out, log.event_count);
  Put(out, kMagic);
  out.close();
  if (!out) return Error(ErrorCode::kIo, "writing " + path);
  return OkStatus();
}

Result<IoLog> ReadLogFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (Take<uint64_t>(in) != kMagic) return Error(ErrorCode::kCorrupt, path);
  IoLog log;
  log.ios.resize(Take<uint64_t>(in));
  for (LoggedIo& io : log.ios) {
    io.kind = Take<IoKind>(in);
    io.range.offset = DeviceOffset(Take<uint64_t>(in));
    io.range.length_bytes = Take<uint64_t>(in);
    io.fua = Take<bool>(in);
    io.is_copy = Take<bool>(in);
    io.failed = Take<bool>(in);
    io.started = Take<EventNumber>(in);
    io.completed = Take<EventNumber>(in);
    io.data.resize(Take<uint64_t>(in));
    in.read(io.data.data(), static_cast<std::streamsize>(io.data.size()));
  }
  log.marks.resize(Take<uint64_t>(in));
  for (LoggedMark& mark : log.marks) mark = Take<LoggedMark>(in);
  log.event_count = Take<EventNumber>(in);
  if (Take<uint64_t>(in) != kMagic || !in) return Error(ErrorCode::kCorrupt, path);
  return log;
}

}  // namespace cofs
