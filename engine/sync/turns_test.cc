#include "sync/turns.h"

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
  bool tcp = false;
  PushRule rule = {};
  double momentum = 0;
  bool reset = false;
  std::string optimizer = "sgd";
  double rate = 0.1;
  float curvature = 0;  // 0: one that differs from weight to weight
  double goal = 1;      // of the first shard; each next one's is one more, unless `same_goal`
  bool same_goal = false;
  int64_t buffers = optim::kBlock;
  int rounds = 3;
  std::vector<int64_t> steps = {5, 5, 5, 5};  // of each shard in a round
  std::vector<int64_t> later = {};            // in all rounds but the first
  int shards() const { return static_cast<int>(steps.size()); }
  const std::vector<int64_t>& steps_in(int round) const { return round > 0 && !later.empty() ? later : steps; }
  double goal_of(int shard) const { return same_goal ? goal : goal + shard; }
  float curvature_of(int64_t i) const {
    return curvature > 0 ? curvature : 0.25F + 0.001F * static_cast<float>(i % 500);
  }
};

struct End {
  Hash128 digest;
  std::vector<float> weights;
  int64_t count = 0;
  float buffer = 0;
  std::vector<ReplicaNumbers> replicas;
};

optim::Arena make_arena() { return optim::Arena({{"a", {40, 30}, 0}, {"b", {7}, 0}}); }

optim::OptimizerOptions options_of(const Case& c) {
  optim::OptimizerOptions options{c.optimizer, {{}}};
  options.groups[0].lr = c.rate;
  return options;
}

class Rank {
 public:
  Rank(Group& group, const Case& c)
      : group_(group),
        case_(c),
        optimizer_(optim::make_optimizer(options_of(c), arena_, optim::best_isa())),
        options_{c.rule, c.momentum, c.reset},
        state_(rejoin(group, layout(), {})),
        turns_(group, arena_, *optimizer_, *state_, {.shards = c.shards()}, options_) {
    if (group.local_rank() == 0) Turns::begin_replicas(*state_, 1);
    group.arrive(collective::Phase::slices, 1);
    group.await(collective::Phase::slices, 1);
    state_->flip(1);
  }

  End run() {
    for (int round = 0; round < case_.rounds; ++round) run_round(case_.steps_in(round));
    const int set = state_->current();
    const float* weights = state_->weights(set);
    End end{state_->digest(),
            {weights, weights + arena_.floats()},
            state_->counts(set)[0],
            case_.buffers > 0 ? state_->buffers(set)[0] : 0,
            {}};
    for (int s = 0; s < case_.shards(); ++s) end.replicas.push_back(state_->replica_numbers(set, s));
    return end;
  }

 private:
  StateLayout layout() const {
    StateLayout l{arena_.floats(), case_.buffers, options_.common_buffers(*optimizer_), 1};
    l.replicas = case_.shards();
    l.replica_buffers = options_.buffers(*optimizer_);
    return l;
  }

  Scalars gradient_of(int shard, const float* weights, float* out) const {
    std::fill_n(out, arena_.floats(), 0.0F);
    for (int p : {0, 1})
      for (int64_t i = arena_.extent(p).begin; i < arena_.extent(p).end; ++i)
        out[i] = 2 * case_.curvature_of(i) * (weights[i] - static_cast<float>(case_.goal_of(shard)));
    return {1, 2, 0, 0};  // two rows, so the gradient is halved
  }

  void run_round(const std::vector<int64_t>& steps) {
    const int64_t most = *std::ranges::max_element(steps),
                  all = std::accumulate(steps.begin(), steps.end(), int64_t{0});
    std::vector<bool> present;
    for (const int64_t s : steps) present.push_back(s > 0);
    turns_.begin({present, false, done_ + 1, most});
    const auto sets = turns_.sets();
    const auto mine = collective::shards_of(collective::even_owners(group_.size(), case_.shards()), group_.rank());
    for (int64_t i = 0; i < most; ++i)
      for (const int shard : mine) {
        if (i >= steps[shard]) continue;
        turns_.run({shard, i, 1.0 / static_cast<double>(all)}, [&](int set, float* gradient, float* buffers) {
          if (case_.buffers > 0) buffers[0] = sets[set - 2].buffers[0] + 1;
          EXPECT_EQ(*sets[set - 2].counts, done_ + i);
          return gradient_of(shard, sets[set - 2].weights, gradient);
        });
      }
    turns_.publish();
    EXPECT_EQ(turns_.exchange().denominator, 2 * all);
    StepTimes times;
    turns_.make(times);
    turns_.commit();
    done_ += most;
  }

