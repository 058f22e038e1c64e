#include "data/spec/exact_moments.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace stoker::data {
namespace {

ExactMoments::OfColumn moments(std::vector<double> values) {
  ExactMoments all(1);
  all.add(values);
  return all.totals()[0];
}

/// In units of the smallest number, as far as a long double holds it.
long double value(const BigSum& sum, int unit) {
  long double total = 0;
  for (size_t i = 0; i < sum.limbs.size(); ++i)
    total += std::ldexp(static_cast<long double>(sum.limbs[i]), static_cast<int>(32 * (sum.first + i)) + unit);
  return total;
}
long double sum(const std::vector<double>& values) { return value(moments(values).sum, -1074); }
long double squares(const std::vector<double>& values) { return value(moments(values).squares, -2148); }

TEST(ExactMoments, NothingIsLostBetweenTheLargestAndTheSmallest) {
  const double huge = std::numeric_limits<double>::max(), tiny = std::numeric_limits<double>::denorm_min();
  EXPECT_EQ(sum({huge, tiny, -huge}), tiny);
  EXPECT_EQ(sum({huge, huge}), 2.0L * huge);
  EXPECT_EQ(squares({huge, huge}), 2.0L * huge * huge);
  EXPECT_EQ(squares({-tiny}), static_cast<long double>(tiny) * tiny);
  EXPECT_EQ(sum({1e16, 1, -1e16}), 1);
}

TEST(ExactMoments, NothingAddsUpToNothing) {
  EXPECT_EQ(moments({}).count, 0);
  EXPECT_TRUE(moments({0.0, -0.0}).sum.limbs.empty());
  EXPECT_TRUE(moments({1.5, -1.5}).sum.limbs.empty());
  EXPECT_EQ(moments({0.0, -0.0}).count, 2);
}

TEST(ExactMoments, WhatIsNoNumberIsLeftOut) {
  const double nan = std::nan(""), infinite = std::numeric_limits<double>::infinity();
  EXPECT_EQ(moments({nan, 2, infinite, -infinite}).count, 1);
  EXPECT_EQ(sum({nan, 2, infinite, -infinite}), 2);
}

TEST(ExactMoments, RowsAreDealtToTheirColumns) {
  ExactMoments all(2);
  all.add(std::vector<double>{1, -10, 2, -20});
  all.add(std::vector<double>{3, -30});
  EXPECT_EQ(value(all.totals()[0].sum, -1074), 6);
  EXPECT_EQ(value(all.totals()[1].sum, -1074), -60);
  EXPECT_EQ(value(all.totals()[1].squares, -2148), 1400);
}

TEST(ExactMoments, TotalsMayBeAskedForUnderWay) {
  ExactMoments often(1), once(1);
  for (const double number : {0.1, -1e300, 7.0, 1e300, -0.2}) {
    often.add(std::vector<double>{number});
    once.add(std::vector<double>{number});
    often.totals();
  }
  EXPECT_EQ(often.totals()[0].sum.limbs, once.totals()[0].sum.limbs);
  EXPECT_EQ(often.totals()[0].squares.limbs, once.totals()[0].squares.limbs);
}

}  // namespace
}  // namespace stoker::data
