#include "copy_engine/scsi_xcopy_way.h"

#include <scsi/sg.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/file_descriptor.h"
#include "copy_engine/drive_node.h"
#include "copy_engine/scsi_commands.h"

namespace cofs {
namespace {

constexpr unsigned kInquiryTimeoutMs = 20'000;
// An array may take its time for the largest segment.
constexpr unsigned kCopyTimeoutMs = 120'000;
// A unit attention is pending for each of several events (reset, new parameters).
constexpr int kTriesMax = 4;

Error NoExtendedCopy(std::string reason) {
  return Error(ErrorCode::kNotSupported, std::move(reason));
}

struct Sent {
  std::optional<Error> error;
  bool may_still_run = false;  // given up by the host, perhaps not by the target
  bool is_unit_attention = false;
  size_t data_bytes = 0;  // transferred
};

// Any status but GOOD is an error, a recovered one too.
Sent SendOnce(int fd, const ScsiRequest& request, int direction, std::span<uint8_t> data,
              unsigned timeout_ms) {
  constexpr uint8_t kGood = 0, kCheckCondition = 2;
  ScsiCdb cdb = request.cdb;
  std::array<uint8_t, kScsiSenseBytes> sense{};
  sg_io_hdr_t header = {};
  header.interface_id = 'S';
  header.dxfer_direction = direction;
  header.cmd_len = request.cdb_length;
  header.cmdp = cdb.data();
  header.dxfer_len = static_cast<unsigned>(data.size());
  header.dxferp = data.data();
  header.mx_sb_len = sense.size();
  header.sbp = sense.data();
  header.timeout = timeout_ms;
  Sent sent;
  if (::ioctl(fd, SG_IO, &header) != 0) {
    sent.error = ErrorOfErrno(errno, "SG_IO");
    return sent;
  }
  if (header.host_status != 0) {
    sent.may_still_run = true;
    sent.error =
        Error(ErrorCode::kIo, StrCat("SCSI command, host status ", header.host_status));
  } else if (header.status == kCheckCondition) {
    const std::span<const uint8_t> written(
        sense.data(), std::min<size_t>(header.sb_len_wr, sense.size()));
    sent.is_unit_attention = SenseKey(written) == kSenseUnitAttention;
    sent.error = Error(ErrorCode::kIo, SenseWords(written));
  } else if (header.status != kGood) {
    sent.error = Error(ErrorCode::kIo, StrCat("SCSI status ", int{header.status}));
  }
  const size_t left = header.resid > 0 ? static_cast<size_t>(header.resid) : 0;
  sent.data_bytes = data.size() - std::min(left, data.size());
  return sent;
}

Sent Send(int fd, const ScsiRequest& request, int direction, std::span<uint8_t> data,
          unsigned timeout_ms) {
  Sent sent = SendOnce(fd, request, direction, data, timeout_ms);
  for (int tries = 1; sent.is_unit_attention && tries < kTriesMax; ++tries)
    sent = SendOnce(fd, request, direction, data, timeout_ms);
  return sent;
}

Result<std::vector<uint8_t>> Ask(int fd, const ScsiRequest& request, size_t answer_bytes,
                                 std::string_view name) {
  std::vector<uint8_t> answer(answer_bytes);
  Sent sent = Send(fd, request, SG_DXFER_FROM_DEV, answer, kInquiryTimeoutMs);
  if (sent.error) return sent.error->Within(name);
  answer.resize(sent.data_bytes);
  return answer;
}

struct LogicalUnit {
  Fd fd;
  ScsiDesignator designator{};
  uint32_t block_bytes = 0;
  CopyLimits limits;
};

Result<LogicalUnit> OpenUnit(const StackLeaf& leaf) {
  if (leaf.drive != DriveKind::kScsi) return NoExtendedCopy("not a SCSI device");
  LogicalUnit unit;
  TRY_ASSIGN(unit.fd, OpenDriveNode(leaf));
  const int fd = unit.fd.get();
  TRY_ASSIGN(const auto inquiry, Ask(fd, InquiryRequest(36), 36, "INQUIRY"));
  TRY_ASSIGN(const bool has_copy, DecodeHasThirdPartyCopy(inquiry));
  if (!has_copy) return NoExtendedCopy("the target has no EXTENDED COPY (3PC of INQUIRY)");
  constexpr uint16_t kAnswerBytes = 1024;
  TRY_ASSIGN(const auto capacity_bytes,
             Ask(fd, ReadCapacityRequest(32), 32, "READ CAPACITY"));
  TRY_ASSIGN(const ScsiCapacity capacity, DecodeCapacity(capacity_bytes));
  if (capacity.block_count * capacity.block_bytes < leaf.size_bytes)
    return NoExtendedCopy("the logical unit is smaller than its block device");
  unit.block_bytes = capacity.block_bytes;
  TRY_ASSIGN(const auto page, Ask(fd, VitalProductRequest(0x83, kAnswerBytes),
                                  kAnswerBytes, "device identification page"));
  TRY_ASSIGN(unit.designator, DecodeDesignator(page));
  TRY_ASSIGN(const auto parameters, Ask(fd, CopyOperatingParametersRequest(kAnswerBytes),
                                        kAnswerBytes, "RECEIVE COPY RESULTS"));
  TRY_ASSIGN(unit.limits, DecodeCopyLimits(parameters, unit.block_bytes));
  return unit;
}

class ScsiRunner final : public CommandRunner {
 public:
  explicit ScsiRunner(std::vector<LogicalUnit> units) : units_(std::move(units)) {
    limits_ = units_[0].limits;
    for (const LogicalUnit& unit : units_) {
      limits_.alignment_bytes =
          std::max(limits_.alignment_bytes, unit.limits.alignment_bytes);
      limits_.segment_bytes_max =
          std::min(limits_.segment_bytes_max, unit.limits.segment_bytes_max);
      limits_.segments_max = std::min(limits_.segments_max, unit.limits.segments_max);
      limits_.command_bytes_max =
          std::min(limits_.command_bytes_max, unit.limits.command_bytes_max);
    }
  }

