#include "fsck/report.h"

#include "base/check.h"
#include "base/log.h"

namespace cofs {
namespace {

constexpr FindingKind kKinds[] = {
#define COFS_X(name, id, severity, policy, meaning) \
  {id, Severity::severity, RepairPolicy::policy, meaning},
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

// "inode 42 (/a/b): ", nothing for inode 0.
std::string Subject(InodeId inode, const std::string& path) {
  if (inode.value() == 0) return "";
  return StrCat("inode ", inode, path.empty() ? "" : " (" + path + ")", ": ");
}

}  // namespace

std::string_view NameOf(Severity severity) {
  return severity == Severity::kError ? "error" : "note";
}

std::string_view NameOf(RepairPolicy policy) {
  switch (policy) {
    case RepairPolicy::kPreen:
      return "-p -y";
    case RepairPolicy::kYes:
      return "-y";
    case RepairPolicy::kNever:
      return "-";
  }
  return "?";
}

const FindingKind& KindOf(FindingId id) { return kKinds[static_cast<size_t>(id)]; }

std::string Describe(const Finding& finding) {
  return StrCat(Subject(finding.inode, finding.path), finding.text, " [",
                KindOf(finding.id).id, "]", finding.repaired ? " repaired" : "");
}

std::string Describe(const Loss& loss) {
  return StrCat("lost: ", Subject(loss.inode, loss.path), loss.text);
}

size_t Report::Add(FindingId id, InodeId inode, std::string text) {
  ++counts_[static_cast<size_t>(id)];
  ++(KindOf(id).severity == Severity::kError ? error_count_ : note_count_);
  if (findings_.size() >= finding_count_max_) return SIZE_MAX;
  findings_.push_back({id, inode, "", std::move(text)});
  return findings_.size() - 1;
}

void Report::AddLoss(InodeId inode, std::string text) {
  ++loss_count_;
  if (losses_.size() < finding_count_max_) losses_.push_back({inode, "", std::move(text)});
}

void Report::MarkRepaired(FindingId id, size_t index) {
  if (index < findings_.size()) findings_[index].repaired = true;
  ++repaired_counts_[static_cast<size_t>(id)];
  if (KindOf(id).severity != Severity::kError) return;
  CHECK(error_count_ > 0, "more errors repaired than found");
  --error_count_;
  ++repaired_count_;
}

void Report::TakeRepaired(const Report& round) {
  for (size_t i = 0; i < kFindingKindCount; ++i) {
    const uint64_t count = round.repaired_counts_[i];
    counts_[i] += count;
    repaired_counts_[i] += count;
    (kKinds[i].severity == Severity::kError ? repaired_count_ : note_count_) += count;
  }
  for (const Finding& finding : round.findings_)
    if (finding.repaired && findings_.size() < finding_count_max_)
      findings_.push_back(finding);
  loss_count_ += round.loss_count_;
  for (const Loss& loss : round.losses_)
    if (losses_.size() < finding_count_max_) losses_.push_back(loss);
}

void Report::TakeRest(const Report& round) {
  for (size_t i = 0; i < kFindingKindCount; ++i) {
    const uint64_t count = round.counts_[i] - round.repaired_counts_[i];
    counts_[i] += count;
    (kKinds[i].severity == Severity::kError ? error_count_ : note_count_) += count;
  }
  for (const Finding& finding : round.findings_)
    if (!finding.repaired && findings_.size() < finding_count_max_)
      findings_.push_back(finding);
  totals = round.totals;
  label = round.label;
  uuid = round.uuid;
  marked_clean = round.marked_clean;
}

std::string Report::ToJson(const std::string& device, int exit_code) const {
  std::string out = StrCat(
      "{\n  \"device\": ", Quoted(Printable(device)), ",\n  \"label\": ",
      Quoted(Printable(label)), ",\n  \"uuid\": ", Quoted(uuid.ToString()),
      ",\n  \"marked_clean\": ", marked_clean ? "true" : "false",
      ",\n  \"exit_code\": ", exit_code, ",\n  \"counts\": {");
  const std::pair<const char*, uint64_t> numbers[] = {
      {"errors", error_count_},
      {"repaired", repaired_count_},
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
                  NameOf(KindOf(finding.id).severity), "\", \"repaired\": ",
                  finding.repaired ? "true" : "false", ", \"inode\": ", finding.inode,
                  ", \"path\": ", Quoted(finding.path), ", \"text\": ",
                  Quoted(finding.text), "}");
    separator = ",\n    ";
  }
  out += StrCat(findings_.empty() ? "]" : "\n  ]", ",\n  \"losses_left_out\": ",
                loss_count_ - losses_.size(), ",\n  \"losses\": [");
  separator = "\n    ";
  for (const Loss& loss : losses_) {
    out += StrCat(separator, "{\"inode\": ", loss.inode, ", \"path\": ", Quoted(loss.path),
                  ", \"text\": ", Quoted(loss.text), "}");
    separator = ",\n    ";
  }
  return out + (losses_.empty() ? "]\n}\n" : "\n  ]\n}\n");
}

}  // namespace cofs
