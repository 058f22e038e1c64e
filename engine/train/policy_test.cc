#include "train/policy.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace stoker::train {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

Verdict after(std::vector<double> scores, StopRules rules) { return judge(scores, rules); }

TEST(Policy, goes_on_while_scores_get_better) {
  const auto verdict = after({3, 2, 1}, {.patience = 1});
  EXPECT_EQ(verdict.best, 2);
  EXPECT_FALSE(verdict.stop);
}

TEST(Policy, stops_after_so_many_scores_that_are_not_better) {
  EXPECT_FALSE(after({3, 1, 2}, {.patience = 2}).stop);
  EXPECT_TRUE(after({3, 1, 2}, {.patience = 2}).close);
  const auto verdict = after({3, 1, 2, 1}, {.patience = 2});
  EXPECT_TRUE(verdict.stop);
  EXPECT_EQ(verdict.best, 1);
  EXPECT_EQ(verdict.reason, "val_loss was not better than the 1 of epoch 2 for 2 epochs");
}

TEST(Policy, takes_larger_scores_for_better_where_told) {
  EXPECT_EQ(after({1, 3, 2}, {.larger_is_better = true}).best, 1);
}

TEST(Policy, does_not_count_what_is_better_by_too_little) {
  EXPECT_EQ(after({3, 2.75, 2.25}, {.min_delta = 0.5}).best, 2);
  EXPECT_TRUE(after({3, 2.75}, {.min_delta = 0.5, .patience = 0}).stop);
}

TEST(Policy, never_takes_what_is_no_number) {
  EXPECT_EQ(after({kNaN, 2, kNaN}, {}).best, 1);
  const auto verdict = after({kNaN, kNaN}, {.patience = 2});
  EXPECT_EQ(verdict.best, -1);
  EXPECT_EQ(verdict.reason, "val_loss was no number in 2 epochs");
}

TEST(Policy, stops_at_its_goal) {
  EXPECT_FALSE(after({3, 2}, {.goal = 1.5}).stop);
  EXPECT_TRUE(after({3}, {.goal = 1.5}).close);
  EXPECT_EQ(after({3, 1.5}, {.goal = 1.5}).reason, "val_loss has reached 1.5: it is 1.5");
  EXPECT_TRUE(after({0.5, 0.9}, {.larger_is_better = true, .goal = 0.75}).stop);
  EXPECT_FALSE(after({kNaN}, {.goal = 0.75}).stop);
}

TEST(Policy, has_a_goal_and_patience_and_ends_with_the_first_of_them) {
  EXPECT_TRUE(after({3, 4, 5}, {.goal = 1, .patience = 2}).stop);
  EXPECT_TRUE(after({3, 0.5}, {.goal = 1, .patience = 2}).stop);
  EXPECT_FALSE(after({3, 4}, {.goal = 1, .patience = 2}).stop);
}

TEST(Policy, has_no_word_before_the_first_evaluation) {
  EXPECT_FALSE(after({}, {.patience = 1}).stop);
  EXPECT_EQ(after({}, {}).best, -1);
}

}  // namespace
}  // namespace stoker::train
