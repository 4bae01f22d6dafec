// base/: checksums, hashes, codecs, errors against published values and tables.
#include <gtest/gtest.h>

#include <cerrno>
#include <numeric>

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/log.h"
#include "base/result.h"
#include "base/siphash.h"
#include "base/types.h"
#include "base/uuid.h"

namespace cofs {
namespace {

TEST(Crc32c, PublishedValues) {
  EXPECT_EQ(Crc32c("123456789", 9), 0xe3069283u);
  // RFC 3720, B.4: 32 bytes of zeros, of ones, ascending.
  std::string zeros(32, '\0'), ones(32, '\xff'), ascending(32, '\0');
  std::iota(ascending.begin(), ascending.end(), 0);
  EXPECT_EQ(Crc32c(zeros.data(), 32), 0x8a9136aau);
  EXPECT_EQ(Crc32c(ones.data(), 32), 0x62a8ab43u);
  EXPECT_EQ(Crc32c(ascending.data(), 32), 0x46dd794eu);
}

TEST(Crc32c, GoesOnFromASeed) {
  EXPECT_EQ(Crc32c("6789", 4, Crc32c("12345", 5)), 0xe3069283u);
}

TEST(SipHash, PublishedVector) {
  // The paper's appendix A: key 00..0f, message 00..0e.
  SipHashKey key{0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};
  std::string message(15, '\0');
  std::iota(message.begin(), message.end(), 0);
  EXPECT_EQ(SipHash24(key, message), 0xa129ca6149be45e5ULL);
}

TEST(Codec, VarintsOfEveryLength) {
  for (unsigned bits = 0; bits <= 64; ++bits) {
    const uint64_t value = bits == 0 ? 0 : UINT64_MAX >> (64 - bits);
    std::string bytes;
    ByteWriter(bytes).Varint(value);
    ByteReader reader(bytes);
    EXPECT_EQ(reader.Varint(), value);
    EXPECT_TRUE(reader.Finished());
  }
}

TEST(Codec, BadVarintsAreRefused) {
  const std::string cases[] = {
      "",                                               // nothing
      "\x80",                                           // cut off
      std::string("\x80\x00", 2),                       // longer than needed
      std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),  // over 64 bits
  };
  for (const std::string& bytes : cases) {
    ByteReader reader(bytes);
    reader.Varint();
    EXPECT_FALSE(reader.ok()) << Printable(bytes);
  }
}

TEST(Codec, ALengthBeyondTheEndIsRefused) {
  std::string bytes;
  ByteWriter(bytes).Varint(UINT64_MAX);
  ByteReader reader(bytes);
  EXPECT_EQ(reader.LengthAndBytes(), "");
  EXPECT_FALSE(reader.ok());
}

TEST(Codec, BigEndianKeepsTheOrder) {
  std::string low, high;
  ByteWriter(low).Big64(0xff);
  ByteWriter(high).Big64(0x100);
  EXPECT_LT(low, high);
  ByteReader reader(high);
  EXPECT_EQ(reader.Big64(), 0x100u);
}

TEST(Types, RoundUpSaturates) {
  EXPECT_EQ(RoundUp(1, 4096), 4096u);
  EXPECT_EQ(RoundUp(4096, 4096), 4096u);
  EXPECT_EQ(RoundUp(UINT64_MAX, 4096), UINT64_MAX - 4095);
}

TEST(ErrorTable, EveryCodeHasAnErrnoAndAMeaning) {
  EXPECT_EQ(ErrnoOf(ErrorCode::kNoSpace), ENOSPC);
  EXPECT_EQ(Error(ErrorCode::kCorrupt, "inode 42").Within("mount").ToString(),
            "mount: inode 42: damaged metadata");
  EXPECT_EQ(CodeOfErrno(ENOSPC), ErrorCode::kNoSpace);
  EXPECT_EQ(CodeOfErrno(ENODATA), ErrorCode::kIo);  // a medium error on NVMe
}

TEST(Result, TryReturnsTheError) {
  auto fails = []() -> Status { return Error(ErrorCode::kBusy, "x"); };
  auto outer = [&]() -> Result<int> {
    TRY(fails());
    return 1;
  };
  EXPECT_TRUE(outer().Is(ErrorCode::kBusy));
}

TEST(Uuid, TextAndBack) {
  const Uuid uuid = Uuid::Random();
  EXPECT_EQ(Uuid::Parse(uuid.ToString()), uuid);
  EXPECT_EQ(Uuid::Parse("not-a-uuid"), std::nullopt);
  EXPECT_EQ(Uuid::Parse("zzzzzzzz-0000-4000-8000-000000000000"), std::nullopt);
}

TEST(Printable, EscapesWhatCommandsATerminal) {
  EXPECT_EQ(Printable("a\x1b[2J\n"), "a\\x1b[2J\\x0a");
}

}  // namespace
}  // namespace cofs
