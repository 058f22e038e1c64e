#pragma once
// For tests of strategies with error feedback: ranks as threads that make rounds of steps, with gradients that depend
// on shard and step only.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "collective/testing.h"
#include "sync/feedback_steps.h"
#include "sync/rejoin.h"

namespace stoker::sync::testing {

/// What is made of a rank's group, arena, optimizer, state and options.
using Make = std::function<std::unique_ptr<FeedbackSteps>(collective::Group&, const optim::Arena&,
                                                          const optim::Optimizer&, HostState&, const CommitOptions&)>;

struct Case {
  Make make;
  int own = 0;  // optimizer buffers of its own
  std::function<void(HostState& state, int set)> start = [](HostState&, int) {};
  int ranks = 1;
  int shards = 4;
  bool tcp = false;
  std::vector<int> hosts = {};
  std::string optimizer = "sgd";
  int rounds = 3, steps = 4;
  double clip_norm = 0;
  bool thin = false;    // each gradient is a matrix of rank 1
  bool leaves = false;  // shards are left out of some steps, and one of a round
  bool keeps = false;   // the second round is not taken
};

struct End {
  Hash128 digest;
  std::vector<float> weights, residuals;  // the latter of all shards together
  std::vector<double> sums;               // of all gradients
  int64_t count = 0;
};

/// Two matrices, one of several blocks, and vectors between them.
inline optim::Arena make_arena() {
  return optim::Arena({{"a", {60, 50}}, {"b", {7}}, {"c", {4, 2, 3}}, {"d", {30, 70}}, {"e", {900}}});
}

/// A gradient that depends on shard and step only.
inline void fill(const Case& c, const optim::Arena& arena, int shard, int step, float* out) {
  std::mt19937 random(static_cast<unsigned>(step * 100 + shard));
  std::normal_distribution<float> normal;
  std::fill_n(out, arena.floats(), 0.0F);
  for (int p = 0; p < static_cast<int>(arena.parameters().size()); ++p) {
    const auto e = arena.extent(p);
    const auto rows = arena.parameters()[p].shape[0], columns = e.size() / rows;
    for (int64_t i = 0; i < e.size(); ++i)
      out[e.begin + i] = c.thin ? static_cast<float>((i / columns + 1) * (i % columns - 3)) / 64 : normal(random);
  }
}

inline bool is_there(const Case& c, int shard, int round, int step) {
  if (!c.leaves) return true;
  if (round == 1 && shard == 2) return false;
  return (shard + step) % 3 != 0;
}

class Rank {
 public:
  Rank(collective::Group& group, const Case& c)
      : group_(group),
        case_(c),
        optimizer_(optim::make_optimizer({c.optimizer, {{}}}, arena_, optim::best_isa())),
        state_(rejoin(group, layout(), {})),
        steps_(c.make(group, arena_, *optimizer_, *state_, options())) {
    if (group.local_rank() == 0) c.start(*state_, HostState::set_of(1));
    group.arrive(collective::Phase::slices, 1);
    group.await(collective::Phase::slices, 1);
    state_->flip(1);
    end_.sums.resize(arena_.floats());
  }

  End run() {
    for (int round = 0; round < case_.rounds; ++round) run_round(round);
    const int set = state_->current();
    const float* weights = state_->weights(set);
    end_.digest = state_->digest();
    end_.weights.assign(weights, weights + arena_.floats());
    end_.residuals.resize(arena_.floats());
    for (int shard = 0; shard < case_.shards; ++shard)
      for (int64_t i = 0; i < arena_.floats(); ++i) end_.residuals[i] += state_->replica_buffer(set, shard, 0)[i];
    end_.count = state_->counts(set)[0];
    return end_;
  }

 private:
  CommitOptions options() const {
    CommitOptions options{case_.shards};
    options.mean = false;
    options.clip_norm = case_.clip_norm;
    return options;
  }
  StateLayout layout() const {
    StateLayout l{arena_.floats(), optim::kBlock, optimizer_->state_buffers() + case_.own, 1};
    l.replicas = case_.shards;
    l.replica_buffers = FeedbackSteps::kReplicaBuffers;
    l.sums = optimizer_->sums();
    return l;
  }

