#include "collective/tree.h"

#include <gtest/gtest.h>

#include "collective/partials.h"

namespace stoker::collective {
namespace {

TEST(Tree, LeftChildIsTheLargestSmallerPowerOfTwo) {
  EXPECT_EQ(split({0, 2}), 1);
  EXPECT_EQ(split({0, 3}), 2);
  EXPECT_EQ(split({0, 4}), 2);
  EXPECT_EQ(split({0, 5}), 4);
  EXPECT_EQ(split({0, 12}), 8);
  EXPECT_EQ(split({8, 12}), 10);
}

TEST(Tree, EveryShardHasTheOwnerWhoseRangeHoldsIt) {
  for (int shards = 1; shards <= 40; ++shards)
    for (int size = 1; size <= 40; ++size) {
      int next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Node owned = owned_shards(rank, size, shards);
        ASSERT_EQ(owned.lo, next);
        for (; next < owned.hi; ++next) ASSERT_EQ(owner_of(next, size, shards), rank) << size << " " << shards;
      }
      ASSERT_EQ(next, shards);
    }
}

TEST(Tree, MaximalNodesCoverTheRangeOnce) {
  using Nodes = std::vector<Node>;
  EXPECT_EQ(maximal_nodes({0, 12}, 12), (Nodes{{0, 12}}));
  EXPECT_EQ(maximal_nodes({3, 6}, 12), (Nodes{{3, 4}, {4, 6}}));
  EXPECT_EQ(maximal_nodes({6, 12}, 12), (Nodes{{6, 8}, {8, 12}}));
  EXPECT_EQ(maximal_nodes({4, 4}, 12), Nodes{});
}

/// Plays a rank's stack and returns its greatest height.
int play(const std::vector<FoldStep>& steps, size_t left) {
  int height = 0, most = 0;
  for (const FoldStep& step : steps) {
    most = std::max(most, ++height);
    height -= step.merges;
  }
  EXPECT_EQ(height, static_cast<int>(left));
  return most;
}

ShardSet set_of(unsigned mask, int shards) {
  ShardSet set(shards);
  for (int s = 0; s < shards; ++s) set[s] = mask >> s & 1;
  return set;
}

ShardSet set_of(Node range, int shards) {
  ShardSet set(shards);
  std::fill(set.begin() + range.lo, set.begin() + range.hi, true);
  return set;
}

TEST(Partials, WithEveryShardPresentTheyAreTheMaximalNodesAndNeedTheSlotsThatAreCounted) {
  for (int shards = 1; shards <= 13; ++shards)
    for (int lo = 0; lo < shards; ++lo)
      for (int hi = lo; hi <= shards; ++hi) {
        const ShardSet owned = set_of({lo, hi}, shards), all(shards, true);
        EXPECT_EQ(partial_nodes(owned, all), maximal_nodes({lo, hi}, shards));
        const int most = play(fold_steps(owned, all), maximal_nodes({lo, hi}, shards).size());
        EXPECT_EQ(most, slots_needed(owned));
      }
}

TEST(Partials, AbsentShardsNeverNeedMoreSlotsWhicheverShardsAreOwned) {
  const int shards = 7;
  for (unsigned own = 0; own < 1u << shards; ++own)
    for (unsigned mask = 0; mask < 1u << shards; ++mask) {
      const ShardSet owned = set_of(own, shards), present = set_of(mask, shards);
      const auto nodes = partial_nodes(owned, present);
      ASSERT_LE(nodes.size(), partial_nodes(owned, ShardSet(shards, true)).size());
      ASSERT_LE(play(fold_steps(owned, present), nodes.size()), slots_needed(owned));
    }
}

TEST(Partials, AnAbsentShardOfAnotherRankDoesNotStopTheFold) {
  const ShardSet owned = {true, true, true, false}, present = {true, true, true, false};
  EXPECT_EQ(partial_nodes(owned, present), (std::vector<Node>{{0, 4}}));
}

}  // namespace
}  // namespace stoker::collective