  Group& group_;
  const Case case_;
  const optim::Arena arena_ = make_arena();
  const std::unique_ptr<optim::Optimizer> optimizer_;
  const PushOptions options_;
  const std::unique_ptr<HostState> state_;
  Turns turns_;
  int64_t done_ = 0;
};

End run(const Case& c) {
  std::vector<End> ends(c.ranks);
  run_groups({.size = c.ranks, .force_tcp = c.tcp}, [&](Group& group) { ends[group.rank()] = Rank(group, c).run(); });
  for (const End& end : ends) EXPECT_EQ(hex(end.digest), hex(ends[0].digest));
  return ends[0];
}

/// Plain asynchronous SGD with one weight of curvature h, in float64.
double expected(const Case& c, double h) {
  struct Replica {
    double x = 0, pulled = 0, velocity = 0;
    int64_t version = 0;
  };
  std::vector<Replica> replicas(c.shards());
  double common = 0;
  int64_t made = 0;
  for (int round = 0; round < c.rounds; ++round) {
    const auto& steps = c.steps_in(round);
    for (int s = 0; s < c.shards(); ++s)
      for (int64_t i = 0; i < steps[s]; ++i) {
        Replica& r = replicas[s];
        r.velocity = c.momentum * r.velocity - c.rate * h * (r.x + c.momentum * r.velocity - c.goal_of(s));
        r.x += r.velocity;
      }
    for (int s = 0; s < c.shards(); ++s) {
      if (steps[s] == 0) continue;
      Replica& r = replicas[s];
      double way = r.x - r.pulled;
      if (c.rule.rule == Rule::agn || c.rule.rule == Rule::distance) way /= static_cast<double>(steps[s]);
      if (c.rule.rule == Rule::dynsgd) way /= static_cast<double>(made - r.version + 1);
      if (c.rule.rule == Rule::distance) way /= 1 + (common - r.pulled) * (common - r.pulled) / c.rule.gamma;
      if (c.rule.rule == Rule::elastic) {
        const double pull = c.rule.alpha * (r.x - common);
        r.x -= pull;
        common += pull;
      } else {
        r.x = r.pulled = common += way;
      }
      r.version = ++made;
    }
  }
  return common;
}

/// Of one weight, each of whose replicas pulls after its push.
double adam_at_the_server(const Case& c, double h) {
  std::vector<double> pulled(c.shards());
  double common = 0, mean = 0, square = 0;
  int64_t made = 0;
  for (int round = 0; round < c.rounds; ++round)
    for (int s = 0; s < c.shards(); ++s) {
      const double gradient = h * (pulled[s] - c.goal_of(s));
      ++made;
      mean += 0.1 * (gradient - mean);
      square += 0.001 * (gradient * gradient - square);
      const auto age = static_cast<double>(made);
      common -= c.rate * mean / (1 - std::pow(0.9, age)) / (std::sqrt(square / (1 - std::pow(0.999, age))) + 1e-8);
      pulled[s] = common;
    }
  return common;
}

void expect_formula(const Case& c) {
  const End end = run(c);
  const auto arena = make_arena();
  for (int64_t i = arena.extent(0).begin; i < arena.extent(0).end; ++i)
    ASSERT_NEAR(end.weights[i], expected(c, c.curvature_of(i)), 4e-6) << i;
}

/// How far from the goal it is, which it began one away from.
double distance_after(Case c, int rounds) {
  c.curvature = 1;
  c.same_goal = true;
  c.goal = -1;
  c.rounds = rounds;
  return std::abs(run(c).weights[0] + 1);
}

