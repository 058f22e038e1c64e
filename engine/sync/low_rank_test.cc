#include "sync/low_rank.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace stoker::sync {
namespace {

using Floats = std::vector<float>;

Matrix matrix(int64_t rows, int64_t columns, int64_t rank) {
  return low_rank(optim::Arena({{"m", {rows, columns}}}), rank).matrices.at(0);
}

Floats random_floats(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats floats(count);
  for (float& x : floats) x = normal(random);
  return floats;
}

/// Of so many outer products.
Floats of_rank(const Matrix& m, int64_t rank) {
  Matrix wide = m;
  wide.rank = rank;
  const auto left = random_floats(rank * m.rows, 1), right = random_floats(rank * m.columns, 2);
  Floats out(m.extent.size());
  write_product(wide, left.data(), right.data(), {0, m.extent.size()}, out.data());
  return out;
}

double norm(const Floats& floats) {
  double sum = 0;
  for (const float x : floats) sum += static_cast<double>(x) * x;
  return std::sqrt(sum);
}

/// One turn of the power iteration, from the factors that a fit begins with; gives what it does not catch.
Floats rest_after(const Matrix& m, Floats values, int turns = 1) {
  Floats left(m.rank * m.rows), right(m.rank * m.columns);
  begin_factors(right.data(), static_cast<int64_t>(right.size()));
  for (int turn = 0; turn < turns; ++turn) {
    left_of(m, values.data(), right.data(), left.data());
    orthonormalise(m, left.data(), 5);
    right_of(m, values.data(), left.data(), right.data());
  }
  subtract_product(m, left.data(), right.data(), values.data());
  return values;
}

double worst_angle(const Matrix& m, const Floats& left) {
  double worst = 0;
  for (int64_t a = 0; a < m.rank; ++a)
    for (int64_t b = 0; b <= a; ++b) {
      double dot = 0;
      for (int64_t i = 0; i < m.rows; ++i) dot += static_cast<double>(left[a * m.rows + i]) * left[b * m.rows + i];
      worst = std::max(worst, std::abs(dot - (a == b)));
    }
  return worst;
}

}  // namespace

TEST(LowRank, WhatFactorsDoNotMakeSmallerStaysWhole) {
  const optim::Arena arena({{"w", {64, 196}}, {"b", {64}}, {"conv", {8, 3, 5, 5}}, {"thin", {2, 900}}, {"one", {}}});
  const auto all = low_rank(arena, 2);
  ASSERT_EQ(all.matrices.size(), 2u);
  EXPECT_EQ(std::tuple(all.matrices[0].rows, all.matrices[0].columns), std::tuple(64, 196));
  EXPECT_EQ(std::tuple(all.matrices[1].rows, all.matrices[1].columns), std::tuple(8, 75));
  EXPECT_EQ(all.whole.size(), 3u);
  EXPECT_EQ(all.lefts, 2 * 64 + 2 * 8);
  EXPECT_EQ(all.rights, 400 + 160) << "392 and 150, on whole lines";
  EXPECT_TRUE(low_rank(arena, 1000).matrices.empty());
}

TEST(LowRank, AMatrixOfThatRankIsCaughtWholeInOneTurn) {
  for (const auto& [rows, columns] : {std::pair(3, 50), std::pair(40, 33), std::pair(64, 196)})
    for (const int64_t rank : {1, 2}) {
      const auto m = matrix(rows, columns, rank);
      const auto values = of_rank(m, rank);
      EXPECT_LT(norm(rest_after(m, values)), 2e-6 * norm(values)) << rows << " x " << columns << ", rank " << rank;
    }
}

TEST(LowRank, TurnsComeToTheLargestDirections) {
  const auto m = matrix(60, 80, 2);
  auto values = of_rank(m, 2);
  const auto noise = random_floats(m.extent.size(), 3);
  for (size_t i = 0; i < values.size(); ++i) values[i] += 0.1F * noise[i];
  const double once = norm(rest_after(m, values)), often = norm(rest_after(m, values, 10));
  EXPECT_LT(often, once);
  EXPECT_LT(often, 0.1 * norm(noise));
}

TEST(LowRank, RowsThatAreNoDirectionsOfTheirOwnAreDrawnAnew) {
  const auto m = matrix(30, 40, 4);
  auto left = random_floats(m.rank * m.rows, 7);
  std::fill_n(left.begin() + m.rows, m.rows, 0.0F);                              // nothing
  for (int64_t i = 0; i < m.rows; ++i) left[2 * m.rows + i] = 1e-30F * left[i];  // the first again
  for (int64_t i = 0; i < m.rows; ++i) left[3 * m.rows + i] = left[i] + 1e-3F * left[3 * m.rows + i];  // nearly
  orthonormalise(m, left.data(), 11);
  EXPECT_LT(worst_angle(m, left), 1e-6);
}

TEST(LowRank, AsManyRowsAsDimensionsAreOrthonormalToo) {
  const auto m = matrix(3, 50, 2);
  Matrix full = m;
  full.rank = 3;
  Floats left(9);
  orthonormalise(full, left.data(), 1);
  EXPECT_LT(worst_angle(full, left), 1e-6);
}

TEST(LowRank, WhatIsNotFiniteIsNotHidden) {
  const auto m = matrix(30, 40, 2);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto values = random_floats(m.extent.size(), 1);
    values[77] = bad;
    const auto rest = rest_after(m, values);
    EXPECT_FALSE(std::isfinite(norm(rest)));
  }
}

TEST(LowRank, PartsOfTheProductAreThoseOfTheWhole) {
  const auto m = matrix(20, 33, 2);
  const auto left = random_floats(2 * 20, 1), right = random_floats(2 * 33, 2);
  Floats whole(660), part(100);
  write_product(m, left.data(), right.data(), {0, 660}, whole.data());
  for (const int64_t begin : {0, 1, 33, 50, 560}) {
    write_product(m, left.data(), right.data(), {begin, begin + 100}, part.data());
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + begin)) << begin;
  }
  write_product(m, left.data(), right.data(), {5, 5}, part.data());
}

}  // namespace stoker::sync
