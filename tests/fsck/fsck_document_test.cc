// docs/FSCK.md shows the catalogue as it is.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "fsck/findings.h"

namespace cofs {
namespace {

TEST(FsckDocument, HasARowForEachEntryOfTheCatalogue) {
  std::ifstream file(COFS_SOURCE_DIR "/docs/FSCK.md");
  std::set<std::string> rows;
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("| `") && line.find("| `-") != 0) rows.insert(line);
  ASSERT_FALSE(rows.empty()) << "docs/FSCK.md can't be read";
  for (size_t i = 0; i < kFindingKindCount; ++i) {
    const FindingKind& kind = KindOf(static_cast<FindingId>(i));
    const std::string begin = "| `" + std::string(kind.id) + "` | " +
                              std::string(NameOf(kind.policy)) + " | " +
                              std::string(kind.meaning) + " | ";
    const auto row = rows.lower_bound(begin);
    ASSERT_TRUE(row != rows.end() && row->starts_with(begin)) << "no row " << begin;
    EXPECT_GT(row->size(), begin.size() + 2) << "nothing is said of its repair: " << begin;
    rows.erase(row);
  }
  EXPECT_TRUE(rows.empty()) << "no such finding: " << *rows.begin();
}

}  // namespace
}  // namespace cofs
