// The codec of the SCSI commands that copy (SPC-4, EXTENDED COPY with LID1). Pure:
// bytes in, bytes out. SCSI is big-endian.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "copy_engine/copy_way.h"
#include "copy_engine/planner.h"

namespace cofs {

inline constexpr size_t kScsiSenseBytes = 64;

// A command descriptor block.
using ScsiCdb = std::array<uint8_t, 16>;
struct ScsiRequest {
  ScsiCdb cdb{};
  uint8_t cdb_length = 16;
};
// `answer_bytes` is how much the initiator will take.
ScsiRequest InquiryRequest(uint8_t answer_bytes);
ScsiRequest VitalProductRequest(uint8_t page, uint16_t answer_bytes);
ScsiRequest ReadCapacityRequest(uint32_t answer_bytes);
ScsiRequest CopyOperatingParametersRequest(uint32_t answer_bytes);
ScsiRequest ExtendedCopyRequest(uint32_t parameter_bytes);

// Whether the target has third-party copy commands (3PC). The standard data of
// INQUIRY. Believe it rather than an answer to RECEIVE COPY RESULTS: some targets
// give one although copies are turned off.
Result<bool> DecodeHasThirdPartyCopy(std::span<const uint8_t> inquiry);

// The designator of the logical unit as EXTENDED COPY wants it: bytes 4 to 27 of an
// identification descriptor with the NAA (or else EUI-64) name of VPD page 83h.
using ScsiDesignator = std::array<uint8_t, 24>;
Result<ScsiDesignator> DecodeDesignator(std::span<const uint8_t> page);

struct ScsiCapacity {
  uint32_t block_bytes = 0;
  uint64_t block_count = 0;
};
// READ CAPACITY (16). kNotSupported with protection information.
Result<ScsiCapacity> DecodeCapacity(std::span<const uint8_t> answer);

// The limits that RECEIVE COPY RESULTS (operating parameters) gives, for copies of
// `block_bytes` blocks. kNotSupported where they allow no copy.
Result<CopyLimits> DecodeCopyLimits(std::span<const uint8_t> answer,
                                    uint32_t block_bytes);

// The parameter list of one EXTENDED COPY: a block-to-block segment descriptor (02h)
// for each segment, within one logical unit.
std::vector<uint8_t> EncodeExtendedCopy(const CopyCommand& command,
                                        const ScsiDesignator& designator,
                                        uint32_t block_bytes);

// With this key the command was not carried out, and can be sent again.
inline constexpr uint8_t kSenseUnitAttention = 6;
uint8_t SenseKey(std::span<const uint8_t> sense);  // 0 where there is none

// "Copy Aborted (sense 0a/0d/00)" for fixed and descriptor format.
std::string SenseWords(std::span<const uint8_t> sense);

}  // namespace cofs
