#pragma once
// Who owns which shard in a generation. Pure.
#include <vector>

#include "gang/membership.h"

namespace stoker::gang {

struct Deal {
  std::vector<ShardCount> shards;  // ascending, as their owners told of them
  std::vector<int> owners;         // by shard: an index of the members; -1: its rows were given up
};

/// Each of the shards goes to the member that holds its rows; of several, to the one with the fewest shards: late
/// members hold few, and only what others hold too. Where no member holds them, they go to one that has borrowed them.
/// REQUIRES: all members have told of their shards. Throws Error(bug) when a shard was told of by none though no place
/// was given up, by two that did not join late, or is none of the fit's.
Deal deal(const std::vector<const Member*>& members, const Gang& gang, const CoordinatorOptions& options);

}  // namespace stoker::gang
