#include "sync/top_k.h"

#include "sync/test_feedback.h"

namespace stoker::sync {
namespace {

using namespace testing;

Case of_share(double share) {
  Case c;
  c.make = [share](auto& group, auto& arena, auto& optimizer, auto& state, auto& options) {
    return std::make_unique<TopK>(group, arena, optimizer, state, options, share);
  };
  return c;
}

}  // namespace

TEST(TopK, RanksAndHostsDoNotChangeTheBits) {
  expect_same_for_any_ranks(of_share(0.05));
  Case clipped = of_share(0.01);
  clipped.optimizer = "adam", clipped.clip_norm = 3, clipped.leaves = true;
  expect_same_for_any_ranks(clipped);
  Case measured = of_share(1e-9);  // one number
  measured.optimizer = "lamb";
  expect_same_for_any_ranks(measured);
}

TEST(TopK, WhatIsSentAndWhatIsKeptAreAllGradients) { expect_nothing_lost(of_share(0.01)); }

TEST(TopK, AllOfThemLeaveNothingBehind) {
  const End end = run(of_share(1));
  EXPECT_EQ(largest(end.residuals), 0);
  EXPECT_GT(largest(end.weights), 0);
}

TEST(TopK, ARoundThatIsNotTakenLeavesTheStateAsItWas) { expect_kept(of_share(0.1)); }

TEST(TopK, OneStepAndOneShardAreEnough) { expect_few_are_enough(of_share(0.1)); }

}  // namespace stoker::sync
