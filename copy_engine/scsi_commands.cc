#include "copy_engine/scsi_commands.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <optional>

namespace cofs {
namespace {

constexpr uint8_t kBlockToBlock = 0x02;          // segment descriptor
constexpr uint8_t kIdentificationTarget = 0xe4;  // CSCD descriptor
constexpr uint64_t kSegmentBlocksMax = 0xffff;   // a 16-bit field
constexpr size_t kHeaderBytes = 16, kTargetBytes = 32, kSegmentBytes = 28;

uint64_t Big(std::span<const uint8_t> bytes, size_t offset, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i) value = value << 8 | bytes[offset + i];
  return value;
}

void PutBig(std::span<uint8_t> bytes, size_t offset, size_t count, uint64_t value) {
  for (size_t i = count; i-- > 0; value >>= 8)
    bytes[offset + i] = static_cast<uint8_t>(value);
}

Error NoCopy(std::string reason) {
  return Error(ErrorCode::kNotSupported, std::move(reason));
}

struct Sense {
  uint8_t key = 0;
  uint8_t code = 0;       // additional sense code
  uint8_t qualifier = 0;  // and its qualifier
};

// Fixed and descriptor format.
std::optional<Sense> DecodeSense(std::span<const uint8_t> sense) {
  const uint8_t format = sense.empty() ? 0 : sense[0] & 0x7f;
  if ((format == 0x70 || format == 0x71) && sense.size() >= 14)
    return Sense{.key = static_cast<uint8_t>(sense[2] & 0xf),
                 .code = sense[12],
                 .qualifier = sense[13]};
  if ((format == 0x72 || format == 0x73) && sense.size() >= 4)
    return Sense{.key = static_cast<uint8_t>(sense[1] & 0xf),
                 .code = sense[2],
                 .qualifier = sense[3]};
  return std::nullopt;
}

std::string_view SenseKeyName(uint8_t key) {
  constexpr std::string_view kNames[] = {
      "No Sense",       "Recovered Error", "Not Ready",      "Medium Error",
      "Hardware Error", "Illegal Request", "Unit Attention", "Data Protect",
      "Blank Check",    "Vendor Specific", "Copy Aborted",   "Aborted Command",
      "Reserved",       "Volume Overflow", "Miscompare",     "Completed"};
  return kNames[key & 0xf];
}

std::string_view AdditionalSenseName(uint8_t code, uint8_t qualifier) {
  switch (code << 8 | qualifier) {
    case 0x0d00:
      return "error of the copy's own target";
    case 0x0d01:
      return "third party device failure";
    case 0x0d02:
      return "copy target not reachable";
    case 0x0d03:
      return "wrong type of copy target";
    case 0x0d04:
      return "copy target: data underrun";
    case 0x0d05:
      return "copy target: data overrun";
    case 0x1a00:
      return "parameter list length error";
    case 0x2000:
      return "invalid command";
    case 0x2100:
      return "address out of range";
    case 0x2400:
      return "invalid field in the command";
    case 0x2600:
      return "invalid field in the parameter list";
    case 0x2606:
      return "too many targets";
    case 0x2607:
      return "unsupported type of target descriptor";
    case 0x2608:
      return "too many segments";
    case 0x2609:
      return "unsupported type of segment descriptor";
    case 0x260a:
      return "inexact segment";
    case 0x260c:
      return "operation in progress";
    case 0x2700:
      return "write protected";
    default:
      return "";
  }
}

}  // namespace

ScsiRequest InquiryRequest(uint8_t answer_bytes) {
  ScsiRequest request{.cdb = {0x12}, .cdb_length = 6};
  request.cdb[4] = answer_bytes;
  return request;
}

ScsiRequest VitalProductRequest(uint8_t page, uint16_t answer_bytes) {
  ScsiRequest request{.cdb = {0x12, 0x01, page}, .cdb_length = 6};
  PutBig(request.cdb, 3, 2, answer_bytes);
  return request;
}

