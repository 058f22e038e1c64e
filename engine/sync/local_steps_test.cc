#include "sync/local_steps.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "collective/testing.h"
#include "collective/tree.h"
#include "sync/rejoin.h"

namespace stoker::sync {
namespace {

using collective::Group;
using collective::testing::run_groups;

struct Case {
  int ranks = 1;
  int shards = 4;
  bool tcp = false;
  std::string inner = "sgd";
  double outer_lr = 1;
  double outer_momentum = 0;
  InnerState inner_state = InnerState::average;
  int code = 0;  // bits
  int rounds = 3;
  std::vector<int64_t> steps = {5, 5, 5, 5};  // of each shard in a round
  std::vector<int64_t> later = {};            // in all rounds but the first
};

struct End {
  Hash128 digest;
  std::vector<float> weights;
  int64_t count = 0;
};

optim::Arena make_arena() { return optim::Arena({{"a", {40, 30}, 0}, {"b", {7}, 0}}); }

optim::OptimizerOptions sgd(double lr, double momentum) {
  optim::OptimizerOptions options{"sgd", {{}}};
  options.groups[0].lr = lr;
  options.groups[0].momentum = momentum;
  options.groups[0].nesterov = momentum > 0;
  return options;
}

optim::OptimizerOptions inner(const Case& c) {
  auto options = sgd(0.1, 0);
  options.name = c.inner;
  return options;
}

/// Of the loss sum_i h_i (w_i - goal_s)^2 / 2: each shard draws to a goal of its own.
double goal(int shard) { return 1 + shard; }
float curvature(int64_t i) { return 0.25F + 0.001F * static_cast<float>(i % 500); }

Scalars gradient_of(int shard, const float* weights, const optim::Arena& arena, float* out) {
  std::fill_n(out, arena.floats(), 0.0F);
  for (size_t p = 0; p < arena.parameters().size(); ++p) {
    const auto e = arena.extent(static_cast<int>(p));
    for (int64_t i = e.begin; i < e.end; ++i)
      out[i] = 2 * curvature(i) * (weights[i] - static_cast<float>(goal(shard)));
  }
  return {1, 2, 0, 0};  // two rows, so the gradient is halved
}

class Rank {
 public:
  Rank(Group& group, const Case& c)
      : group_(group),
        case_(c),
        inner_(optim::make_optimizer(inner(c), arena_, optim::best_isa())),
        outer_(optim::make_optimizer(sgd(c.outer_lr, c.outer_momentum), arena_, optim::best_isa())),
        local_{c.inner_state, c.outer_lr == 1 && c.outer_momentum == 0, {c.code}},
        state_(rejoin(group, layout(), {})),
        steps_(group, arena_, *inner_, *outer_, *state_, {.shards = c.shards}, local_) {
    group.arrive(collective::Phase::slices, 1);
    group.await(collective::Phase::slices, 1);
    state_->flip(1);
  }

  End run() {
    for (int round = 0; round < case_.rounds; ++round) run_round();
    const float* weights = state_->weights(state_->current());
    return {state_->digest(), std::vector<float>(weights, weights + arena_.floats()),
            state_->counts(state_->current())[0]};
  }

 private:
  StateLayout layout() const {
    StateLayout l{arena_.floats(), optim::kBlock, outer_->state_buffers() + carried_buffers(local_, *inner_), 1};
    l.replica_buffers = replica_buffers(local_, *inner_);
    l.replicas = l.replica_buffers > 0 ? case_.shards : 0;
    return l;
  }

  void run_round() {
    const auto& steps = done_ > 0 && !case_.later.empty() ? case_.later : case_.steps;
    const int64_t most = *std::ranges::max_element(steps),
                  all = std::accumulate(steps.begin(), steps.end(), int64_t{0});
    std::vector<bool> present;
    for (const int64_t s : steps) present.push_back(s > 0);
    steps_.begin({present, false, done_ + 1, most});
    const auto sets = steps_.sets();
    const auto mine = collective::shards_of(collective::even_owners(group_.size(), case_.shards), group_.rank());
    for (int64_t i = 0; i < most; ++i)
      for (size_t k = 0; k < mine.size(); ++k) {
        if (i >= steps[mine[k]]) continue;
        steps_.run({mine[k], i, 1.0 / static_cast<double>(all)}, [&](int set, float* gradient, float* buffers) {
          EXPECT_EQ(set, 2 + static_cast<int>(k));
          buffers[0] = sets[k].buffers[0] + 1;
          EXPECT_EQ(*sets[k].counts, done_ + i);
          return gradient_of(mine[k], sets[k].weights, arena_, gradient);
        });
      }
    steps_.publish();
    const auto totals = steps_.exchange();
    EXPECT_EQ(totals.denominator, 2 * all);
    StepTimes times;
    EXPECT_TRUE(steps_.make(times));
    steps_.commit();
    done_ += most;
  }

