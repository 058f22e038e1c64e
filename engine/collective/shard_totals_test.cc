#include "collective/shard_totals.h"

#include <gtest/gtest.h>

#include <cmath>
#include <latch>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "collective/testing.h"

namespace stoker::collective {
namespace {

constexpr int kShards = 6, kWidth = 3, kRounds = 40;

/// Of which the order of additions changes the sum.
double number(int shard, int round, int i) { return std::ldexp(1.0 + shard * 7 + i, (shard * 13 + round * 5) % 60); }

ShardSet present_in(int round) {
  ShardSet present(kShards);
  for (int s = 0; s < kShards; ++s) present[s] = (round + s) % 4 != 0;
  return present;
}

using Found = std::vector<std::vector<double>>;

/// A rank that has no present shard asks for one number less.
Found run_rounds(Group& group, const std::vector<int>& owners) {
  ShardTotals totals(group, kWidth, owners);
  Found found;
  for (int round = 0; round < kRounds; ++round) {
    const ShardSet present = present_in(round);
    for (int s = 0; s < kShards; ++s)
      if (owners[s] == group.rank() && present[s])
        for (int i = 0; i < kWidth; ++i) totals.of(s)[i] = number(s, round, i);
    found.push_back(totals.add_up(present, kWidth));
  }
  return found;
}

Found of_world(const testing::World& world, const std::vector<int>& owners) {
  Found first;
  std::mutex mutex;
  testing::run_groups(world, [&](Group& group) {
    const Found found = run_rounds(group, owners);
    const std::lock_guard lock(mutex);
    if (first.empty()) first = found;
    EXPECT_EQ(found, first) << group.rank();
  });
  return first;
}

}  // namespace

TEST(ShardTotals, AnyRanksGetTheBitsOfOne) {
  const Found alone = of_world({.size = 1}, std::vector<int>(kShards, 0));
  EXPECT_EQ(alone[1][0], (number(0, 1, 0) + (number(1, 1, 0) + number(2, 1, 0))) + (number(4, 1, 0) + number(5, 1, 0)));
  EXPECT_EQ(of_world({.size = 2}, {0, 0, 0, 1, 1, 1}), alone);
  EXPECT_EQ(of_world({.size = 4}, {0, 1, 2, 3, 0, 1}), alone);
  EXPECT_EQ(of_world({.size = 3, .force_tcp = true}, {2, 1, 0, 0, 1, 2}), alone);
  EXPECT_EQ(of_world({.size = 4, .host_groups = {0, 1, 0, 1}}, {3, 0, 2, 1, 1, 0}), alone);
}

TEST(ShardTotals, ARankMayAskForLess) {
  testing::run_groups({.size = 2}, [](Group& group) {
    ShardTotals totals(group, 2, {0});
    for (int round = 0; round < 5; ++round) {
      if (group.rank() == 0) totals.of(0)[0] = round, totals.of(0)[1] = 7;
      const auto found = totals.add_up({true}, 2 - group.rank());
      EXPECT_EQ(found.front(), round);
      EXPECT_EQ(found.size(), 2 - group.rank());
    }
  });
}

TEST(ShardTotals, WithoutAPresentShardTheyAreZero) {
  testing::run_groups({.size = 1}, [](Group& group) {
    ShardTotals totals(group, 2, {0, 0});
    EXPECT_EQ(totals.add_up({false, false}, 2), (std::vector<double>{0, 0}));
  });
}

TEST(ShardTotals, ADeathEndsTheWaitOfTheOthers) {
  for (const bool tcp : {false, true}) {
    testing::Rosters rosters({.size = 2, .force_tcp = tcp});
    EXPECT_THROW(testing::run_ranks(2,
                                    [&](int rank) {
                                      const auto group = rosters.form(rank);
                                      ShardTotals totals(*group, 1, {0, 1});
                                      if (rank == 1) throw std::runtime_error("it fails");
                                      totals.of(0)[0] = 1;
                                      totals.add_up({true, true}, 1);
                                    }),
                 Error);
  }
}

TEST(ShardTotals, AnAbortEndsTheWait) {
  testing::Rosters rosters({.size = 2});
  std::latch formed(2);
  EXPECT_THROW(testing::run_ranks(2,
                                  [&](int rank) {
                                    const auto group = rosters.form(rank);
                                    ShardTotals totals(*group, 1, {0, 1});
                                    formed.arrive_and_wait();
                                    if (rank == 1) return;
                                    const std::jthread ends([&] { group->abort("over"); });
                                    totals.add_up({true, true}, 1);
                                  }),
               Error);
}

}  // namespace stoker::collective
