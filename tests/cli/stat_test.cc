#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/stat_command.h"
#include "cli/text_table.h"

namespace cofs {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

TEST(TextTableTest, Numbers) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.0 KiB");
  EXPECT_EQ(FormatBytes((1ull << 20) - 1), "1.0 MiB");
  EXPECT_EQ(FormatBytes(UINT64_MAX), "16.0 EiB");
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
  EXPECT_EQ(FormatDuration(0), "0 s");
  EXPECT_EQ(FormatDuration(60), "1 min");
  EXPECT_EQ(FormatDuration(3661), "1 h 1 min");
  EXPECT_EQ(FormatDuration(90000), "1 d 1 h");
  EXPECT_EQ(FormatShare(1, 3), "33 %");
  EXPECT_EQ(FormatShare(1, 0), "0 %");
}

TEST(TextTableTest, Columns) {
  TextTable table({{"name"}, {"bytes", true}, {"note"}});
  table.Row({"a", "12,000", ""});
  table.Row({"longer", "1", "x"});
  EXPECT_EQ(table.Render(),
            "name     bytes  note\n"
            "a       12,000\n"
            "longer       1  x\n");
}

TEST(TextTableTest, Facts) {
  FactSheet sheet;
  sheet.Section("One");
  sheet.Fact("a", "1");
  sheet.Fact("empty", "");
  sheet.Section("Nothing");
  sheet.Section("Two");
  sheet.Fact("long", "2");
  EXPECT_EQ(sheet.Render(), "One\n  a     1\n\nTwo\n  long  2\n");
}

TEST(StatTest, ShowsWhatTheDaemonSays) {
  const Result<std::string> text = RenderStats(
      R"({"read_only":false,"mounted_at_s":1000,
          "volume":{"device":"/dev/vda","label":"da\u001bta","uuid":"u"},
          "options":{"copy":"auto","atime":"relatime","writeback_cache":true,
                     "cache_bytes":67108864,"commit_interval_s":5,"threads":4},
          "space":{"volume_bytes":1073741824,"free_bytes":536870912},
          "copy":{"copies":2,"copied_bytes":2048,
                  "ways":[{"way":"nvme-copy","bytes":4096,"commands":1},
                          {"way":"buffered","bytes":0,"commands":0}]},
          "fuse":{"features":["async_read","writeback_cache"]}})",
      1065);
  ASSERT_TRUE(text.ok());
  EXPECT_THAT(*text, HasSubstr("read-write"));
  EXPECT_THAT(*text, HasSubstr("1 min 5 s"));
  EXPECT_THAT(*text, HasSubstr("rw,relatime,writeback_cache,copy=auto,cache=64M,commit=5"));
  EXPECT_THAT(*text, HasSubstr("512.0 MiB (50 %)"));
  EXPECT_THAT(*text, HasSubstr("4.0 KiB in 1 command"));
  EXPECT_THAT(*text, Not(HasSubstr("by buffered")));
  EXPECT_THAT(*text, HasSubstr("async_read writeback_cache"));
  // A label can't command the terminal.
  EXPECT_THAT(*text, HasSubstr("da\\x1bta"));
}

TEST(StatTest, SaysWhyItIsReadOnly) {
  const Result<std::string> text =
      RenderStats(R"({"read_only":true,"read_only_reason":"commit failed"})", 0);
  ASSERT_TRUE(text.ok());
  EXPECT_THAT(*text, HasSubstr("READ-ONLY after an error: commit failed"));
}

TEST(StatTest, SaysWhatNeedsAnEye) {
  const auto render = [](const char* json) { return *RenderStats(json, 100'000); };
  const std::string text = render(
      R"({"scrub":{"state":"finished","ended_s":40000,"damage_count":2},
          "stalls":{"now":1,"oldest":"write of 4096 bytes at 8192","oldest_ms":45000,
                    "count":3,"longest_ms":61000}})");
  EXPECT_THAT(text, HasSubstr("finished 16 h 40 min ago, 2 DAMAGED PLACES"));
  EXPECT_THAT(text, HasSubstr("1, the oldest a write of 4096 bytes at 8192, for 45 s"));
  EXPECT_THAT(text, HasSubstr("3, the longest for 1 min 1 s"));
  EXPECT_THAT(render(R"({"scrub":{"state":"running","done_bytes":1,"total_bytes":4}})"),
              HasSubstr("running, 25 %, no damage"));
  EXPECT_THAT(render(R"({"scrub":{"state":"none"},"stalls":{"now":0,"count":0}})"),
              Not(AnyOf(HasSubstr("scrub"), HasSubstr("tall"))));
}

TEST(StatTest, SurvivesAnyText) {
  EXPECT_TRUE(RenderStats("{}", 0).ok());
  EXPECT_TRUE(RenderStats(R"({"volume":7,"space":{"free_bytes":"x"},"copy":{"ways":3},
                              "fuse":{"features":[1,null]}})",
                          0)
                  .ok());
  for (const char* bad : {"", "[]", "7", "{", "{\"a\":"})
    EXPECT_FALSE(RenderStats(bad, 0).ok()) << bad;
}

}  // namespace
}  // namespace cofs
