#pragma once
// The canonical summation tree over the logical shards, and who owns which shard. Pure functions.
//
// The tree over shards [lo, hi): one shard is a leaf; else the left subtree takes the largest power of two smaller than
// hi - lo, the right one the rest. The sum of a node is left + right; a shard without rows in this step is absent, and
// a node with one absent child is its other child. So a result depends on S and on which shards are present only,
// never on the number of ranks.
#include <cstdint>
#include <vector>

namespace stoker::collective {

struct Node {
  int lo = 0;
  int hi = 0;
  friend bool operator==(const Node&, const Node&) = default;
};

/// Shards [lo, hi) of rank `rank`: rank * S / size to (rank + 1) * S / size. Empty where S < size.
Node owned_shards(int rank, int size, int shards);
int owner_of(int shard, int size, int shards);
/// The same for all shards: by shard, the rank that owns it.
std::vector<int> even_owners(int size, int shards);
/// The shards of one rank, ascending.
std::vector<int> shards_of(const std::vector<int>& owners, int rank);
/// Where node [lo, hi) is cut: the first shard of its right child. REQUIRES: hi - lo >= 2.
int split(Node node);
/// The largest nodes of the tree over `shards` shards that lie wholly in `range`, left to right.
std::vector<Node> maximal_nodes(Node range, int shards);

}  // namespace stoker::collective
