#include "copy_engine/device_stack.h"

#include <charconv>
#include <map>

namespace cofs {
namespace {

// Deeper than any stack that makes sense; ends a cycle in what the source tells.
constexpr int kStackDepthMax = 16;

std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  while (true) {
    const size_t begin = text.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) return words;
    text.remove_prefix(begin);
    const size_t end = std::min(text.find_first_of(" \t\r"), text.size());
    words.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

template <typename T>
bool ParseNumber(std::string_view text, T& value) {
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool ParseSectors(std::string_view text, uint64_t& bytes) {
  uint64_t sectors = 0;
  if (!ParseNumber(text, sectors) || sectors > UINT64_MAX / kSectorBytes) return false;
  bytes = sectors * kSectorBytes;
  return true;
}

bool ParseBlockNumber(std::string_view text, BlockNumber& number) {
  const size_t colon = text.find(':');
  return colon != std::string_view::npos &&
         ParseNumber(text.substr(0, colon), number.major) &&
         ParseNumber(text.substr(colon + 1), number.minor);
}

Error BadTarget(const DmTarget& target) {
  return Error(ErrorCode::kNotSupported, StrCat("table of the device mapper not "
                                                "understood: ",
                                                target.type, " ", target.parameters));
}

class Resolver {
 public:
  explicit Resolver(StackSource& source) : source_(source) {}

  Result<StackMap::NodeId> Resolve(BlockNumber number, int depth) {
    if (const auto known = nodes_.find(number); known != nodes_.end())
      return known->second;
    if (depth > kStackDepthMax)
      return Error(ErrorCode::kNotSupported, "devices stacked too deep");
    TRY_ASSIGN(const BlockFacts facts, source_.Describe(number));
    Result<StackMap::NodeId> node = Error(ErrorCode::kNotSupported, "");
    switch (facts.kind) {
      case BlockKind::kDrive:
        node = AddDrive(number, facts);
        break;
      case BlockKind::kPartition:
        node = AddPartition(facts, depth);
        break;
      case BlockKind::kDeviceMapper:
        node = AddDeviceMapper(number, facts, depth);
        break;
      case BlockKind::kOther:
        node = Error(ErrorCode::kNotSupported, StrCat(facts.name, ": ", facts.reason));
        break;
    }
    if (node.ok()) nodes_.emplace(number, *node);
    return node;
  }

  Result<DeviceStack> Finish(BlockNumber device) {
    TRY(stack_.map.CheckNoAliases());
    TRY_ASSIGN(const BlockFacts facts, source_.Describe(device));
    stack_.description = facts.name;
    std::string below;
    for (const StackLeaf& leaf : stack_.leaves)
      if (leaf.number != device)
        below.append(below.empty() ? " on " : ", ").append(leaf.name);
    stack_.description += below;
    TRY_ASSIGN(stack_.generation, ReadGeneration(source_, stack_));
    // Between the reading of the tables and this, one may have changed.
    if (stack_.generation != generation_)
      return Error(ErrorCode::kRetry, "a table of the device mapper");
    return std::move(stack_);
  }

  void AddGeneration(BlockNumber number, const DmTable& table);
  const std::string& generation() const { return generation_; }

 private:
  Result<StackMap::NodeId> AddDrive(BlockNumber number, const BlockFacts& facts) {
    stack_.leaves.push_back({.number = number,
                             .name = facts.name,
                             .drive = facts.drive,
                             .size_bytes = facts.size_bytes});
    return stack_.map.AddLeaf(facts.size_bytes);
  }

  Result<StackMap::NodeId> AddPartition(const BlockFacts& facts, int depth) {
    TRY_ASSIGN(const StackMap::NodeId parent, Resolve(facts.parent, depth + 1));
    return stack_.map.AddTable({{.offset = 0,
                                 .length_bytes = facts.size_bytes,
                                 .chunk_bytes = 0,
                                 .children = {{parent, facts.start_bytes}}}});
  }

  Result<StackMap::NodeId> AddDeviceMapper(BlockNumber number, const BlockFacts& facts,
                                           int depth) {
    TRY_ASSIGN(const DmTable table, source_.ReadTable(number));
    const auto node_of = [&](BlockNumber child) { return Resolve(child, depth + 1); };
    std::vector<StackMap::Segment> segments;
    for (const DmTarget& target : table.targets) {
      auto segment = ParseDmTarget(target, node_of);
      if (!segment.ok()) return segment.error().Within(facts.name);
      segments.push_back(*std::move(segment));
    }
    stack_.tables.push_back(number);
    AddGeneration(number, table);
    return stack_.map.AddTable(std::move(segments));
  }

  StackSource& source_;
  DeviceStack stack_;
  std::map<BlockNumber, StackMap::NodeId> nodes_;
  std::string generation_;
};

void Resolver::AddGeneration(BlockNumber number, const DmTable& table) {
  generation_ += StrCat(ToString(number), " ", table.uuid, " ", table.event_number, "\n");
  for (const DmTarget& target : table.targets)
    generation_ += StrCat(target.start_sectors, " ", target.length_sectors, " ",
                          target.type, " ", target.parameters, "\n");
}

}  // namespace

std::string ToString(BlockNumber number) {
  return StrCat(number.major, ":", number.minor);
}

Result<DeviceStack> ResolveStack(StackSource& source, BlockNumber device) {
  Resolver resolver(source);
  TRY(resolver.Resolve(device, 0));
  return resolver.Finish(device);
}

Result<std::string> ReadGeneration(StackSource& source, const DeviceStack& stack) {
  Resolver text(source);
  for (const BlockNumber number : stack.tables) {
    TRY_ASSIGN(const DmTable table, source.ReadTable(number));
    if (table.is_suspended)
      return Error(ErrorCode::kRetry,
                   StrCat("device mapper device ", ToString(number), " is suspended"));
    text.AddGeneration(number, table);
  }
  return text.generation();
}

Result<std::vector<DmTarget>> ParseDmTable(std::string_view text) {
  std::vector<DmTarget> targets;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::vector<std::string_view> words = Words(line);
    if (words.empty()) continue;
    DmTarget target;
    if (words.size() < 3 || !ParseNumber(words[0], target.start_sectors) ||
        !ParseNumber(words[1], target.length_sectors))
      return Error(ErrorCode::kInvalidArgument,
                   StrCat("not a line of a table: ", std::string(line)));
    target.type = words[2];
    for (size_t i = 3; i < words.size(); ++i)
      target.parameters.append(i == 3 ? "" : " ").append(words[i]);
    targets.push_back(std::move(target));
  }
  return targets;
}

Result<StackMap::Segment> ParseDmTarget(
    const DmTarget& target,
    const std::function<Result<StackMap::NodeId>(BlockNumber)>& node_of) {
  StackMap::Segment segment;
  if (target.start_sectors > UINT64_MAX / kSectorBytes ||
      target.length_sectors > UINT64_MAX / kSectorBytes)
    return BadTarget(target);
  segment.offset = target.start_sectors * kSectorBytes;
  segment.length_bytes = target.length_sectors * kSectorBytes;

  std::vector<std::string_view> words = Words(target.parameters);
  size_t stripe_count = 1;
  if (target.type == "striped") {
    if (words.size() < 2 || !ParseNumber(words[0], stripe_count) || stripe_count == 0 ||
        !ParseSectors(words[1], segment.chunk_bytes))
      return BadTarget(target);
    words.erase(words.begin(), words.begin() + 2);
  } else if (target.type != "linear") {
    return Error(ErrorCode::kNotSupported,
                 StrCat("target \"", target.type, "\" of the device mapper"));
  }
  if (stripe_count > words.size() || words.size() != stripe_count * 2)
    return BadTarget(target);
  for (size_t i = 0; i < words.size(); i += 2) {
    BlockNumber number;
    StackMap::Child child;
    if (!ParseBlockNumber(words[i], number) || !ParseSectors(words[i + 1], child.offset))
      return BadTarget(target);
    TRY_ASSIGN(child.node, node_of(number));
    segment.children.push_back(child);
  }
  return segment;
}

}  // namespace cofs
