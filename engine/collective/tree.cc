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

std::vector<int> even_owners(int size, int shards) {
  std::vector<int> owners;
  for (int shard = 0; shard < shards; ++shard) owners.push_back(owner_of(shard, size, shards));
  return owners;
}

std::vector<int> shards_of(const std::vector<int>& owners, int rank) {
  std::vector<int> shards;
  for (size_t shard = 0; shard < owners.size(); ++shard)
    if (owners[shard] == rank) shards.push_back(static_cast<int>(shard));
  return shards;
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

}  // namespace stoker::collective
