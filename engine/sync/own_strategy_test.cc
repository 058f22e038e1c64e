// An example for who writes a strategy (docs/strategies.md): signSGD by majority vote. Bernstein et al. 2018, "signSGD:
// Compressed Optimisation for Non-Convex Problems". Each shard votes for a direction, weight by weight, and each weight
// goes a step of fixed size where most shards want it.
#include <gtest/gtest.h>

#include "collective/testing.h"
#include "sync/all_reduce.h"
#include "sync/rejoin.h"

namespace stoker::sync {
namespace {

float sign(float x) { return static_cast<float>((x > 0) - (x < 0)); }

class MajorityVote final : public AllReduce {
 public:
  MajorityVote(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
               const CommitOptions& options, float rate)
      : AllReduce(group, arena, optimizer, state, options), rate_(rate) {}

  bool runs_together() const override { return false; }
  /// What a shard gives to the sum: votes instead of its gradient. The float buffers behind them stay as they are.
  void run(const Part& part, const Run& run) override {
    AllReduce::run(part, [&](int set, float* gradient, float* buffers) {
      const Scalars scalars = run(set, gradient, buffers);
      for (int64_t i = 0; i < arena_.floats(); ++i) gradient[i] = sign(gradient[i]);
      return scalars;
    });
  }

 protected:
  /// What this rank makes of its part of the sum, from the committed set into the other one.
  void update(optim::Extent range, const optim::UpdateBuffers& buffers) override {
    for (int64_t i = range.begin; i < range.end; ++i)
      buffers.weights_out[i] = buffers.weights_in[i] - rate_ * sign(buffers.gradient[i]);
  }

 private:
  const float rate_;
};

constexpr int kShards = 3, kWeights = 2500, kSteps = 4;
constexpr float kRate = 0.25F;

/// Of a weight, by shard and step: below, at and above zero.
float gradient_of(int64_t i, int shard, int64_t step) {
  return static_cast<float>((i * 7 + shard * 5 + step) % 11 - 5);
}

std::vector<float> train(collective::Group& group) {
  const optim::Arena arena({{"w", {kWeights}}});
  const auto optimizer = optim::make_optimizer({"sgd", {{}}}, arena, optim::best_isa());
  const auto state = rejoin(group, {arena.floats(), 0, 0, 0}, {});
  const CommitOptions options{kShards};
  MajorityVote vote(group, arena, *optimizer, *state, options, kRate);
  group.arrive(collective::Phase::slices, 1);
  group.await(collective::Phase::slices, 1);
  state->flip(1);
  for (int64_t step = 0; step < kSteps; ++step) {
    vote.begin({std::vector<bool>(kShards, true)});
    for (const int shard : owned_shards(options, group))
      vote.run({shard}, [&](int, float* gradient, float*) {
        std::fill_n(gradient, arena.floats(), 0.0F);
        for (int64_t i = 0; i < kWeights; ++i) gradient[i] = gradient_of(i, shard, step);
        return Scalars{1, 1, 0, 0};
      });
    vote.publish();
    vote.exchange();
    StepTimes times;
    EXPECT_TRUE(vote.make(times));
    vote.commit();
  }
  EXPECT_EQ(state->committed(), 1u + kSteps);
  const float* weights = state->weights(state->current());
  return {weights, weights + kWeights};
}

}  // namespace

TEST(OwnStrategy, WeightsGoWhereMostShardsWantThemWhoeverRunsThem) {
  for (const int ranks : {1, 2, 3})
    for (const bool tcp : {false, true}) {
      std::vector<std::vector<float>> ends(ranks);
      collective::testing::run_groups({.size = ranks, .force_tcp = tcp},
                                      [&](collective::Group& group) { ends[group.rank()] = train(group); });
      for (const auto& weights : ends)
        for (int64_t i = 0; i < kWeights; ++i) {
          float wanted = 0;
          for (int64_t step = 0; step < kSteps; ++step) {
            float votes = 0;
            for (int shard = 0; shard < kShards; ++shard) votes += sign(gradient_of(i, shard, step));
            wanted -= kRate * sign(votes);
          }
          ASSERT_EQ(weights[i], wanted) << "weight " << i << ", " << ranks << " ranks, tcp " << tcp;
        }
    }
}

}  // namespace stoker::sync
