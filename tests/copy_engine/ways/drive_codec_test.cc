// The codecs of NVMe Copy and SCSI EXTENDED COPY, from tables of bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "copy_engine/nvme_namespace.h"
#include "copy_engine/scsi_commands.h"

namespace cofs {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::StartsWith;

// Identify data, with fields at the offsets of the specification.
struct Identify {
  std::string controller = std::string(4096, '\0');
  std::string name_space = std::string(4096, '\0');
  std::string nvm;

  Identify() {
    Put(controller, 520, 2, 1u << 8);  // ONCS: Copy
    Put(controller, 534, 2, 1);        // OCFS: format 0
    Put(name_space, 0, 8, 1000);       // NSZE
    Put(name_space, 25, 1, 1);         // NLBAF: two
    Put(name_space, 26, 1, 1);         // FLBAS: the second
    Put(name_space, 128 + 2, 1, 9);    // LBAF 0: 512 bytes
    Put(name_space, 132 + 2, 1, 12);   // LBAF 1: 4096 bytes
    Put(name_space, 74, 2, 64);        // MSSRL
    Put(name_space, 76, 4, 256);       // MCL
    Put(name_space, 80, 1, 7);         // MSRC
  }
  static void Put(std::string& out, size_t offset, size_t count, uint64_t value) {
    for (size_t i = 0; i < count; ++i, value >>= 8)
      out[offset + i] = static_cast<char>(value);
  }
  void SetGuard(uint32_t kind) {
    Put(controller, 96, 4, 1u << 15);  // CTRATT: extended formats
    nvm.assign(4096, '\0');
    Put(nvm, 12 + 4, 4, kind << 7);  // ELBAF 1
  }
  Result<NvmeCopyFacts> Decode() const {
    return DecodeNvmeIdentify(5, controller, name_space, nvm);
  }
};

TEST(NvmeCodecTest, Identify) {
  const auto facts = Identify().Decode();
  ASSERT_TRUE(facts.ok()) << facts.error().ToString();
  EXPECT_EQ(facts->nsid, 5u);
  EXPECT_EQ(facts->lba_bytes, 4096u);
  EXPECT_EQ(facts->size_bytes, 4'096'000u);
  EXPECT_EQ(facts->descriptor_format, 0);
  const CopyLimits limits = LimitsOf(*facts);
  EXPECT_EQ(limits.alignment_bytes, 4096u);
  EXPECT_EQ(limits.segment_bytes_max, 64 * 4096u);
  EXPECT_EQ(limits.command_bytes_max, 256 * 4096u);
  EXPECT_EQ(limits.segments_max, 8u);

  Identify small;
  Identify::Put(small.name_space, 26, 1, 0);
  Identify::Put(small.name_space, 80, 1, 255);
  EXPECT_EQ(small.Decode()->lba_bytes, 512u);
  // 256 ranges would take two pages.
  EXPECT_EQ(small.Decode()->segments_max, 128u);

  Identify wide;
  wide.SetGuard(2);
  Identify::Put(wide.controller, 534, 2, 3);
  EXPECT_EQ(wide.Decode()->descriptor_format, 1);
}

TEST(NvmeCodecTest, IdentifyRefusals) {
  const auto expect = [](const Identify& identify, const char* reason) {
    const auto facts = identify.Decode();
    ASSERT_TRUE(facts.Is(ErrorCode::kNotSupported)) << reason;
    EXPECT_THAT(facts.error().ToString(), HasSubstr(reason));
  };
  Identify identify;
  Identify::Put(identify.controller, 520, 2, 0xfeff);
  expect(identify, "no Copy command");
  for (const size_t zero : {74, 76}) {
    identify = Identify();
    Identify::Put(identify.name_space, zero, zero == 74 ? 2 : 4, 0);
    expect(identify, "MSSRL or MCL is zero");
  }
  identify = Identify();
  Identify::Put(identify.name_space, 29, 1, 1);
  expect(identify, "protection information");
  for (const uint8_t shift : {0, 8, 13, 255}) {
    identify = Identify();
    Identify::Put(identify.name_space, 134, 1, shift);
    expect(identify, "logical blocks");
  }
  identify = Identify();
  Identify::Put(identify.name_space, 0, 8, UINT64_MAX);
  expect(identify, "impossible size");
  identify = Identify();
  identify.SetGuard(2);
  expect(identify, "wide guard");
  identify = Identify();
  identify.name_space.resize(4095);
  expect(identify, "short answer");
}

CopyCommand ThreeSegments() {
  return {.leaf = 0,
          .destination = 0x1'2345'6000,
          .length_bytes = 7 * 4096,
          .segments = {{4096, 4096}, {0x5'0000'0000, 4 * 4096}, {8192, 2 * 4096}},
          .spans = {{0, 7 * 4096}}};
}

TEST(NvmeCodecTest, EncodesCopy) {
  const NvmeCopyFacts facts = *Identify().Decode();
  std::string list(kNvmeCopyListBytesMax, '\xff');
  const NvmeCopyWords words = EncodeNvmeCopy(ThreeSegments(), facts, list);
  EXPECT_EQ(words.cdw10, 0x123456u);
  EXPECT_EQ(words.cdw11, 0u);
  EXPECT_EQ(words.cdw12, 2u);
  EXPECT_EQ(words.list_bytes, 96u);
  std::string expected(96, '\0');
  Identify::Put(expected, 8, 8, 1);
  Identify::Put(expected, 16, 2, 0);
  Identify::Put(expected, 32 + 8, 8, 0x500000);
  Identify::Put(expected, 32 + 16, 2, 3);
  Identify::Put(expected, 64 + 8, 8, 2);
  Identify::Put(expected, 64 + 16, 2, 1);
  EXPECT_EQ(list.substr(0, 96), expected);

  NvmeCopyFacts wide = facts;
  wide.descriptor_format = 1;
  wide.lba_bytes = 512;
  CopyCommand far = ThreeSegments();
  far.destination = 0x345'0000'0000'00;
  const NvmeCopyWords wide_words = EncodeNvmeCopy(far, wide, list);
  EXPECT_EQ(wide_words.cdw10, static_cast<uint32_t>(far.destination / 512));
  EXPECT_EQ(wide_words.cdw11, far.destination / 512 >> 32);
  EXPECT_EQ(wide_words.cdw12, 0x102u);
  EXPECT_EQ(wide_words.list_bytes, 120u);
  EXPECT_EQ(static_cast<unsigned char>(list[40 + 16]), 31);
}

TEST(NvmeCodecTest, DecodesEnds) {
  struct Case {
    int32_t result;
    uint32_t word0;
    uint64_t completed_blocks;
    CopyStop stop;
    const char* words;
  };
  const Case cases[] = {
      {0, 0, 7, CopyStop::kDone, ""},
      {0, 99, 7, CopyStop::kDone, ""},
      {0x281, 2, 5, CopyStop::kWayFailed, "(status 0x281)"},
      {0x4280, 1, 1, CopyStop::kWayFailed, "(status 0x280, do not retry)"},
      {0x006, 0, 0, CopyStop::kWayFailed, "(status 0x006)"},
      {0x080, 2, 5, CopyStop::kWayFailed, "(status 0x080)"},
      // Counts that can't be, and counts of commands that never ran.
      {0x281, 3, 0, CopyStop::kWayFailed, ""},
      {0x281, UINT32_MAX, 0, CopyStop::kWayFailed, ""},
      {0x4001, 2, 0, CopyStop::kWayFailed, "(status 0x001, do not retry)"},
      {0x4183, 2, 0, CopyStop::kWayFailed, "(status 0x183, do not retry)"},
      // The path failed: it may still run.
      {0x371, 2, 0, CopyStop::kCopyFailed, "may still run"},
      {-EINVAL, 2, 0, CopyStop::kWayFailed, "NVMe Copy"},
  };
  for (const Case& c : cases) {
    const NvmeCopyEnd end = DecodeNvmeEnd(ThreeSegments(), c.result, c.word0);
    EXPECT_EQ(end.completed_bytes, c.completed_blocks * 4096) << std::hex << c.result;
    EXPECT_EQ(end.stop, c.stop) << std::hex << c.result;
    EXPECT_EQ(end.error.has_value(), c.result != 0);
    if (end.error) {
      EXPECT_THAT(end.error->ToString(), HasSubstr(c.words));
    }
  }
  EXPECT_THAT(NvmeStatusWords(0x4001), StartsWith("Invalid Command Opcode"));
}

// --- SCSI ---

TEST(ScsiCodecTest, Requests) {
  EXPECT_THAT(InquiryRequest(36).cdb,
              ElementsAreArray({0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(InquiryRequest(36).cdb_length, 6);
  EXPECT_THAT(
      VitalProductRequest(0x83, 0x1234).cdb,
      ElementsAreArray({0x12, 1, 0x83, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_THAT(ReadCapacityRequest(32).cdb,
              ElementsAreArray({0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0}));
  EXPECT_THAT(CopyOperatingParametersRequest(0x400).cdb,
              ElementsAreArray({0x84, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0}));
  EXPECT_THAT(ExtendedCopyRequest(76).cdb,
              ElementsAreArray({0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 76, 0, 0}));
}

TEST(ScsiCodecTest, ThirdPartyCopyBit) {
  std::vector<uint8_t> inquiry(36);
  EXPECT_FALSE(*DecodeHasThirdPartyCopy(inquiry));
  inquiry[5] = 0x08;
  EXPECT_TRUE(*DecodeHasThirdPartyCopy(inquiry));
  inquiry[5] = 0xf7;
  EXPECT_FALSE(*DecodeHasThirdPartyCopy(inquiry));
  inquiry[0] = 5;  // a CD
  EXPECT_FALSE(DecodeHasThirdPartyCopy(inquiry).ok());
  EXPECT_FALSE(DecodeHasThirdPartyCopy(std::span(inquiry).first(5)).ok());
}

std::vector<uint8_t> IdentificationPage(std::vector<std::vector<uint8_t>> descriptors) {
  std::vector<uint8_t> page = {0, 0x83, 0, 0};
  for (const auto& each : descriptors) page.insert(page.end(), each.begin(), each.end());
  page[2] = static_cast<uint8_t>((page.size() - 4) >> 8);
  page[3] = static_cast<uint8_t>(page.size() - 4);
  return page;
}

TEST(ScsiCodecTest, Designator) {
  const std::vector<uint8_t> vendor = {2, 1, 0, 4, 'L', 'I', 'O', '-'};
  const std::vector<uint8_t> eui = {1, 2, 0, 8, 9, 9, 9, 9, 9, 9, 9, 9};
  const std::vector<uint8_t> naa_of_port = {1, 0x13, 0, 8, 5, 5, 5, 5, 5, 5, 5, 5};
  const std::vector<uint8_t> naa = {1, 3, 0, 16, 0x60, 1,  2,  3,  4,  5,
                                    6, 7, 8, 9,  10,   11, 12, 13, 14, 15};
  const auto found =
      DecodeDesignator(IdentificationPage({vendor, naa_of_port, eui, naa}));
  ASSERT_TRUE(found.ok());
  EXPECT_EQ((*found)[0], 1);
  EXPECT_EQ((*found)[1], 3);
  EXPECT_EQ((*found)[3], 16);
  EXPECT_EQ(std::vector<uint8_t>(found->begin() + 4, found->begin() + 20),
            std::vector<uint8_t>(naa.begin() + 4, naa.end()));
  EXPECT_EQ((*DecodeDesignator(IdentificationPage({vendor, eui})))[1], 2);
  // Of several names of a kind the first, always: it is the unit's identity.
  std::vector<uint8_t> other = naa;
  other[4] = 0x61;
  EXPECT_EQ(*DecodeDesignator(IdentificationPage({naa, other, eui})), *found);
  EXPECT_FALSE(DecodeDesignator(IdentificationPage({vendor, naa_of_port})).ok());

  const std::vector<uint8_t> full = IdentificationPage({vendor, naa});
  for (size_t length = 0; length < full.size(); ++length)
    EXPECT_FALSE(DecodeDesignator(std::span(full).first(length)).ok()) << length;
  std::vector<uint8_t> lying = full;
  lying[2] = 0xff;  // a page that claims to be longer than what came
  EXPECT_TRUE(DecodeDesignator(lying).ok());
  lying[lying.size() - 17] = 200;  // a descriptor that does
  EXPECT_FALSE(DecodeDesignator(lying).ok());
  EXPECT_FALSE(
      DecodeDesignator(IdentificationPage({{1, 3, 0, 0}})).ok());  // a name of nothing
}

TEST(ScsiCodecTest, Capacity) {
  std::vector<uint8_t> answer(32);
  answer[6] = 0x10;  // last block 0x1000
  answer[10] = 2;    // 512
  const auto capacity = DecodeCapacity(answer);
  ASSERT_TRUE(capacity.ok());
  EXPECT_EQ(capacity->block_bytes, 512u);
  EXPECT_EQ(capacity->block_count, 0x1001u);
  answer[12] = 1;
  EXPECT_FALSE(DecodeCapacity(answer).ok());
  answer[12] = 0;
  for (const int size : {0, 3, 0x40}) {  // 0, 768, 16384
    answer[10] = static_cast<uint8_t>(size);
    EXPECT_FALSE(DecodeCapacity(answer).ok());
  }
  answer[10] = 2;
  std::fill_n(answer.begin(), 8, 0xff);
  EXPECT_FALSE(DecodeCapacity(answer).ok());
  EXPECT_FALSE(DecodeCapacity(std::span(answer).first(13)).ok());
}

std::vector<uint8_t> OperatingParameters() {
  std::vector<uint8_t> answer(44);
  answer[3] = 43;
  answer[9] = 2;           // targets
  answer[11] = 1;          // segments
  answer[14] = 0x04;       // list: 1024 bytes
  answer[17] = 0x10;       // segment: 1 MiB
  answer[43] = 2;          // types:
  answer.push_back(0x02);  // block to block
  answer.push_back(0xe4);  // identification
  return answer;
}

TEST(ScsiCodecTest, OperatingParameters) {
  auto answer = OperatingParameters();
  auto limits = DecodeCopyLimits(answer, 512);
  ASSERT_TRUE(limits.ok()) << limits.error().ToString();
  EXPECT_EQ(limits->alignment_bytes, 512u);
  EXPECT_EQ(limits->segment_bytes_max, 1u << 20);
  EXPECT_EQ(limits->segments_max, 1u);
  EXPECT_EQ(limits->command_bytes_max, 1u << 20);
  answer[17] = 0;  // no limit but the field's
  EXPECT_EQ(DecodeCopyLimits(answer, 512)->segment_bytes_max, 0xffff * 512u);
  answer[11] = 200;  // more segments than the list holds
  EXPECT_EQ(DecodeCopyLimits(answer, 512)->segments_max, (1024u - 32) / 28);

  for (const size_t zero : {9, 11, 14, 44, 45}) {
    answer = OperatingParameters();
    answer[zero] = 0;
    EXPECT_TRUE(DecodeCopyLimits(answer, 512).Is(ErrorCode::kNotSupported)) << zero;
  }
  answer = OperatingParameters();
  answer[17] = 0;
  answer[18] = 1;  // 256 bytes: less than a block
  EXPECT_FALSE(DecodeCopyLimits(answer, 512).ok());
  answer = OperatingParameters();
  for (size_t length = 0; length < answer.size(); ++length)
    EXPECT_FALSE(DecodeCopyLimits(std::span(answer).first(length), 512).ok());
  answer[43] = 255;
  EXPECT_TRUE(DecodeCopyLimits(answer, 512).ok());
}

TEST(ScsiCodecTest, EncodesExtendedCopy) {
  ScsiDesignator designator{};
  designator[0] = 1;
  designator[1] = 3;
  designator[3] = 8;
  designator[4] = 0x50;
  const CopyCommand command = {.leaf = 0,
                               .destination = 0x1'0000'0000'000,
                               .length_bytes = 3 * 4096,
                               .segments = {{4096, 4096}, {0x2'0000'0000, 8192}},
                               .spans = {{0, 3 * 4096}}};
  const auto list = EncodeExtendedCopy(command, designator, 512);
  std::vector<uint8_t> expected(16 + 32 + 2 * 28);
  const auto put = [&](size_t at, std::vector<uint8_t> bytes) {
    std::copy(bytes.begin(), bytes.end(), expected.begin() + static_cast<long>(at));
  };
  put(0, {0, 0x18, 0, 32, 0, 0, 0, 0, 0, 0, 0, 56});
  put(16, {0xe4, 0, 0, 0, 1, 3, 0, 8, 0x50});
  put(16 + 29, {0, 2, 0});
  put(48, {0x02, 0x02, 0, 24, 0, 0, 0, 0, 0, 0, 0, 8});
  put(48 + 12, {0, 0, 0, 0, 0, 0, 0, 8});
  put(48 + 20, {0, 0, 0, 8, 0, 0, 0, 0});
  put(76, {0x02, 0x02, 0, 24, 0, 0, 0, 0, 0, 0, 0, 16});
  put(76 + 12, {0, 0, 0, 0, 1, 0, 0, 0});
  put(76 + 20, {0, 0, 0, 8, 0, 0, 0, 8});
  EXPECT_EQ(list, expected);
}

TEST(ScsiCodecTest, Sense) {
  std::vector<uint8_t> fixed(18);
  fixed[0] = 0xf0;
  fixed[2] = 0x05;
  fixed[12] = 0x20;
  EXPECT_EQ(SenseWords(fixed), "Illegal Request, invalid command (sense 05/20/00)");
  EXPECT_EQ(SenseKey(fixed), 5);
  const std::vector<uint8_t> descriptor = {0x72, 0x0a, 0x0d, 0x02};
  EXPECT_EQ(SenseWords(descriptor),
            "Copy Aborted, copy target not reachable (sense 0a/0d/02)");
  const std::vector<uint8_t> unknown = {0x72, 0x06, 0x99, 0x01};
  EXPECT_EQ(SenseWords(unknown), "Unit Attention (sense 06/99/01)");
  EXPECT_EQ(SenseKey(unknown), kSenseUnitAttention);
  EXPECT_EQ(SenseWords({}), "failed without sense data");
  EXPECT_EQ(SenseKey({}), 0);
  for (size_t length = 0; length < 14; ++length)
    EXPECT_EQ(SenseWords(std::span(fixed).first(length)), "failed without sense data");
  EXPECT_EQ(SenseWords(std::span(descriptor).first(3)), "failed without sense data");
}

}  // namespace
}  // namespace cofs
