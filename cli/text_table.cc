#include "cli/text_table.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <sstream>

#include "base/check.h"

namespace cofs {
namespace {

// Trailing blanks are not written.
void AppendLine(std::string& out, std::string line) {
  while (!line.empty() && line.back() == ' ') line.pop_back();
  out += line;
  out += '\n';
}

std::string Pad(const std::string& text, size_t width, bool right) {
  const std::string blanks(width - std::min(width, text.size()), ' ');
  return right ? blanks + text : text + blanks;
}

}  // namespace

std::string FormatBytes(uint64_t bytes) {
  static constexpr std::array<const char*, 7> kUnits = {"B",   "KiB", "MiB", "GiB",
                                                        "TiB", "PiB", "EiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // 1023.96 would show as 1024.0.
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string FormatCount(uint64_t count) {
  std::string digits = std::to_string(count);
  for (size_t end = digits.size(); end > 3; end -= 3) digits.insert(end - 3, 1, ',');
  return digits;
}

std::string FormatDuration(uint64_t seconds) {
  struct TimeUnit {
    uint64_t seconds;
    const char* name;
  };
  static constexpr std::array<TimeUnit, 4> kUnits = {
      {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}}};
  size_t first = 0;
  while (first + 1 < kUnits.size() && seconds < kUnits[first].seconds) ++first;
  std::ostringstream text;
  text << seconds / kUnits[first].seconds << ' ' << kUnits[first].name;
  if (first + 1 < kUnits.size()) {
    const TimeUnit& next = kUnits[first + 1];
    const uint64_t rest = seconds % kUnits[first].seconds / next.seconds;
    if (rest != 0) text << ' ' << rest << ' ' << next.name;
  }
  return std::move(text).str();
}

std::string FormatShare(uint64_t part, uint64_t whole) {
  const double share = whole == 0 ? 0 : 100.0 * static_cast<double>(part) /
                                            static_cast<double>(whole);
  char text[32];
  std::snprintf(text, sizeof(text), "%.0f %%", share);
  return text;
}

void FactSheet::Section(std::string title) { parts_.push_back({std::move(title), {}}); }

void FactSheet::Fact(std::string name, std::string value) {
  if (parts_.empty()) Section("");
  if (!value.empty()) parts_.back().facts.emplace_back(std::move(name), std::move(value));
}

std::string FactSheet::Render() const {
  size_t width = 0;
  for (const Part& part : parts_)
    for (const auto& [name, value] : part.facts) width = std::max(width, name.size());
  std::string out;
  for (const Part& part : parts_) {
    if (part.facts.empty()) continue;
    if (!out.empty()) out += '\n';
    if (!part.title.empty()) AppendLine(out, part.title);
    for (const auto& [name, value] : part.facts)
      AppendLine(out, StrCat("  ", Pad(name, width, false), "  ", value));
  }
  return out;
}

std::string TextTable::Render(std::string_view indent) const {
  std::vector<size_t> widths;
  for (const Column& column : columns_) widths.push_back(column.name.size());
  for (const auto& row : rows_)
    for (size_t i = 0; i < std::min(row.size(), widths.size()); ++i)
      widths[i] = std::max(widths[i], row[i].size());
  std::string out;
  const auto append = [&](const auto& cell_of, size_t count) {
    std::string line(indent);
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) line += "  ";
      line += Pad(cell_of(i), widths[i], columns_[i].right);
    }
    AppendLine(out, std::move(line));
  };
  append([&](size_t i) { return columns_[i].name; }, columns_.size());
  for (const auto& row : rows_)
    append([&](size_t i) { return row[i]; }, std::min(row.size(), columns_.size()));
  return out;
}

}  // namespace cofs
