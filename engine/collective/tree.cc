#include "collective/tree.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace stoker::collective {
namespace {

void visit(Node node, Node range, std::vector<Node>& found) {
  if (node.hi <= range.lo || range.hi <= node.lo) return;
  if (range.lo <= node.lo && node.hi <= range.hi) {
    found.push_back(node);
    return;
  }
  visit({node.lo, split(node)}, range, found);
  visit({split(node), node.hi}, range, found);
}

}  // namespace

Node owned_shards(int rank, int size, int shards) {
  return {static_cast<int>(int64_t{rank} * shards / size), static_cast<int>(int64_t{rank + 1} * shards / size)};
}

int owner_of(int shard, int size, int shards) {
  // The last rank whose first shard is not after `shard`.
  return static_cast<int>(((int64_t{shard} + 1) * size - 1) / shards);
}

int split(Node node) {
  STOKER_CHECK(node.hi - node.lo >= 2);
  return node.lo + static_cast<int>(std::bit_floor(static_cast<unsigned>(node.hi - node.lo - 1)));
}

std::vector<Node> maximal_nodes(Node range, int shards) {
  std::vector<Node> found;
  if (range.lo < range.hi) visit({0, shards}, range, found);
  return found;
}

int slots_needed(Node owned, int shards) {
  size_t most = 0;
  for (int shard = owned.lo; shard < owned.hi; ++shard)
    most = std::max(most, maximal_nodes({owned.lo, shard}, shards).size() + 1);
  return static_cast<int>(most);
}

}  // namespace stoker::collective
