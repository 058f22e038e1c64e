#include "program/scalars.h"

#include <gtest/gtest.h>

#include "program/test_programs.h"

namespace stoker::program {
namespace {

at::Tensor labels(const std::vector<int64_t>& values) { return at::tensor(values); }

const auto kScores = at::tensor(std::vector<float>{1, 3, 3, 2, 0, 1, -5, -6, -7}).view({3, 3});  // argmax 1, 0, 0

TEST(Metric, FirstOfEqualScoresWins) {
  const auto sums = measure(MetricKind::argmax, kScores, labels({1, 0, 2}), nullptr);
  EXPECT_EQ(sums.correct, 2);
  EXPECT_EQ(sums.counted, 3);
}

TEST(Metric, LabelsOutsideTheClassesAreNotCounted) {
  const auto sums = measure(MetricKind::argmax, kScores, labels({1, -100, 3}), nullptr);
  EXPECT_EQ(sums.correct, 1);
  EXPECT_EQ(sums.counted, 1);
}

TEST(Metric, WeightsWeighRows) {
  const auto weight = floats({0.5, 0, 2});
  const auto sums = measure(MetricKind::argmax, kScores, labels({1, 0, 1}), &weight);
  EXPECT_EQ(sums.correct, 0.5);
  EXPECT_EQ(sums.counted, 2.5);
}

TEST(Metric, SignAndHalf) {
  const auto scores = at::tensor(std::vector<float>{0, 0.4, 0.6, -1}).view({4, 1});
  EXPECT_EQ(measure(MetricKind::sign, scores, floats({0, 1, 1, 1}), nullptr).correct, 3);
  EXPECT_EQ(measure(MetricKind::half, scores, labels({0, 1, 1, 0}).view({4, 1}), nullptr).correct, 3);
}

TEST(Metric, WeightOfARowHoldsForAllItsPredictions) {
  const auto weight = floats({1, 3});
  const auto scores = at::tensor(std::vector<float>{1, -1, 1, 1}).view({2, 2});
  const auto sums = measure(MetricKind::sign, scores, at::ones({2, 2}), &weight);
  EXPECT_EQ(sums.correct, 1 + 6);
  EXPECT_EQ(sums.counted, 8);
}

TEST(Metric, NoRows) {
  EXPECT_EQ(measure(MetricKind::argmax, at::empty({0, 3}), at::empty({0}, at::kLong), nullptr).counted, 0);
  EXPECT_EQ(measure(MetricKind::sign, at::empty({0, 1}), at::empty({0, 1}), nullptr).counted, 0);
}

TEST(Metric, LabelsThatDoNotFit) {
  EXPECT_TRUE(has(user_error([] { measure(MetricKind::argmax, kScores, labels({1}), nullptr); }),
                  "3 predictions for 1 labels"));
  const auto weight = at::ones(2);
  EXPECT_TRUE(has(user_error([&] {
                    measure(MetricKind::argmax, kScores, labels({1, 1, 1}), &weight);
                  }),
                  "3 predictions for 2 weights"));
}

}  // namespace
}  // namespace stoker::program