ScsiRequest ReadCapacityRequest(uint32_t answer_bytes) {
  ScsiRequest request{.cdb = {0x9e, 0x10}, .cdb_length = 16};
  PutBig(request.cdb, 10, 4, answer_bytes);
  return request;
}

ScsiRequest CopyOperatingParametersRequest(uint32_t answer_bytes) {
  ScsiRequest request{.cdb = {0x84, 0x03}, .cdb_length = 16};
  PutBig(request.cdb, 10, 4, answer_bytes);
  return request;
}

ScsiRequest ExtendedCopyRequest(uint32_t parameter_bytes) {
  ScsiRequest request{.cdb = {0x83}, .cdb_length = 16};
  PutBig(request.cdb, 10, 4, parameter_bytes);
  return request;
}

Result<bool> DecodeHasThirdPartyCopy(std::span<const uint8_t> inquiry) {
  if (inquiry.size() < 6) return NoCopy("short answer to INQUIRY");
  if ((inquiry[0] & 0x1f) != 0) return NoCopy("not a direct access block device");
  return (inquiry[5] & 0x08) != 0;
}

Result<ScsiDesignator> DecodeDesignator(std::span<const uint8_t> page) {
  if (page.size() < 4 || page[1] != 0x83) return NoCopy("no device identification page");
  const size_t end = std::min<size_t>(page.size(), 4 + Big(page, 2, 2));
  constexpr uint8_t kBinary = 1, kNaa = 3, kEui64 = 2;
  std::optional<ScsiDesignator> best;
  for (size_t at = 4; at + 4 <= end;) {
    const size_t length = page[at + 3];
    if (at + 4 + length > end) break;
    const uint8_t code_set = page[at] & 0xf, association = page[at + 1] >> 4 & 3,
                  type = page[at + 1] & 0xf;
    const bool fits =
        length > 0 && length <= 20 && code_set == kBinary && association == 0;
    if (fits && (type == kNaa || (type == kEui64 && !best))) {
      best.emplace();
      (*best)[0] = kBinary;
      (*best)[1] = type;
      (*best)[3] = static_cast<uint8_t>(length);
      std::copy_n(page.begin() + at + 4, length, best->begin() + 4);
      if (type == kNaa) break;
    }
    at += 4 + length;
  }
  if (!best) return NoCopy("the logical unit has no NAA or EUI-64 name (VPD page 83h)");
  return *best;
}

Result<ScsiCapacity> DecodeCapacity(std::span<const uint8_t> answer) {
  if (answer.size() < 14) return NoCopy("short answer to READ CAPACITY");
  ScsiCapacity capacity;
  const uint64_t last = Big(answer, 0, 8);
  capacity.block_bytes = static_cast<uint32_t>(Big(answer, 8, 4));
  if (!std::has_single_bit(capacity.block_bytes) || capacity.block_bytes < 512 ||
      capacity.block_bytes > kBlockBytes)
    return NoCopy(StrCat("logical blocks of ", capacity.block_bytes, " bytes"));
  if (last >= UINT64_MAX / capacity.block_bytes) return NoCopy("impossible capacity");
  capacity.block_count = last + 1;
  if ((answer[12] & 1) != 0)
    return NoCopy("the logical unit carries protection information");
  return capacity;
}