std::vector<int64_t> windows(int shards, int64_t steps) { return std::vector<int64_t>(shards, steps); }

/// REQUIRES: near the edge the distance shrinks or grows by little in a round.
void expect_edge(Case c, double stable, double unstable) {
  c.rate = stable;
  EXPECT_LT(distance_after(c, 1500), 0.5) << stable;
  c.rate = unstable;
  const double grown = distance_after(c, 1500);
  EXPECT_TRUE(!(grown < 2)) << unstable << ": " << grown;
}

const PushRule kRules[] = {{.rule = Rule::downpour},
                           {.rule = Rule::agn},
                           {.rule = Rule::dynsgd},
                           {.rule = Rule::distance, .gamma = 1e-2},
                           {.rule = Rule::elastic, .alpha = 0.225}};
constexpr PushRule kGradient{.rule = Rule::gradient};

}  // namespace

TEST(Turns, PushesGoByTheirFormula) {
  for (const PushRule& rule : kRules) {
    expect_formula({.rule = rule, .rounds = 4, .steps = {3, 3, 3, 3}});
    expect_formula({.rule = rule, .rounds = 4, .steps = {7, 1, 0, 3}, .later = {2, 0, 5, 3}});
  }
}

TEST(Turns, MomentumLooksAheadTheRightWay) {
  expect_formula({.rule = kRules[4], .momentum = 0.9, .rate = 0.05, .rounds = 4});
  Case alone{.rule = {.rule = Rule::downpour}, .momentum = 0.9, .rate = 0.95, .steps = windows(1, 60)};
  EXPECT_LT(distance_after(alone, 1), 1e-6) << "with the wrong sign it is 2.7e7";
}

TEST(Turns, RanksDoNotChangeTheBits) {
  for (const PushRule& rule : kRules)
    for (const std::string optimizer : {"sgd", "adam", "lamb"})
      for (const bool reset : {false, true}) {
        Case c{.rule = rule, .reset = reset, .optimizer = optimizer, .steps = {5, 4, 0, 5}, .later = {2, 3, 4, 0}};
        c.momentum = rule.rule == Rule::elastic && optimizer == "sgd" ? 0.9 : 0;
        const auto one = run(c).digest;
        for (const int ranks : {2, 4, 5}) {
          c.ranks = ranks;
          EXPECT_EQ(hex(run(c).digest), hex(one)) << ranks << " ranks, " << optimizer;
        }
        c.ranks = 3;
        c.tcp = true;
        EXPECT_EQ(hex(run(c).digest), hex(one)) << "over TCP, " << optimizer;
      }
}

TEST(Turns, WithoutFloatBuffersToo) {
  Case c{.buffers = 0};
  const auto one = run(c).digest;
  for (const bool tcp : {false, true}) {
    c.ranks = 3;
    c.tcp = tcp;
    EXPECT_EQ(hex(run(c).digest), hex(one)) << tcp;
  }
}

TEST(Turns, GradientsArePushedToTheCommonOptimizer) {
  Case c{.rule = kGradient, .rounds = 6, .steps = windows(4, 1)};
  Case weights = c;
  weights.rule = {.rule = Rule::downpour};  // of one step of SGD: the same, but for rounding
  const auto found = run(c).weights, wanted = run(weights).weights;
  for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], wanted[i], 2e-6) << i;
  c.optimizer = "adam";
  const auto adam = run(c).weights;
  for (const int i : {0, 3, 1199}) EXPECT_NEAR(adam[i], adam_at_the_server(c, c.curvature_of(i)), 4e-6) << i;
}

TEST(Turns, RanksDoNotChangeTheBitsOfGradients) {
  Case c{.rule = kGradient, .optimizer = "adam", .rounds = 5, .steps = {1, 1, 0, 1}, .later = {1, 1, 1, 0}};
  const auto one = run(c).digest;
  for (const auto& [ranks, tcp] : {std::pair{2, false}, {4, false}, {3, true}}) {
    c.ranks = ranks;
    c.tcp = tcp;
    EXPECT_EQ(hex(run(c).digest), hex(one)) << ranks;
  }
}

