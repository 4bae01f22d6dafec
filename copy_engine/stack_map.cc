#include "copy_engine/stack_map.h"

#include <algorithm>

namespace cofs {
namespace {

// Bytes that a segment takes of each of its children.
uint64_t BytesOfEachChild(const StackMap::Segment& segment) {
  return segment.length_bytes / segment.children.size();
}

}  // namespace

StackMap StackMap::Identity(uint64_t size_bytes) {
  StackMap map;
  map.AddLeaf(size_bytes);
  return map;
}

StackMap::NodeId StackMap::AddLeaf(uint64_t size_bytes) {
  nodes_.push_back(
      {.size_bytes = size_bytes, .is_leaf = true, .leaf = leaf_count_++, .segments = {}});
  return static_cast<NodeId>(nodes_.size() - 1);
}

Result<StackMap::NodeId> StackMap::AddTable(std::vector<Segment> segments) {
  uint64_t end = 0;
  for (const Segment& segment : segments) {
    if (segment.offset != end)
      return Error(ErrorCode::kNotSupported,
                   StrCat("table with a gap or an overlap at ", end));
    TRY(CheckSegment(segment));
    end += segment.length_bytes;
  }
  if (end == 0) return Error(ErrorCode::kNotSupported, "empty table");
  nodes_.push_back(
      {.size_bytes = end, .is_leaf = false, .leaf = 0, .segments = std::move(segments)});
  return static_cast<NodeId>(nodes_.size() - 1);
}

Status StackMap::CheckSegment(const Segment& segment) const {
  const size_t count = segment.children.size();
  if (segment.length_bytes == 0 || count == 0 ||
      segment.length_bytes > UINT64_MAX - segment.offset)
    return Error(ErrorCode::kNotSupported, "table with an empty segment");
  if (count > 1 && (segment.chunk_bytes == 0 || segment.length_bytes % count != 0 ||
                    BytesOfEachChild(segment) % segment.chunk_bytes != 0))
    return Error(ErrorCode::kNotSupported, "stripes that are not whole chunks");
  for (const Child& child : segment.children) {
    CHECK(child.node < nodes_.size(), "node ", child.node);
    const uint64_t size = nodes_[child.node].size_bytes;
    if (child.offset > size || BytesOfEachChild(segment) > size - child.offset)
      return Error(ErrorCode::kNotSupported, StrCat("segment at ", segment.offset,
                                                    " reaches past the end of what "
                                                    "lies below"));
  }
  return OkStatus();
}

Status StackMap::CheckNoAliases() const {
  // Node by node: if no node's bytes are used twice by the nodes above, no leaf's
  // bytes are either.
  struct Use {
    NodeId node;
    uint64_t offset;
    uint64_t end;
  };
  std::vector<Use> uses;
  for (const Node& node : nodes_)
    for (const Segment& segment : node.segments)
      for (const Child& child : segment.children)
        uses.push_back(
            {child.node, child.offset, child.offset + BytesOfEachChild(segment)});
  std::sort(uses.begin(), uses.end(), [](const Use& a, const Use& b) {
    return a.node != b.node ? a.node < b.node : a.offset < b.offset;
  });
  for (size_t i = 1; i < uses.size(); ++i)
    if (uses[i].node == uses[i - 1].node && uses[i].offset < uses[i - 1].end)
      return Error(ErrorCode::kNotSupported,
                   "two parts of the device lie on the same "
                   "blocks below");
  return OkStatus();
}

const StackMap::Segment& StackMap::SegmentAt(const Node& node, uint64_t offset) const {
  const auto after = std::upper_bound(
      node.segments.begin(), node.segments.end(), offset,
      [](uint64_t value, const Segment& segment) { return value < segment.offset; });
  return *(after - 1);
}

StackRun StackMap::RunAt(uint64_t offset) const {
  CHECK(offset < size_bytes(), "offset ", offset, " of ", size_bytes());
  const Node* node = &nodes_.back();
  uint64_t length_bytes = node->size_bytes - offset;
  while (!node->is_leaf) {
    const Segment& segment = SegmentAt(*node, offset);
    const uint64_t inside = offset - segment.offset;
    length_bytes = std::min(length_bytes, segment.length_bytes - inside);
    const size_t count = segment.children.size();
    if (count == 1) {
      offset = segment.children[0].offset + inside;
      node = &nodes_[segment.children[0].node];
      continue;
    }
    const uint64_t chunk = inside / segment.chunk_bytes;
    const uint64_t inside_chunk = inside % segment.chunk_bytes;
    const Child& child = segment.children[chunk % count];
    length_bytes = std::min(length_bytes, segment.chunk_bytes - inside_chunk);
    offset = child.offset + chunk / count * segment.chunk_bytes + inside_chunk;
    node = &nodes_[child.node];
  }
  return {.leaf = node->leaf, .offset = offset, .length_bytes = length_bytes};
}

}  // namespace cofs