  const CopyLimits& limits() const override { return limits_; }
  std::string description() const override { return "SCSI EXTENDED COPY"; }

  Outcome Run(const CopyPlan& plan, const CopyTask& task,
              CopyProgress& progress) override {
    Outcome outcome;
    for (const CopyCommand& command : plan.commands) {
      if (task.interrupted && task.interrupted()) {
        outcome.stop = CopyStop::kInterrupted;
        return outcome;
      }
      const LogicalUnit& unit = units_[command.leaf];
      std::vector<uint8_t> list =
          EncodeExtendedCopy(command, unit.designator, unit.block_bytes);
      ++outcome.command_count;
      Sent sent = [&] {
        const LatencyTimer timer(task.latency);
        return Send(unit.fd.get(), ExtendedCopyRequest(static_cast<uint32_t>(list.size())),
                    SG_DXFER_TO_DEV, list, kCopyTimeoutMs);
      }();
      if (!sent.error) {
        progress.AddAll(command);
        continue;
      }
      outcome.stop = sent.may_still_run ? CopyStop::kCopyFailed : CopyStop::kWayFailed;
      outcome.error =
          sent.may_still_run
              ? Error(ErrorCode::kRetry,
                      "EXTENDED COPY that may still run: " + sent.error->context())
              : sent.error->Within("EXTENDED COPY");
      return outcome;
    }
    return outcome;
  }

 private:
  const std::vector<LogicalUnit> units_;
  CopyLimits limits_;
};

}  // namespace

Result<std::unique_ptr<CommandRunner>> OpenScsiRunner(const DeviceStack& stack) {
  std::vector<LogicalUnit> units;
  for (const StackLeaf& leaf : stack.leaves) {
    auto unit = OpenUnit(leaf);
    if (!unit.ok()) return unit.error().Within(leaf.name);
    units.push_back(*std::move(unit));
  }
  return std::unique_ptr<CommandRunner>(new ScsiRunner(std::move(units)));
}

}  // namespace cofs