TEST(Turns, OneReplicaAloneIsPlainTrainingBitForBit) {
  for (const std::string optimizer : {"sgd", "adam"})
    for (const Rule rule : {Rule::downpour, Rule::dynsgd}) {
      const auto rounds = run({.rule = {rule}, .optimizer = optimizer, .rounds = 6, .steps = {5}});
      const auto steps = run({.rule = {rule}, .optimizer = optimizer, .rounds = 30, .steps = {1}});
      EXPECT_EQ(rounds.weights, steps.weights) << optimizer;
    }
}

TEST(Turns, EachPushIsStaleByThoseOfTheOthers) {
  const auto replicas = run({.rounds = 3, .steps = {2, 2, 2, 2}, .later = {2, 0, 2, 2}}).replicas;
  const int64_t pushes[] = {3, 1, 3, 3}, pulled[] = {8, 2, 9, 10}, steps[] = {6, 2, 6, 6};
  for (int s = 0; s < 4; ++s) {
    EXPECT_EQ(replicas[s].pushes, pushes[s]) << s;
    EXPECT_EQ(replicas[s].pulled, pulled[s]) << s;
    EXPECT_EQ(replicas[s].steps, steps[s]) << s;
  }
}

/// eta h < 2 sin(pi / (2 (2 K - 1))): each gradient is K - 1 pushes old.
TEST(Turns, DownpourHasTheEdgeOfADelay) {
  expect_edge({.steps = windows(4, 1)}, 0.44, 0.45);
  expect_edge({.steps = windows(8, 1)}, 0.207, 0.211);
}

/// A window is a longer step: eta h < 1 - (1 - e)^(1 / window).
TEST(Turns, DownpourHasASmallerEdgeWithWindows) {
  expect_edge({.steps = windows(4, 5)}, 0.109, 0.113);
  expect_edge({.steps = windows(8, 5)}, 0.045, 0.047);
}

TEST(Turns, AgnIsStableWhereDownpourIsNot) {
  for (const double rate : {0.113, 0.5, 1.0})
    EXPECT_LT(distance_after({.rule = kRules[1], .rate = rate, .steps = windows(4, 5)}, 400), 1e-3) << rate;
}

/// K times DOWNPOUR's.
TEST(Turns, DynSgdHasAWideEdge) {
  expect_edge({.rule = kRules[2], .steps = windows(4, 1)}, 1.76, 1.80);
  expect_edge({.rule = kRules[2], .steps = windows(8, 1)}, 1.65, 1.69);
}

/// Gradient first, elastic step afterwards: the eigenvalues of one replica's round.
TEST(Turns, ElasticStepsHaveTheEdgeOfTheirOrder) {
  const std::pair<double, double> edges[] = {{0.1, 1.027}, {0.5, 1.2}, {1.5, 1.5}, {1.9, 1.056}};
  for (const auto& [rate, edge] : edges) {
    Case c{.rate = rate, .steps = {1}};
    c.rule = {.rule = Rule::elastic, .alpha = edge * 0.985};
    EXPECT_LT(distance_after(c, 800), 0.1) << rate;
    c.rule.alpha = edge * 1.015;
    EXPECT_FALSE(distance_after(c, 800) < 2) << rate;
  }
}

TEST(Turns, OptimizerStateIsTheReplicasOrBeginsAnew) {
  const Case kept{.optimizer = "adam", .rounds = 4};
  Case reset = kept;
  reset.reset = true;
  EXPECT_NE(run(kept).weights, run(reset).weights);
  // The first step of Adam's is of the rate's size, whatever the gradient: here each one.
  reset.rounds = 5;
  reset.steps = {1};
  for (const int i : {0, 700, 1199}) EXPECT_NEAR(run(reset).weights[i], 0.5, 1e-5) << i;
}

TEST(Turns, BuffersAreAveragedByRowsAndCountsCountSteps) {
  const End end = run({.rounds = 3, .steps = {5, 5, 5, 5}});
  EXPECT_EQ(end.count, 15);
  EXPECT_NEAR(end.buffer, 15, 1e-4);
}

}  // namespace stoker::sync
