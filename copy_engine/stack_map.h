// StackMap: where each byte of a block device lies on the drives below it.
//
// A tree of tables, each with linear and striped segments, over leaves: the drives.
// A table is described by formula and not by extents, so that a stripe of many
// terabytes costs no more than a small one.
//
// Immutable once built; all reading functions may be called from any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace cofs {

// A run of bytes that lie next to each other on one leaf.
struct StackRun {
  uint32_t leaf = 0;
  uint64_t offset = 0;        // on the leaf
  uint64_t length_bytes = 0;  // never 0
};

class StackMap {
 public:
  using NodeId = uint32_t;

  // A place on a node below.
  struct Child {
    NodeId node = 0;
    uint64_t offset = 0;
  };
  // `chunk_bytes` bytes of each child in turn; with one child it is linear and
  // `chunk_bytes` has no meaning.
  struct Segment {
    uint64_t offset = 0;
    uint64_t length_bytes = 0;
    uint64_t chunk_bytes = 0;
    std::vector<Child> children;
  };

  // One leaf, nothing in between.
  static StackMap Identity(uint64_t size_bytes);

  StackMap() = default;
  // Building, from the bottom up. The node added last is the device itself.
  NodeId AddLeaf(uint64_t size_bytes);
  // `segments` in order, without gaps, from 0; each inside its children.
  Result<NodeId> AddTable(std::vector<Segment> segments);
  // kNotSupported if two bytes of the device lie on the same byte of a leaf.
  Status CheckNoAliases() const;

  uint64_t size_bytes() const { return nodes_.empty() ? 0 : nodes_.back().size_bytes; }
  uint64_t size_bytes(NodeId node) const { return nodes_[node].size_bytes; }
  uint32_t leaf_count() const { return leaf_count_; }
  // The run from `offset`, which is below size_bytes(), to the next border.
  StackRun RunAt(uint64_t offset) const;

 private:
  struct Node {
    uint64_t size_bytes = 0;
    bool is_leaf = false;
    uint32_t leaf = 0;
    std::vector<Segment> segments;
  };
  Status CheckSegment(const Segment& segment) const;
  const Segment& SegmentAt(const Node& node, uint64_t offset) const;

  std::vector<Node> nodes_;
  uint32_t leaf_count_ = 0;
};

}  // namespace cofs
