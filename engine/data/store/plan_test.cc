#include "data/store/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "base/pieces.h"
#include "base/test_beats.h"

namespace stoker::data {
namespace {

/// What must hold of every plan, whatever the counts.
void check(const std::vector<int64_t>& counts, int64_t batch) {
  const Plan plan(counts, batch);
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  ASSERT_LE(plan.steps(), (total + batch - 1) / batch);
  std::vector<int64_t> next(counts.size(), 0);
  for (int64_t t = 0; t < plan.steps(); ++t) {
    int64_t rows = 0;
    for (size_t s = 0; s < counts.size(); ++s) {
      const Rows mine = plan.rows(t, static_cast<int>(s));
      ASSERT_EQ(mine.begin, next[s]) << "step " << t << " shard " << s;
      ASSERT_GE(mine.size(), 0);
      ASSERT_TRUE(mine.size() != 1 || counts[s] == 1) << "step " << t << " shard " << s;
      ASSERT_LE(mine.size(), std::max<int64_t>(3, counts[s] * batch / total + 1));
      next[s] = mine.end;
      rows += mine.size();
    }
    ASSERT_EQ(plan.rows(t), rows);
    ASSERT_GT(rows, 0);
  }
  ASSERT_EQ(next, counts);
}

TEST(Plan, EveryRowOnceAndNoneAlone) {
  for (int64_t a = 0; a < 14; ++a) {
    for (int64_t b = 0; b < 14; ++b) {
      for (const int64_t c : {0, 1, 2, 3, 40}) {
        for (const int64_t batch : {1, 2, 3, 4, 5, 8, 16, 100}) {
          SCOPED_TRACE(::testing::Message() << a << " " << b << " " << c << " batch " << batch);
          check({a, b, c}, batch);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(Plan, PartsOfAStepAreEvenAndNoneHasOneRow) {
  for (int64_t rows = 1; rows < 60; ++rows) {
    for (int64_t most = 1; most < 20; ++most) {
      const int64_t parts = parts_of(rows, most);
      ASSERT_LE(parts, most);
      int64_t next = 7;
      for (int64_t i = 0; i < parts; ++i) {
        const Rows mine = part_of({7, 7 + rows}, parts, i);
        ASSERT_EQ(mine.begin, next);
        ASSERT_GE(mine.size(), std::min<int64_t>(rows, 2));
        ASSERT_LE(mine.size() - rows / parts, 1);
        next = mine.end;
      }
      ASSERT_EQ(next, 7 + rows);
      ASSERT_TRUE(parts == most || rows < 2 * (parts + 1));
    }
  }
  EXPECT_EQ(parts_of(0, 4), 1);
}

TEST(Plan, NoRowsNoSteps) {
  EXPECT_EQ(Plan({}, 8).steps(), 0);
  EXPECT_EQ(Plan({0, 0}, 8).steps(), 0);
}

TEST(Plan, ManyRowsFollowTheFormula) {
  const Plan plan({60001, 59999}, 256);
  EXPECT_EQ(plan.steps(), 469);
  for (const int64_t t : {0, 1, 234, 468}) {
    EXPECT_EQ(plan.rows(t, 0).begin, t * 60001 / 469);
    EXPECT_EQ(plan.rows(t, 1).end, (t + 1) * 59999 / 469);
  }
}

TEST(Plan, SmallShardsShareTheSteps) {
  const Plan plan(std::vector<int64_t>(12, 100), 16);  // 1.33 rows of each shard a step
  EXPECT_EQ(plan.steps(), 75);
  for (int64_t t = 0; t < plan.steps(); ++t) {
    EXPECT_GE(plan.rows(t), 12) << t;
    EXPECT_LE(plan.rows(t), 20) << t;
  }
}

TEST(Plan, HugeCountsDoNotOverflow) {
  const int64_t n = int64_t{1} << 40;
  const Plan plan({n, n}, 1 << 10);
  EXPECT_EQ(plan.rows(plan.steps() - 1, 1).end, n);
}

TEST(EpochOrder, IsAPermutation) {
  for (const int64_t n : {0, 1, 2, 3, 1000}) {
    auto order = epoch_order(n, 1, 2, 3, true);
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, epoch_order(n, 1, 2, 3, false));
    for (int64_t i = 0; i < n; ++i) EXPECT_EQ(order[i], i);
  }
}

TEST(EpochOrder, DependsOnSeedEpochAndShard) {
  std::set<std::vector<uint32_t>> orders;
  for (const uint64_t seed : {0, 1}) {
    for (const uint64_t epoch : {0, 1}) {
      for (const int shard : {0, 1}) orders.insert(epoch_order(100, seed, epoch, shard, true));
    }
  }
  EXPECT_EQ(orders.size(), 8u);
}

TEST(EpochOrder, NeverChanges) {
  EXPECT_EQ(epoch_order(8, 42, 1, 0, true), (std::vector<uint32_t>{3, 6, 0, 5, 7, 2, 1, 4}));
}

TEST(EpochOrder, EveryPlaceIsEquallyLikely) {
  constexpr int kTrials = 12000;
  int counts[4][4] = {};
  for (int epoch = 0; epoch < kTrials; ++epoch) {
    const auto order = epoch_order(4, 7, epoch, 0, true);
    for (int i = 0; i < 4; ++i) ++counts[i][order[i]];
  }
  for (const auto& row : counts) {
    for (const int n : row) EXPECT_NEAR(n, kTrials / 4, 250);  // five standard deviations
  }
}

TEST(EpochOrder, BeatsWhileItIsMade) {
  const int64_t rows = 4 * kPieceRows;
  EXPECT_GE(beats_of([&] { epoch_order(rows, 1, 0, 0, true); }), 8u);
}

}  // namespace
}  // namespace stoker::data
