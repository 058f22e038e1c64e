#include "collective/all_reduce.h"

#include <gtest/gtest.h>

#include <cmath>

#include "collective/testing.h"
#include "collective/tree.h"

namespace stoker::collective {
namespace {

using testing::World;

float value(int rank, int run, int64_t i) { return std::ldexp(1.0f + rank * 0.37f, (rank * 31 + run + i) % 47 - 23); }

float reference(Node ranks, int run, int64_t i) {
  if (ranks.hi - ranks.lo == 1) return value(ranks.lo, run, i);
  return reference({ranks.lo, split(ranks)}, run, i) + reference({split(ranks), ranks.hi}, run, i);
}

void reduce(const World& world, int64_t floats) {
  SCOPED_TRACE(cat(world.size, " ranks, ", floats, " floats, tcp ", world.force_tcp));
  testing::run_groups(world, [&](Group& group) {
    AllReduce all_reduce(group, floats);
    ASSERT_EQ(static_cast<int64_t>(all_reduce.buffer().size()), floats);
    for (int run = 0; run < 5; ++run) {
      const auto buffer = all_reduce.buffer();
      for (int64_t i = 0; i < floats; ++i) buffer[i] = value(group.rank(), run, i);
      all_reduce.run();
      for (int64_t i = 0; i < floats; ++i) ASSERT_EQ(buffer[i], reference({0, group.size()}, run, i)) << i;
    }
  });
}

TEST(AllReduce, LeavesTheSumInEveryBuffer) {
  for (const int64_t floats : {0, 1, 15, 16, 17, 1024, 5000})
    for (int size = 1; size <= 5; ++size) {
      reduce({.size = size}, floats);
      if (size > 1) reduce({.size = size, .force_tcp = true}, floats);
    }
  reduce({.size = 4, .host_groups = {0, 1, 0, 1}}, 5000);
}

}  // namespace
}  // namespace stoker::collective
