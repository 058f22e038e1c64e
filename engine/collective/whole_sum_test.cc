#include "collective/whole_sum.h"

#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "collective/testing.h"

namespace stoker::collective {
namespace {

constexpr int kShards = 5, kTurns = 30;

/// Of which the order of additions changes the sum.
float number(int shard, uint64_t turn, int64_t i) {
  return std::ldexp(1.0F + static_cast<float>((shard * 7 + i) % 11),
                    static_cast<int>((shard * 13 + turn * 5 + i) % 24));
}

ShardSet present_in(uint64_t turn) {
  ShardSet present(kShards);
  for (int s = 0; s < kShards; ++s) present[s] = (turn + s) % 4 != 0;
  return present;
}

using Found = std::vector<std::vector<float>>;

/// Two of them, of other lengths, in turn, beside the sum of a step around them.
Found run_turns(Group& group, const std::vector<int>& owners, const std::vector<int64_t>& lengths) {
  std::vector<std::unique_ptr<WholeSum>> sums;
  for (const int64_t floats : lengths) sums.push_back(std::make_unique<WholeSum>(group, floats, 1, owners));
  const auto around = make_shard_sum(group, {kShards, 1024, 1024, 1, owners});
  Found found;
  around->begin(1, ShardSet(kShards, true));
  for (uint64_t turn = 1; turn <= kTurns; ++turn) {
    const size_t which = turn % sums.size();
    WholeSum& sum = *sums[which];
    const ShardSet present = present_in(turn);
    sum.begin(turn, present);
    for (int s = 0; s < kShards; ++s) {
      if (owners[s] != group.rank() || !present[s]) continue;
      float* mine = sum.next();
      for (int64_t i = 0; i < lengths[which]; ++i) mine[i] = number(s, turn, i);
      sum.scalars(s)[0] = s + static_cast<double>(turn) / 10;
      sum.put(s);
    }
    const float* whole = sum.exchange();
    found.emplace_back(whole, whole + lengths[which]).push_back(static_cast<float>(sum.totals()[0]));
  }
  for (int s = 0; s < kShards; ++s)
    if (owners[s] == group.rank()) std::fill_n(around->next(), 1024, 1.0F), around->put(s);
  around->exchange();
  const auto mine = around->slice();
  for (int64_t i = mine.begin; i < mine.end; ++i) EXPECT_EQ(around->sum(mine)[i], kShards);
  return found;
}

Found of_world(const testing::World& world, const std::vector<int>& owners, const std::vector<int64_t>& lengths) {
  Found first;
  std::mutex mutex;
  testing::run_groups(world, [&](Group& group) {
    const Found found = run_turns(group, owners, lengths);
    const std::lock_guard lock(mutex);
    if (first.empty()) first = found;
    EXPECT_EQ(found, first) << group.rank();
  });
  return first;
}

}  // namespace

TEST(WholeSum, AnyRanksGetAllOfItAndTheBitsOfOne) {
  for (const auto& lengths : std::vector<std::vector<int64_t>>{{100, 37}, {1}, {0, 5}, {3000, 16}}) {
    const Found alone = of_world({.size = 1}, std::vector<int>(kShards, 0), lengths);
    EXPECT_EQ(of_world({.size = 2}, {0, 0, 0, 1, 1}, lengths), alone);
    EXPECT_EQ(of_world({.size = 4}, {3, 0, 1, 0, 2}, lengths), alone);
    EXPECT_EQ(of_world({.size = 3, .force_tcp = true}, {0, 1, 2, 0, 1}, lengths), alone);
    EXPECT_EQ(of_world({.size = 4, .host_groups = {0, 0, 1, 1}}, {0, 1, 2, 3, 3}, lengths), alone);
  }
}

TEST(WholeSum, ARankWithoutShardsGetsItToo) {
  const std::vector<int64_t> lengths = {200, 20};
  const Found alone = of_world({.size = 1}, std::vector<int>(kShards, 0), lengths);
  EXPECT_EQ(of_world({.size = 3}, {0, 0, 2, 2, 2}, lengths), alone);
}

}  // namespace stoker::collective
