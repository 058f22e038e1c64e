#include "sync/push.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>
#include <vector>

namespace stoker::sync {
namespace {

using optim::Extent;

TEST(Push, DynSgdWeighsByStaleness) {
  float common = 0;
  std::map<int, float> pulled{{0, 0}, {1, 0}, {2, 0}};
  std::map<int, int64_t> version{{0, 0}, {1, 0}, {2, 0}};
  std::vector<int64_t> stale;
  int64_t made = 0;
  for (const int shard : {0, 1, 2, 2, 0, 1, 1, 1, 2, 0}) {
    stale.push_back(made - version[shard]);
    float replica = pulled[shard] + static_cast<float>(shard + 1);
    push({.rule = Rule::dynsgd}, {shard, 1, stale.back()}, {0, 1}, &pulled[shard], &replica, &common);
    EXPECT_EQ(replica, common) << "it pulls";
    pulled[shard] = replica;
    version[shard] = ++made;
  }
  EXPECT_EQ(stale, (std::vector<int64_t>{0, 1, 2, 0, 3, 3, 0, 0, 4, 4}));
  EXPECT_NEAR(common, 11.55, 2e-6);
}

TEST(Push, AgnOfOneStepIsDownpourBitForBit) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 1000; ++i) {
    const float pulled = normal(random), reached = normal(random), common = normal(random);
    float a = reached, b = reached, c = common, d = common;
    push({.rule = Rule::agn}, {0, 1, 3}, {0, 1}, &pulled, &a, &c);
    push({.rule = Rule::downpour}, {0, 1, 3}, {0, 1}, &pulled, &b, &d);
    ASSERT_EQ(c, d);
  }
}

/// c + (x - c) is not x for some numbers.
TEST(Push, WhereNobodyElseHasPushedTheReplicasWeightsAreTakenOver) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  int not_the_same = 0;
  for (int i = 0; i < 10'000; ++i) {
    const float pulled = normal(random), reached = normal(random);
    float replica = reached, common = pulled;
    not_the_same += pulled + (reached - pulled) != reached;
    push({.rule = Rule::downpour}, {0, 7, 0}, {0, 1}, &pulled, &replica, &common);
    ASSERT_EQ(common, reached);
    ASSERT_EQ(replica, reached);
  }
  EXPECT_GT(not_the_same, 0);
}

TEST(Push, ElasticStepsKeepTheSumOfAllWeights) {
  constexpr int kReplicas = 4, kFloats = 1000;
  std::mt19937 random(1);
  std::vector<std::vector<float>> weights(kReplicas + 1, std::vector<float>(kFloats));
  for (auto& each : weights)
    for (float& w : each) w = static_cast<float>(random() % 201) - 100;
  const auto sums = [&] {
    std::vector<double> of(kFloats);
    for (const auto& each : weights)
      for (int i = 0; i < kFloats; ++i) of[i] += each[i];
    return of;
  };
  const auto before = sums();
  for (int k = 0; k < kReplicas; ++k)
    push({.rule = Rule::elastic, .alpha = 0.5}, {k, 3, 1}, {0, kFloats}, nullptr, weights[k].data(),
         weights.back().data());
  EXPECT_EQ(sums(), before) << "exact for whole numbers and a half";
}

TEST(Push, DistanceMakesAMovementSmaller) {
  const float pulled = 1;
  float replica = 1.6F, common = 1.3F;  // three steps, and the common weights have gone 0.3
  push({.rule = Rule::distance, .gamma = 0.03}, {0, 3, 2}, {0, 1}, &pulled, &replica, &common);
  EXPECT_NEAR(common, 1.3 + 0.6 / 3 / (1 + 0.09 / 0.03), 1e-6);
  EXPECT_EQ(replica, common);
}

}  // namespace
}  // namespace stoker::sync
