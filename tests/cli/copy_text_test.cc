// What cofs top, cp and stat say about copies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/copy_facts.h"
#include "cli/mount_list.h"
#include "cli/progress_bar.h"
#include "cli/top_command.h"
#include "cli/tree_copier.h"

namespace cofs {
namespace {

using testing::HasSubstr;

TEST(TopTest, RatesBetweenTwoSamples) {
  const auto before = ParseTopSample(
      R"({"io":{"reads":10,"read_bytes":1024},"copy":{"memory_bytes":5,"ways":[]},
          "space":{"free_bytes":4096}})");
  const auto now = ParseTopSample(
      R"({"io":{"reads":30,"read_bytes":3072},
          "copy":{"memory_bytes":1029,"fallbacks":4,"cloned_bytes":2048,
                  "ways":[{"way":"nvme-copy","bytes":4096},{"way":"buffered","bytes":2048}]},
          "fuse":{"requests":{"READ":20,"WRITE":20}},"space":{"free_bytes":8192}})");
  ASSERT_TRUE(before.ok() && now.ok());
  EXPECT_EQ(now->device_bytes, 4096u);
  EXPECT_EQ(now->memory_bytes, 1029u + 2048);
  EXPECT_EQ(now->requests, 40u);
  const std::string line = TopLine(*before, *now, 2);
  EXPECT_EQ(line.size(), TopHeader().size());
  EXPECT_THAT(line, HasSubstr("2.0 KiB"));  // copied by the device
  EXPECT_THAT(line, HasSubstr("1.5 KiB"));  // through memory
  EXPECT_THAT(line, HasSubstr("8.0 KiB"));
  // Another mount, whose counters begin again.
  EXPECT_THAT(TopLine(*now, *before, 1), testing::Not(HasSubstr("-")));
  for (const char* bad : {"", "[]", "{"}) EXPECT_FALSE(ParseTopSample(bad).ok());
  EXPECT_TRUE(ParseTopSample(R"({"io":3,"copy":{"ways":{"a":1}},"fuse":[]})").ok());
}

TEST(ProgressTest, OneLineOfTheTerminal) {
  const std::string line = ProgressLine(1 << 20, 4 << 20, 2, "a\nb", "nvme-copy", 200);
  EXPECT_THAT(line, HasSubstr("[#####---------------] 25 %"));
  EXPECT_THAT(line, HasSubstr("512.0 KiB/s"));
  EXPECT_THAT(line, HasSubstr("by nvme-copy"));
  EXPECT_THAT(line, HasSubstr("a\\x0ab"));
  EXPECT_EQ(ProgressLine(1, 4, 2, "name", "way", 30).size(), 30u);
  // Files can grow while they are counted.
  EXPECT_THAT(ProgressLine(9, 4, 0, "", "", 200), HasSubstr("100 %"));
  EXPECT_THAT(ProgressLine(0, 0, 0, "", "", 200), HasSubstr("0 %"));
}

TEST(CopyTextTest, Latency) {
  EXPECT_EQ(LatencyWords(std::vector<uint64_t>(28)), "");
  std::vector<uint64_t> counts(28);
  counts[7] = 98;
  counts[11] = 1;
  counts[14] = 1;
  EXPECT_EQ(LatencyWords(counts),
            "half within 128 us, 99 % within 2.05 ms, all within 16.4 ms");
  EXPECT_EQ(LatencyWords(StatsJson::parse(R"([{"us_below":128,"count":1},{"count":3}, 7])")),
            "half within 128 us, 99 % within 128 us, all within 128 us");
  EXPECT_EQ(LatencyWords(StatsJson::parse("{}")), "");
}

TEST(CopyTextTest, Explained) {
  EXPECT_EQ(DescribeCopy({}), "  nothing to copy\n");
  DataCopyReport report;
  report.ways = {{"nvme-copy", 1 << 20, 1}, {"memory", 100, 0}};
  report.reasons = {{"set-aside", 1, 4096}};
  report.verified_bytes = 65536;
  report.fallback_count = 1;
  report.fallback_reason = "NVMe status 0x6";
  EXPECT_EQ(DescribeCopy(report),
            "  nvme-copy 1.0 MiB in 1 command, memory 100 B\n"
            "  read back: 64.0 KiB\n"
            "  not by the device: 4.0 KiB, set-aside\n"
            "  1 fallback: NVMe status 0x6\n");
}

TEST(CopyTextTest, Ways) {
  FactSheet sheet;
  WayFacts(StatsJson::parse(R"({"ways":[
      {"way":"nvme-copy","state":"proved","description":"NVMe Copy",
       "limits":{"segment_bytes_max":65536,"command_bytes_max":1048576,"segments_max":8,
                 "alignment_bytes":8192},
       "request_bytes_min":32768,"setup_us":20,"bytes_per_us":2000},
      {"way":"scsi-xcopy","state":"absent","reason":"not a SCSI device"},
      {"way":"host-file","state":"set aside","description":"FICLONERANGE",
       "never_worth_it":true,"last_failure":"no\u001bspace"},
      {"way":"buffered","state":"proved","setup_us":7,"bytes_per_us":1000000}, 5]})"),
           sheet);
  const std::string text = sheet.Render();
  EXPECT_THAT(text, HasSubstr("proved, NVMe Copy, 64.0 KiB a source, 1.0 MiB a command, 8 "
                              "sources a command, aligned to 8.0 KiB, for 32.0 KiB and more"));
  EXPECT_THAT(text, HasSubstr("20 us and 1.9 GiB/s"));
  EXPECT_THAT(text, HasSubstr("absent: not a SCSI device"));
  EXPECT_THAT(text, HasSubstr("slower than memory at every size"));
  EXPECT_THAT(text, HasSubstr("no\\x1bspace"));
  EXPECT_THAT(text, HasSubstr("7 us, whatever the size"));
}

TEST(MountListTest, FieldsWithBlanks) {
  EXPECT_EQ(UnescapeMountField("/a\\040b\\134c"), "/a b\\c");
  EXPECT_EQ(UnescapeMountField("/a\\04"), "/a\\04");
  EXPECT_EQ(UnescapeMountField("\\999"), "\\999");
  EXPECT_EQ(FindMountOf("/nothing/there"), std::nullopt);
}

}  // namespace
}  // namespace cofs
