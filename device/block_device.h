// BlockDevice: what a volume sits on. A block device node, an image file, memory,
// and, for tests, devices that fail, record or lose power.
//
// Thread-safety: all functions may be called from any thread at once. An IoQueue
// belongs to one thread at a time.
// Alignment: offsets and lengths are multiples of kBlockBytes (4096); memory is
// aligned to kBlockBytes or it is bounced, which costs a copy.
// Durability: a completed write, copy or discard is durable only after a later
// Flush() that returned OK, or when the write was sent with `fua`.
// Errors: kIo for what the device refuses, whatever errno it gave (a full host file
// system under a sparse image too), kInvalidArgument for a range outside the device,
// kReadOnly for a change of a device that is open read-only. A short transfer is
// finished or is an error, never a success. What a failed write left is undefined.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace cofs {

struct DeviceGeometry {
  std::string path;  // as opened; "memory" and the like for test devices
  uint64_t size_bytes = 0;
  uint32_t logical_block_bytes = 512;
  uint32_t physical_block_bytes = 4096;
  uint32_t io_bytes_max = 1u << 20;  // the best size of one request
  bool is_block_device = false;
  bool can_discard = false;
  bool can_write_zeroes = false;
  bool is_direct = false;  // O_DIRECT
  bool is_read_only = false;
};

enum class IoKind : uint8_t { kRead, kWrite, kWriteZeroes, kDiscard, kFlush };
std::string_view NameOf(IoKind kind);  // "read", "write-zeroes" ...

// One I/O. The memory belongs to the caller and stays valid until the operation
// has been reaped.
struct IoOp {
  IoKind kind = IoKind::kRead;
  DeviceOffset offset{};
  char* data = nullptr;  // not modified by kWrite
  uint64_t length_bytes = 0;
  bool fua = false;              // kWrite: durable on completion
  uint64_t tag = 0;              // the caller's
  std::optional<Error> error{};  // set on completion, empty = success
};

// Asynchronous I/O at depth. The destructor waits for everything in flight.
class IoQueue {
 public:
  virtual ~IoQueue() = default;
  // Starts `op`; waits for a free place when `depth` operations are in flight
  // (their completions are kept for Reap). `op` stays where it is until reaped.
  virtual void Submit(IoOp* op) = 0;
  // The next completed operation; waits. nullptr when nothing is in flight.
  virtual IoOp* Reap() = 0;
  // Submitted and not yet reaped.
  virtual unsigned in_flight() const = 0;
  // A hint: the data of many later operations lies in `memory`, so a device may
  // register it with the kernel. It stays valid as long as the queue. At most one
  // per queue; operations with data elsewhere work as before.
  virtual void UseMemory(std::span<char> /*memory*/) {}
};

// A device's own copy command, for devices that have one behind BlockDevice
// itself (memory and test devices). Real drives are reached by the ways of
// copy_engine/ through native_fd().
struct DeviceCopyLimits {
  uint64_t segment_bytes_max = 0;
  uint64_t command_bytes_max = 0;
  uint32_t segments_max = 0;
};

class BlockDevice {
 public:
  virtual ~BlockDevice() = default;
  virtual const DeviceGeometry& geometry() const = 0;

  // Carries out all of `ops`, concurrently where the device can, in no order among
  // themselves, and returns when all have completed. The first error, if any;
  // each op has its own in `error`.
  // `error` of each op is overwritten. A flush among them covers only what had
  // completed before the call.
  virtual Status Execute(std::span<IoOp> ops) = 0;
  virtual std::unique_ptr<IoQueue> NewQueue(unsigned depth) = 0;

  // One operation each, by Execute(). Any length that is a multiple of kBlockBytes.
  Status Read(DeviceOffset offset, std::span<char> out);
  Status Write(DeviceOffset offset, std::span<const char> data, bool fua = false);
  Status WriteZeroes(DeviceRange range);
  // The contents are undefined afterwards. A device without discard answers OK.
  Status Discard(DeviceRange range);
  Status Flush();

  // The descriptor of the node or image, -1 when there is none.
  virtual int native_fd() const { return -1; }
  // Set when the device can copy by itself: many sources to one destination.
  virtual std::optional<DeviceCopyLimits> copy_limits() const { return std::nullopt; }
  // Copies `sources` one after another to `destination`. Partial on error.
  virtual Status Copy(std::span<const DeviceRange> sources, DeviceOffset destination);
};

// kInvalidArgument unless [offset, offset+length) is block-aligned and inside.
Status CheckRange(const DeviceGeometry& geometry, DeviceOffset offset,
                  uint64_t length_bytes);
// What every device checks before it starts `op`: the range, that there is memory,
// and that a read-only device is not changed.
Status CheckOp(const DeviceGeometry& geometry, const IoOp& op);

}  // namespace cofs
