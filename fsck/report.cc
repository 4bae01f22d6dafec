#include "fsck/report.h"

#include "base/check.h"
#include "base/log.h"

namespace cofs {
namespace {

constexpr FindingKind kKinds[] = {
#define COFS_X(name, id, severity, meaning) {id, Severity::severity, meaning},
    COFS_FINDING_TABLE(COFS_X)
#undef COFS_X
};
static_assert(std::size(kKinds) == kFindingKindCount);

std::string Quoted(std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "\"";
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c >= 0x7f) {
      // Names are bytes, JSON is Unicode: what is not ASCII was made printable before.
      out += "\\u00";
      out += kDigits[c >> 4];
      out += kDigits[c & 15];
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + '"';
}

std::string_view NameOf(Severity severity) {
  return severity == Severity::kError ? "error" : "note";
}

}  // namespace

const FindingKind& KindOf(FindingId id) { return kKinds[static_cast<size_t>(id)]; }

std::string Describe(const Finding& finding) {
  std::string out;
  if (finding.inode.value() != 0) {
    out = StrCat("inode ", finding.inode);
    if (!finding.path.empty()) out += " (" + finding.path + ")";
    out += ": ";
  }
  return StrCat(out, finding.text, " [", KindOf(finding.id).id, "]");
}

void Report::Add(FindingId id, InodeId inode, std::string text) {
  ++counts_[static_cast<size_t>(id)];
  ++(KindOf(id).severity == Severity::kError ? error_count_ : note_count_);
  if (findings_.size() < finding_count_max_)
    findings_.push_back({id, inode, "", std::move(text)});
}

std::string Report::ToJson(const std::string& device, int exit_code) const {
  std::string out = StrCat(
      "{\n  \"device\": ", Quoted(Printable(device)), ",\n  \"label\": ",
      Quoted(Printable(label)), ",\n  \"uuid\": ", Quoted(uuid.ToString()),
      ",\n  \"marked_clean\": ", marked_clean ? "true" : "false",
      ",\n  \"exit_code\": ", exit_code, ",\n  \"counts\": {");
  const std::pair<const char*, uint64_t> numbers[] = {
      {"errors", error_count_},
      {"notes", note_count_},
      {"inodes", totals.inodes},
      {"directories", totals.directories},
      {"entries", totals.entries},
      {"extents", totals.extents},
      {"orphans", totals.orphans},
      {"used_bytes", totals.used_bytes},
      {"verified_bytes", totals.verified_bytes}};
  const char* separator = "";
  for (const auto& [name, number] : numbers) {
    out += StrCat(separator, "\"", name, "\": ", number);
    separator = ", ";
  }
  out += "},\n  \"finding_counts\": {";
  separator = "";
  for (size_t i = 0; i < kFindingKindCount; ++i) {
    if (counts_[i] == 0) continue;
    out += StrCat(separator, "\"", kKinds[i].id, "\": ", counts_[i]);
    separator = ", ";
  }
  out += StrCat("},\n  \"findings_left_out\": ", left_out_count(), ",\n  \"findings\": [");
  separator = "\n    ";
  for (const Finding& finding : findings_) {
    out += StrCat(separator, "{\"id\": \"", KindOf(finding.id).id, "\", \"severity\": \"",
                  NameOf(KindOf(finding.id).severity), "\", \"inode\": ", finding.inode,
                  ", \"path\": ", Quoted(finding.path), ", \"text\": ",
                  Quoted(finding.text), "}");
    separator = ",\n    ";
  }
  return out + (findings_.empty() ? "]\n}\n" : "\n  ]\n}\n");
}

}  // namespace cofs
