// Text for people: numbers with units, and lines whose values stand under each other.
// Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cofs {

// "0 B", "4.0 KiB", "17.5 GiB": powers of 1024, three digits or so.
std::string FormatBytes(uint64_t bytes);
// "1,234,567"
std::string FormatCount(uint64_t count);
// "12 s", "3 min 5 s", "2 h 1 min", "9 d 4 h"
std::string FormatDuration(uint64_t seconds);
// "87 %"; a whole of 0 is 0 %.
std::string FormatShare(uint64_t part, uint64_t whole);

// Sections of "name   value" lines.
class FactSheet {
 public:
  void Section(std::string title);
  // Lines without a value are left out.
  void Fact(std::string name, std::string value);
  std::string Render() const;

 private:
  struct Part {
    std::string title;
    std::vector<std::pair<std::string, std::string>> facts;
  };
  std::vector<Part> parts_;
};

// Columns: the header's names; cells that look like numbers or quantities stand to the
// right when their column says so.
class TextTable {
 public:
  struct Column {
    std::string name;
    bool right = false;
  };
  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void Row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  std::string Render(std::string_view indent = "") const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace cofs
