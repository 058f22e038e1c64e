#include "sync/power_sgd.h"

#include "sync/test_feedback.h"

namespace stoker::sync {
namespace {

using namespace testing;

Case of_rank(int64_t rank) {
  Case c;
  c.own = PowerSgd::kBuffers;
  c.make = [rank](auto& group, auto& arena, auto& optimizer, auto& state, auto& options) {
    return std::make_unique<PowerSgd>(group, arena, optimizer, state, options, rank);
  };
  c.start = [rank](HostState& state, int set) { PowerSgd::begin_factors(state, set, make_arena(), rank); };
  return c;
}

}  // namespace

TEST(PowerSgd, RanksAndHostsDoNotChangeTheBits) {
  expect_same_for_any_ranks(of_rank(2));
  Case clipped = of_rank(2);
  clipped.optimizer = "adam", clipped.clip_norm = 3, clipped.leaves = true;
  expect_same_for_any_ranks(clipped);
  Case measured = of_rank(4);
  measured.optimizer = "lamb";
  expect_same_for_any_ranks(measured);
}

TEST(PowerSgd, WhatIsSentAndWhatIsKeptAreAllGradients) { expect_nothing_lost(of_rank(1)); }

TEST(PowerSgd, GradientsThatAreThinLeaveNothingBehind) {
  Case thin = of_rank(2);
  thin.ranks = 2, thin.thin = true;
  const End end = run(thin);
  EXPECT_LT(largest(end.residuals), largest(end.weights)) << "weights went a thousandth of the gradients";
}

TEST(PowerSgd, ARoundThatIsNotTakenLeavesTheStateAsItWas) { expect_kept(of_rank(2)); }

TEST(PowerSgd, OneStepAndOneShardAreEnough) { expect_few_are_enough(of_rank(2)); }

}  // namespace stoker::sync
