#pragma once
// How an owner of some shards folds them as far as the canonical tree allows. Pure functions.
//
// A node is *covered* when each of its shards is owned or absent from this step: an absent shard adds nothing, so who
// owns it does not matter. The owner's partials are its largest covered nodes with a present shard.
#include <vector>

#include "collective/tree.h"

namespace stoker::collective {

/// One flag per shard.
using ShardSet = std::vector<bool>;

/// The owner's partials, left to right. Never more of them than when every shard is present.
std::vector<Node> partial_nodes(const ShardSet& owned, const ShardSet& present);

/// After this shard's vector is put on top of the stack, the topmost two vectors are added `merges` times.
struct FoldStep {
  int shard = 0;
  int merges = 0;
  friend bool operator==(const FoldStep&, const FoldStep&) = default;
};

/// For each owned and present shard, ascending. What is left on the stack, bottom up, is partial_nodes().
std::vector<FoldStep> fold_steps(const ShardSet& owned, const ShardSet& present);

/// Vectors that the owner must hold at once to fold its shards one after the other, whichever of all are present.
int slots_needed(const ShardSet& owned);

}  // namespace stoker::collective