  Group& group_;
  const Case case_;
  const optim::Arena arena_ = make_arena();
  const std::unique_ptr<optim::Optimizer> inner_, outer_;
  const LocalOptions local_;
  const std::unique_ptr<HostState> state_;
  LocalSteps steps_;
  int64_t done_ = 0;
};

End run(const Case& c) {
  std::vector<End> ends(c.ranks);
  run_groups({.size = c.ranks, .force_tcp = c.tcp}, [&](Group& group) { ends[group.rank()] = Rank(group, c).run(); });
  for (const End& end : ends) EXPECT_EQ(hex(end.digest), hex(ends[0].digest));
  return ends[0];
}

/// The weight of curvature h after the rounds, in float64.
double expected(const Case& c, float h) {
  double w = 0, velocity = 0;
  const double all = std::accumulate(c.steps.begin(), c.steps.end(), 0.0);
  for (int round = 0; round < c.rounds; ++round) {
    double delta = 0;
    for (int s = 0; s < c.shards; ++s) {
      const double x = goal(s) + (w - goal(s)) * std::pow(1 - 0.1 * h, c.steps[s]);
      delta += (w - x) * static_cast<double>(c.steps[s]) / all;
    }
    velocity = c.outer_momentum * velocity + delta;
    w -= c.outer_lr * (c.outer_momentum > 0 ? delta + c.outer_momentum * velocity : delta);
  }
  return w;
}

void expect_formula(const Case& c) {
  const End end = run(c);
  const auto arena = make_arena();
  for (int64_t i = arena.extent(0).begin; i < arena.extent(0).end; ++i)
    ASSERT_NEAR(end.weights[i], expected(c, curvature(i)), 1e-6 * 4) << i;
}

}  // namespace

TEST(LocalSteps, AveragesWhatReplicasReached) { expect_formula({}); }

TEST(LocalSteps, AReplicaWeighsByItsRows) { expect_formula({.steps = {7, 1, 0, 3}}); }

TEST(LocalSteps, TheOuterOptimizerIsNesterovs) {
  expect_formula({.outer_lr = 0.7, .outer_momentum = 0.9, .rounds = 6});
}

TEST(LocalSteps, RanksDoNotChangeTheBits) {
  for (const std::string inner : {"sgd", "adam", "lamb"})
    for (const auto state : {InnerState::average, InnerState::reset, InnerState::keep}) {
      Case c{.inner = inner, .outer_lr = 0.7, .outer_momentum = 0.9, .inner_state = state, .steps = {5, 4, 0, 5}};
      const auto one = run(c).digest;
      for (const int ranks : {2, 3, 4, 5}) {
        c.ranks = ranks;
        EXPECT_EQ(hex(run(c).digest), hex(one)) << ranks << " ranks, " << inner;
      }
      c.ranks = 3;
      c.tcp = true;
      EXPECT_EQ(hex(run(c).digest), hex(one)) << "over TCP, " << inner;
    }
}

TEST(LocalSteps, CodesChangeNothingButTheirRounding) {
  for (const int code : {8, 4}) {
    Case c{.inner_state = InnerState::reset, .code = code, .steps = {5, 4, 0, 5}};
    const End one = run(c);
    for (const auto& [ranks, tcp] : {std::pair{2, false}, {3, true}, {4, true}}) {
      c.ranks = ranks;
      c.tcp = tcp;
      EXPECT_EQ(hex(run(c).digest), hex(one.digest)) << ranks << " ranks, " << code << " bits";
    }
    const auto arena = make_arena();
    for (int64_t i = arena.extent(0).begin; i < arena.extent(0).end; ++i)
      ASSERT_NEAR(one.weights[i], expected(c, curvature(i)), code == 8 ? 0.02 : 0.3) << i;
  }
}

/// c + (x - c) is not x for some numbers, so the only replica's weights are taken over.
TEST(LocalSteps, OneReplicaAloneIsPlainTrainingBitForBit) {
  for (const std::string inner : {"sgd", "adam"}) {
    const auto rounds = run({.shards = 1, .inner = inner, .rounds = 6, .steps = {5}});
    const auto steps = run({.shards = 1, .inner = inner, .rounds = 30, .steps = {1}});
    EXPECT_EQ(rounds.weights, steps.weights) << inner;
    EXPECT_EQ(hex(rounds.digest), hex(steps.digest)) << inner;
  }
}

TEST(LocalSteps, OptimizerStateIsAveragedOrBeginsAnew) {
  const Case kept{.inner = "adam", .rounds = 4};
  Case reset = kept;
  reset.inner_state = InnerState::reset;
  EXPECT_NE(run(kept).weights, run(reset).weights);
  // The first step of Adam's is of the rate's size, whatever the gradient: here the first one of each round.
  reset.rounds = 5;
  reset.steps = {1, 1, 1, 1};
  for (const int i : {0, 700, 1199}) EXPECT_NEAR(run(reset).weights[i], 0.5, 1e-5) << i;
}

/// One replica has no rows in the first round, and Adam's first step is of the rate's size.
TEST(LocalSteps, OptimizerStateThatIsKeptIsAsOldAsTheReplica) {
  const Case average{.inner = "adam", .rounds = 4}, kept{.inner = "adam", .inner_state = InnerState::keep, .rounds = 4};
  EXPECT_NE(run(average).weights, run(kept).weights);
  Case late{.inner = "adam", .inner_state = InnerState::keep, .rounds = 1, .steps = {1, 0}};
  late.shards = 2;
  EXPECT_NEAR(run(late).weights[0], 0.1, 1e-5);
  late.rounds = 2;
  late.later = {0, 1};
  EXPECT_NEAR(run(late).weights[0], 0.2, 1e-5);
}

TEST(LocalSteps, CountsCountSteps) { EXPECT_EQ(run({.rounds = 3}).count, 15); }

}  // namespace stoker::sync