Result<CopyLimits> DecodeCopyLimits(std::span<const uint8_t> answer,
                                    uint32_t block_bytes) {
  constexpr size_t kFixedBytes = 44;
  if (answer.size() < kFixedBytes) return NoCopy("short answer to RECEIVE COPY RESULTS");
  const uint64_t targets = Big(answer, 8, 2), segments = Big(answer, 10, 2),
                 list_bytes = Big(answer, 12, 4), segment_bytes = Big(answer, 16, 4);
  const std::span<const uint8_t> types = answer.subspan(
      kFixedBytes, std::min<size_t>(answer[43], answer.size() - kFixedBytes));
  const auto has = [&](uint8_t type) {
    return std::find(types.begin(), types.end(), type) != types.end();
  };
  if (!has(kBlockToBlock) || !has(kIdentificationTarget))
    return NoCopy("EXTENDED COPY without block to block segments (02h, e4h)");
  if (targets == 0 || segments == 0)
    return NoCopy("EXTENDED COPY of no target or no segment only");
  if (list_bytes < kTargetBytes + kSegmentBytes)
    return NoCopy("EXTENDED COPY with a list that is too short for a copy");

  CopyLimits limits;
  limits.alignment_bytes = block_bytes;
  // The list holds one target descriptor, as source and destination are one.
  limits.segments_max = static_cast<uint32_t>(
      std::min<uint64_t>({segments, (list_bytes - kTargetBytes) / kSegmentBytes, 64}));
  limits.segment_bytes_max = kSegmentBlocksMax * block_bytes;
  // 0: no limit. Otherwise bytes, with a granularity that is at least a block.
  if (segment_bytes != 0)
    limits.segment_bytes_max =
        std::min(limits.segment_bytes_max, RoundDown(segment_bytes, block_bytes));
  if (limits.segment_bytes_max == 0)
    return NoCopy("EXTENDED COPY of less than a block only");
  limits.command_bytes_max = limits.segment_bytes_max * limits.segments_max;
  return limits;
}

std::vector<uint8_t> EncodeExtendedCopy(const CopyCommand& command,
                                        const ScsiDesignator& designator,
                                        uint32_t block_bytes) {
  const size_t count = command.segments.size();
  std::vector<uint8_t> list(kHeaderBytes + kTargetBytes + count * kSegmentBytes);
  list[1] = 0x18;  // list id usage 3: no list id, and nothing held for it
  PutBig(list, 2, 2, kTargetBytes);
  PutBig(list, 8, 4, count * kSegmentBytes);

  const std::span<uint8_t> target = std::span(list).subspan(kHeaderBytes, kTargetBytes);
  target[0] = kIdentificationTarget;
  std::copy(designator.begin(), designator.end(), target.begin() + 4);
  PutBig(target, 29, 3, block_bytes);

  uint64_t destination = command.destination / block_bytes;
  for (size_t i = 0; i < count; ++i) {
    const CopySegment& segment = command.segments[i];
    const uint64_t blocks = segment.length_bytes / block_bytes;
    CHECK(blocks > 0 && blocks <= kSegmentBlocksMax, blocks, " blocks in a segment");
    const std::span<uint8_t> out = std::span(list).subspan(
        kHeaderBytes + kTargetBytes + i * kSegmentBytes, kSegmentBytes);
    out[0] = kBlockToBlock;
    out[1] = 0x02;                         // DC: the count is of the destination
    PutBig(out, 2, 2, kSegmentBytes - 4);  // source and destination: target 0
    PutBig(out, 10, 2, blocks);
    PutBig(out, 12, 8, segment.source / block_bytes);
    PutBig(out, 20, 8, destination);
    destination += blocks;
  }
  return list;
}

uint8_t SenseKey(std::span<const uint8_t> sense) {
  return DecodeSense(sense).value_or(Sense{}).key;
}

std::string SenseWords(std::span<const uint8_t> sense_bytes) {
  const std::optional<Sense> sense = DecodeSense(sense_bytes);
  if (!sense) return "failed without sense data";
  char numbers[32];
  std::snprintf(numbers, sizeof(numbers), " (sense %02x/%02x/%02x)", sense->key,
                sense->code, sense->qualifier);
  const std::string_view more = AdditionalSenseName(sense->code, sense->qualifier);
  return StrCat(SenseKeyName(sense->key), more.empty() ? "" : ", ", more, numbers);
}

}  // namespace cofs