  void run_round(int round) {
    std::vector<bool> present(case_.shards);
    for (int s = 0; s < case_.shards; ++s)
      for (int step = 0; step < case_.steps; ++step) present[s] = present[s] || is_there(case_, s, round, step);
    steps_->begin({present, false, 1 + round * case_.steps, case_.steps});
    for (int step = 0; step < case_.steps; ++step) run_step(round, step);
    steps_->publish();
    EXPECT_EQ(steps_->exchange().denominator > 0, true);
    StepTimes times;
    const bool kept = case_.keeps && round == 1;
    EXPECT_TRUE(steps_->make(times));
    if (kept) steps_->keep(times);
    steps_->commit();
  }

  void run_step(int round, int step) {
    std::vector<int64_t> rows;
    for (int s = 0; s < case_.shards; ++s) rows.push_back(is_there(case_, s, round, step) ? 2 + s : 0);
    steps_->begin_step(step, rows);
    const int number = round * case_.steps + step;
    std::vector<float> all(arena_.floats());
    for (int s = 0; s < case_.shards; ++s) {
      if (rows[s] == 0) continue;
      fill(case_, arena_, s, number, all.data());
      for (int64_t i = 0; i < arena_.floats(); ++i) end_.sums[i] += all[i];
    }
    for (const int s : owned_shards(options(), group_))
      if (rows[s] > 0)
        steps_->run({s, step, 0.1}, [&](int, float* gradient, float* buffers) {
          fill(case_, arena_, s, number, gradient);
          for (int64_t i = 0; i < optim::kBlock; ++i) buffers[i] = static_cast<float>(s * i) / 7;
          return Scalars{1, static_cast<double>(rows[s]), 0, 0};
        });
    steps_->end_step();
  }

  collective::Group& group_;
  const Case case_;
  const optim::Arena arena_ = make_arena();
  const std::unique_ptr<optim::Optimizer> optimizer_;
  const std::unique_ptr<HostState> state_;
  const std::unique_ptr<FeedbackSteps> steps_;
  End end_;
};

inline End run(const Case& c) {
  std::vector<End> ends(c.ranks);
  collective::testing::run_groups({.size = c.ranks, .force_tcp = c.tcp, .host_groups = c.hosts},
                                  [&](collective::Group& group) { ends[group.rank()] = Rank(group, c).run(); });
  for (const End& end : ends) EXPECT_EQ(hex(end.digest), hex(ends[0].digest));
  return ends[0];
}

inline void expect_same_for_any_ranks(Case c) {
  const End alone = run(c);
  for (const int ranks : {2, 3, 4}) {
    c.ranks = ranks;
    EXPECT_EQ(hex(run(c).digest), hex(alone.digest)) << ranks << " ranks";
  }
  c.tcp = true;
  EXPECT_EQ(hex(run(c).digest), hex(alone.digest)) << "4 hosts";
  c.tcp = false;
  c.hosts = {0, 0, 1, 1};
  EXPECT_EQ(hex(run(c).digest), hex(alone.digest)) << "2 hosts";
}

inline double largest(const std::vector<float>& floats) {
  double most = 0;
  for (const float x : floats) most = std::max(most, std::abs(static_cast<double>(x)));
  return most;
}

/// Plain SGD from zeros: what it went, and what shards keep, are the sum of all gradients.
inline void expect_nothing_lost(Case c) {
  c.ranks = 2;
  for (const bool leaves : {false, true}) {
    c.leaves = leaves;
    const End end = run(c);
    double worst = 0;
    for (size_t i = 0; i < end.sums.size(); ++i)
      worst = std::max(worst, std::abs(-static_cast<double>(end.weights[i]) / 1e-3 + end.residuals[i] - end.sums[i]));
    EXPECT_LT(worst, 2e-3);
    EXPECT_GT(largest(end.residuals), 3);
  }
}

inline void expect_kept(Case c) {
  Case two = c, one = c;
  two.rounds = 2, two.keeps = true;
  one.rounds = 1;
  const End with = run(two), without = run(one);
  EXPECT_EQ(with.weights, without.weights);
  EXPECT_EQ(with.residuals, without.residuals);
  EXPECT_EQ(with.count, 4);
  c.keeps = true;
  expect_same_for_any_ranks(c);
}

inline void expect_few_are_enough(Case c) {
  c.steps = 1;
  expect_same_for_any_ranks(c);
  c.shards = 1;
  EXPECT_EQ(run(c).count, 3);
}

}  // namespace stoker::sync::testing
