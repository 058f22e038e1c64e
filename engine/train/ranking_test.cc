#include "train/ranking.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace stoker::train {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

Ranking rank_of(const std::vector<Scored>& rows) {
  const auto run = sorted_runs(rows, 1);
  return rank({run});
}

/// With many ties and weights whose sum depends on the order.
std::vector<Scored> drawn(int rows) {
  std::mt19937 random(3);
  std::vector<Scored> out;
  for (int i = 0; i < rows; ++i)
    out.push_back({static_cast<double>(random() % 7), std::ldexp(random() % 100 + 1.0, random() % 40 - 20),
                   static_cast<int64_t>(random() % 2)});
  return out;
}

/// The share of pairs that are in order, ties counting half.
double of_pairs(const std::vector<Scored>& rows) {
  double right = 0, all = 0;
  for (const auto& p : rows)
    for (const auto& n : rows) {
      if (!p.positive || n.positive) continue;
      all += p.weight * n.weight;
      right += p.weight * n.weight * (p.score > n.score ? 1 : p.score == n.score ? 0.5 : 0);
    }
  return right / all;
}

}  // namespace

TEST(Ranking, TheAreaIsTheShareOfPairsInOrder) {
  const auto rows = drawn(200);
  EXPECT_NEAR(rank_of(rows).roc_auc, of_pairs(rows), 1e-12);
}

TEST(Ranking, CutsBetweenRowsDoNotChangeTheBits) {
  const auto rows = drawn(500);
  const Ranking whole = rank_of(rows);
  const std::span all(rows);
  for (const size_t cut : {0, 1, 250, 499, 500}) {
    const auto a = sorted_runs(all.first(cut), 1), b = sorted_runs(all.subspan(cut), 1);
    const Ranking parts = rank({a, b});
    EXPECT_EQ(parts.roc_auc, whole.roc_auc) << cut;
    EXPECT_EQ(parts.average_precision, whole.average_precision) << cut;
  }
}

TEST(Ranking, WithoutBothKindsThereIsNoArea) {
  EXPECT_TRUE(std::isnan(rank({}).roc_auc));
  EXPECT_TRUE(std::isnan(rank_of({{1, 1, 1}, {2, 1, 1}}).roc_auc));
  EXPECT_EQ(rank_of({{1, 1, 1}, {2, 1, 1}}).average_precision, 1);
  EXPECT_EQ(rank_of({{1, 1, 0}}).average_precision, 0);
}

TEST(Ranking, AScoreThatIsNoNumberGivesNone) {
  for (const auto& rows : {std::vector<Scored>{{kNaN, 1, 1}, {1, 1, 0}}, {{1, 1, 0}, {kNaN, 1, 1}, {3, 1, 1}}}) {
    EXPECT_TRUE(std::isnan(rank_of(rows).roc_auc));
    EXPECT_TRUE(std::isnan(rank_of(rows).average_precision));
  }
}

TEST(Ranking, RowsAreSplitByClass) {
  const std::vector<Scored> rows{{0.1, 1, 0}, {0.9, 1, 1}, {0.7, 1, 1}, {0.3, 1, 0}};
  const auto sorted = sorted_runs(rows, 2);
  const auto runs = runs_of({std::as_bytes(std::span(sorted)), {}}, 2);
  ASSERT_EQ(runs.size(), 2u);
  ASSERT_EQ(runs[1].size(), 2u);
  EXPECT_EQ(runs[0][0][0].score, 0.7);
  EXPECT_EQ(runs[1][0][0].score, 0.9);
  EXPECT_TRUE(runs[1][1].empty());
}

}  // namespace stoker::train
