#include "optim/arena.h"

#include <gtest/gtest.h>

namespace stoker::optim {
namespace {

TEST(Arena, ParametersLieByGroupAndAligned) {
  const Arena arena({{"a", {3, 5}, 1}, {"b", {17}, 0}, {"c", {}, 1}, {"d", {0, 4}, 0}});
  EXPECT_EQ(arena.extent(1).begin, 0);
  EXPECT_EQ(arena.extent(1).end, 17);
  EXPECT_EQ(arena.extent(3).size(), 0);
  EXPECT_EQ(arena.extent(0).begin, 32);
  EXPECT_EQ(arena.extent(0).end, 47);
  EXPECT_EQ(arena.extent(2).begin, 48);
  EXPECT_EQ(arena.extent(2).size(), 1);
  EXPECT_EQ(arena.floats(), kBlock);
}

TEST(Arena, GroupsCoverItWithoutGaps) {
  const Arena arena({{"a", {1000}, 0}, {"b", {30}, 2}, {"c", {1}, 2}});
  ASSERT_EQ(arena.groups(), 3);
  EXPECT_EQ(arena.group(0).begin, 0);
  EXPECT_EQ(arena.group(1).size(), 0);  // nobody's
  for (int g = 0; g + 1 < arena.groups(); ++g) EXPECT_EQ(arena.group(g).end, arena.group(g + 1).begin);
  EXPECT_EQ(arena.group(2).end, arena.floats());
  EXPECT_EQ(arena.blocks(), 2);
}

TEST(Arena, NoParametersNoFloats) {
  const Arena arena({});
  EXPECT_EQ(arena.floats(), 0);
  EXPECT_EQ(arena.groups(), 0);
}

TEST(Arena, PaddingIsAllThatNoParameterHolds) {
  const Arena arena({{"a", {3, 5}, 1}, {"b", {16}, 0}, {"c", {}, 1}, {"d", {0, 4}, 0}});
  std::vector<int> holders(arena.floats(), 0);
  const auto count = [&](Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) ++holders[i];
  };
  for (int i = 0; i < 4; ++i) count(arena.extent(i));
  for (const Extent gap : arena.padding()) count(gap);
  EXPECT_EQ(holders, std::vector<int>(arena.floats(), 1));
}

}  // namespace
}  // namespace stoker::optim
