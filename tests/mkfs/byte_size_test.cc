// Sizes in and out.
#include "mkfs/byte_size.h"

#include <gtest/gtest.h>

namespace cofs {
namespace {

TEST(ByteSize, Parses) {
  const std::pair<const char*, uint64_t> cases[] = {
      {"0", 0},           {"4096", 4096},      {"1K", 1024},        {"1k", 1024},
      {"3M", 3 << 20},    {"10G", 10ull << 30}, {"10GiB", 10ull << 30}, {"2t", 2ull << 40},
      {"1P", 1ull << 50}, {"9223372036854775807", INT64_MAX}};
  for (const auto& [text, bytes] : cases) EXPECT_EQ(ParseByteSize(text), bytes) << text;
  EXPECT_EQ(ParseByteSize("100", 1024), 102400u);
  EXPECT_EQ(ParseByteSize("1M", 1024), 1u << 20);
}

TEST(ByteSize, Refuses) {
  for (const char* text : {"", "G", "-1", "+1", " 1", "1 ", "1.5G", "1X", "1GB", "1KK", "0x10",
                           "9223372036854775808", "99999999999999999999", "8192P", "1Gi"})
    EXPECT_FALSE(ParseByteSize(text)) << text;
}

TEST(ByteSize, Formats) {
  const std::pair<uint64_t, const char*> cases[] = {
      {0, "0 bytes"},          {1023, "1023 bytes"},      {1024, "1.0 KiB"},
      {1536, "1.5 KiB"},       {1 << 20, "1.0 MiB"},      {(1 << 20) - 1, "1023.9 KiB"},
      {10ull << 30, "10.0 GiB"}, {3ull << 60, "3072.0 PiB"}};
  for (const auto& [bytes, text] : cases) EXPECT_EQ(FormatByteSize(bytes), text);
}

}  // namespace
}  // namespace cofs
