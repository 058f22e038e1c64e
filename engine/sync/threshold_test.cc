#include "sync/threshold.h"

#include "sync/test_feedback.h"

namespace stoker::sync {
namespace {

using namespace testing;

Case of(const ThresholdOptions& threshold) {
  Case c;
  c.make = [threshold](auto& group, auto& arena, auto& optimizer, auto& state, auto& options) {
    return std::make_unique<Threshold>(group, arena, optimizer, state, options, threshold);
  };
  return c;
}

ThresholdOptions fixed(double threshold) { return {threshold, 0, 1}; }

}  // namespace

TEST(Threshold, FollowsHowMuchIsTold) {
  const ThresholdOptions band{1, 0.1, 0.3, 0.5};
  EXPECT_EQ(next_threshold(4, 0.05, band), 2);
  EXPECT_EQ(next_threshold(4, 0.1, band), 4);
  EXPECT_EQ(next_threshold(4, 0.3, band), 4);
  EXPECT_EQ(next_threshold(4, 0.31, band), 8);
  EXPECT_EQ(next_threshold(4, 0, fixed(1)), 4);
  EXPECT_EQ(next_threshold(4, 1, fixed(1)), 4);
  double threshold = 1;
  for (int i = 0; i < 20; ++i) threshold = next_threshold(threshold, 0, {});
  EXPECT_NEAR(threshold, 0.5, 1e-12);
}

TEST(Threshold, OfGradientsOfZerosStaysAboveZero) {
  double threshold = 1;
  for (int i = 0; i < 10000; ++i) threshold = next_threshold(threshold, 0, {1, 0.1, 0.3, 0.5});
  EXPECT_EQ(threshold, 1e-30);
  EXPECT_EQ(next_threshold(1e-35, 0, {1, 0.1, 0.3, 0.5}), 1e-35);
}

TEST(Threshold, RanksAndHostsDoNotChangeTheBits) {
  expect_same_for_any_ranks(of({0.5, 0.05, 0.1, 0.8, 2}));
  expect_same_for_any_ranks(of(fixed(1e-3)));  // all numbers are told
  expect_same_for_any_ranks(of(fixed(1e3)));   // none are
  Case clipped = of({2, 0.01, 0.02, 0.9});
  clipped.optimizer = "adam", clipped.clip_norm = 3, clipped.leaves = true;
  expect_same_for_any_ranks(clipped);
  Case measured = of(fixed(1));
  measured.optimizer = "lamb";
  expect_same_for_any_ranks(measured);
}

TEST(Threshold, WhatIsSentAndWhatIsKeptAreAllGradients) {
  expect_nothing_lost(of({2, 0.01, 0.02, 0.9}));
  expect_nothing_lost(of({2, 0.5, 0.6, 0.9}));
}

TEST(Threshold, NoMoreThanSoManyThresholdsAreKept) {
  ThresholdOptions options = fixed(0.125);
  options.clip = 2;
  Case c = of(options);
  c.shards = 1;
  EXPECT_EQ(largest(run(c).residuals), 0.25);
  options.clip = 0;
  c.make = of(options).make;
  EXPECT_GT(largest(run(c).residuals), 1);
}

TEST(Threshold, ARoundThatIsNotTakenLeavesTheStateAsItWas) { expect_kept(of({0.5, 0.05, 0.1, 0.8})); }

TEST(Threshold, OneStepAndOneShardAreEnough) { expect_few_are_enough(of({0.5, 0.05, 0.1, 0.8, 5})); }

}  // namespace stoker::sync
