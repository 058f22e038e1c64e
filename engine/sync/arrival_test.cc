#include "sync/arrival.h"

#include <gtest/gtest.h>

#include <thread>

#include "collective/testing.h"
#include "collective/tree.h"
#include "sync/rejoin.h"
#include "sync/turns.h"

namespace stoker::sync {
namespace {

using collective::Group;
using collective::testing::run_groups;

constexpr int kShards = 4, kSteps = 3;  // of a window

struct Case {
  int ranks = 1;
  PushRule rule = {};
  double momentum = 0;
  bool reset = false;
  std::string optimizer = "sgd";
  int64_t buffers = 0;
  int64_t floats = 40'000;  // several chunks
  int rounds = 3;
  int64_t windows = 3 * kShards;  // of a round
  int64_t bound = -1;
  std::optional<Record> record = {};
  int slow = -1;  // shard, each of whose steps takes some milliseconds
  bool tcp = false;
};

struct End {
  Hash128 digest;
  std::vector<float> weights;
  Record record;
  std::vector<ReplicaNumbers> replicas;
  float buffer = 0;
};

optim::OptimizerOptions options_of(const std::string& name) {
  optim::OptimizerOptions options{name, {{}}};
  options.groups[0].lr = 0.1;
  return options;
}

/// A rank of a fit in which shard k draws each weight to k + 1.
template <typename Strategy>
class Rank {
 public:
  Rank(Group& group, const Case& c)
      : group_(group),
        case_(c),
        arena_({{"a", {c.floats}, 0}}),
        optimizer_(optim::make_optimizer(options_of(c.optimizer), arena_, optim::best_isa())),
        options_{c.rule, c.momentum, c.reset},
        state_(rejoin(group, layout(), {})),
        strategy_(make()) {
    if (group.local_rank() == 0) Strategy::begin_replicas(*state_, 1);
    group.arrive(collective::Phase::slices, 1);
    group.await(collective::Phase::slices, 1);
    state_->flip(1);
  }

  End run() {
    for (int round = 0; round < case_.rounds; ++round) run_round();
    const int set = state_->current();
    End end{state_->digest(), {state_->weights(set), state_->weights(set) + 1}, {}, {}};
    for (int s = 0; s < kShards; ++s) end.replicas.push_back(state_->replica_numbers(set, s));
    const auto made = state_->record().first(static_cast<size_t>(pushes_made(end.replicas)));
    end.record = {made.begin(), made.end()};
    if (case_.buffers > 0) end.buffer = state_->buffers(set)[0];
    return end;
  }

 private:
  StateLayout layout() const {
    StateLayout l{arena_.floats(), case_.buffers, options_.common_buffers(*optimizer_), 1};
    l.replicas = kShards;
    l.replica_buffers = options_.buffers(*optimizer_);
    l.pushes = case_.rounds * case_.windows;
    return l;
  }

  std::unique_ptr<Strategy> make() {
    const CommitOptions common{.shards = kShards};
    if constexpr (std::is_same_v<Strategy, Arrival>)
      return std::make_unique<Arrival>(group_, arena_, *optimizer_, *state_, common, options_,
                                       ArrivalOptions{case_.bound, case_.record});
    else
      return std::make_unique<Strategy>(group_, arena_, *optimizer_, *state_, common, options_);
  }

  Scalars step(int shard, int set, float* gradient, float* buffers) {
    if (shard == case_.slow) std::this_thread::sleep_for(std::chrono::milliseconds(8));
    const float* weights = strategy_->sets()[set - 2].weights;
    for (int64_t i = 0; i < arena_.floats(); ++i) gradient[i] = i < case_.floats ? weights[i] - shard - 1 : 0;
    for (int64_t i = 0; i < case_.buffers; ++i) buffers[i] = static_cast<float>(shard);
    return {1, 1, 0, 0};
  }

  void run_window(int shard) {
    for (int64_t i = 0; i < kSteps; ++i)
      strategy_->run({shard, i, 0.1},
                     [&](int set, float* gradient, float* buffers) { return step(shard, set, gradient, buffers); });
  }

  void run_windows() {
    if constexpr (std::is_same_v<Strategy, Arrival>) {
      while (const auto window = strategy_->next()) {
        EXPECT_EQ(window->number, run_[window->shard]++) << "each window comes once";
        run_window(window->shard);
        strategy_->push(window->shard);
      }
    } else {
      for (const int shard : collective::shards_of(collective::even_owners(group_.size(), kShards), group_.rank()))
        run_window(shard);
    }
  }

  void run_round() {
    const int64_t steps = case_.windows * kSteps / kShards;
    strategy_->begin({std::vector<bool>(kShards, true), false, done_ + 1, steps, {}, case_.windows});
    run_windows();
    strategy_->publish();
    EXPECT_EQ(strategy_->exchange().denominator, case_.windows * kSteps);
    StepTimes times;
    EXPECT_TRUE(strategy_->make(times));
    strategy_->commit();
    done_ += steps;
  }

  Group& group_;
  const Case case_;
  const optim::Arena arena_;
  const std::unique_ptr<optim::Optimizer> optimizer_;
  const PushOptions options_;
  const std::unique_ptr<HostState> state_;
  const std::unique_ptr<Strategy> strategy_;
  int64_t done_ = 0;
  std::map<int, int64_t> run_;  // by shard: windows
};

template <typename Strategy = Arrival>
End run(const Case& c) {
  std::vector<End> ends(c.ranks);
  run_groups({.size = c.ranks, .force_tcp = c.tcp},
             [&](Group& group) { ends[group.rank()] = Rank<Strategy>(group, c).run(); });
  for (const End& end : ends) EXPECT_EQ(hex(end.digest), hex(ends[0].digest));
  return ends[0];
}

Case again(Case c, const Record& record, int ranks) {
  c.record = record;
  c.ranks = ranks;
  c.slow = -1;
  return c;
}

std::string refusal(const Case& c) {
  try {
    run(c);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "none";
}

const PushRule kRules[] = {{.rule = Rule::downpour},
                           {.rule = Rule::agn},
                           {.rule = Rule::dynsgd},
                           {.rule = Rule::distance, .gamma = 1e-2},
                           {.rule = Rule::elastic, .alpha = 0.225},
                           {.rule = Rule::gradient}};

}  // namespace

TEST(Arrival, WhatWasRecordedIsMadeAgainToTheSameBits) {
  for (const PushRule& rule : kRules)
    for (const bool reset : {false, true}) {
      Case c{.ranks = 4, .rule = rule, .reset = reset, .optimizer = "adam", .buffers = optim::kBlock, .slow = 1};
      if (rule.rule == Rule::gradient && reset) continue;
      const End end = run(c);
      EXPECT_EQ(end.record.size(), 36);
      for (const int ranks : {1, 2, 3, 4, 5}) {
        const End same = run(again(c, end.record, ranks));
        EXPECT_EQ(hex(same.digest), hex(end.digest)) << ranks << " ranks, rule " << static_cast<int>(rule.rule);
        EXPECT_EQ(same.record, end.record);
      }
    }
}

TEST(Arrival, MomentumIsMadeAgainToo) {
  const Case c{.ranks = 2, .rule = kRules[4], .momentum = 0.9};
  const End end = run(c);
  EXPECT_EQ(hex(run(again(c, end.record, 1)).digest), hex(end.digest));
}

TEST(Arrival, TurnsAreOneRecord) {
  for (const PushRule& rule : kRules) {
    const Case turns{.ranks = 2, .rule = rule, .rounds = 6, .windows = kShards};
    Record record;
    for (int i = 0; i < 6 * kShards; ++i) record.push_back(static_cast<uint8_t>(i % kShards));
    Case c = again(turns, record, 3);
    c.rounds = 2;
    c.windows = 3 * kShards;
    EXPECT_EQ(hex(run(c).digest), hex(run<Turns>(turns).digest)) << static_cast<int>(rule.rule);
  }
}

TEST(Arrival, AnotherOrderIsAnotherModel) {
  const Case c{.rule = kRules[2], .rounds = 1};
  EXPECT_NE(hex(run(again(c, {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}, 2)).digest),
            hex(run(again(c, {3, 1, 2, 0, 0, 1, 2, 3, 0, 1, 2, 3}, 2)).digest));
}

TEST(Arrival, ASlowReplicaHoldsNobody) {
  const End end = run({.ranks = 4, .rule = kRules[2], .floats = 5, .rounds = 2, .windows = 40, .slow = 1});
  EXPECT_LT(end.replicas[1].pushes, 15) << "a quarter of all were 20";
}

TEST(Arrival, NobodyIsFurtherAheadThanTheBound) {
  for (const int64_t bound : {0, 1, 3}) {
    Case c{.ranks = 4, .floats = 5, .rounds = 3, .windows = 10, .bound = bound, .slow = 1};
    const End end = run(c);
    EXPECT_EQ(first_beyond(end.record, std::vector<bool>(kShards, true), bound), 30) << bound;
    EXPECT_EQ(hex(run(again(c, end.record, 2)).digest), hex(end.digest));
  }
}

TEST(Arrival, StalenessIsThatOfTheOrder) {
  const auto replicas = run(again({.rounds = 1, .windows = 6}, {0, 0, 2, 1, 0, 3}, 2)).replicas;
  const int64_t pushes[] = {3, 1, 1, 1}, pulled[] = {5, 4, 3, 6};
  for (int s = 0; s < kShards; ++s) {
    EXPECT_EQ(replicas[s].pushes, pushes[s]) << s;
    EXPECT_EQ(replicas[s].pulled, pulled[s]) << s;
    EXPECT_EQ(replicas[s].steps, kSteps * pushes[s]) << s;
  }
}

/// Each moves the common one a quarter of the way to its own number.
TEST(Arrival, BuffersAreDrawnTogether) {
  float wanted = 0;
  for (const int shard : {0, 3, 2, 3}) wanted += 0.25F * (static_cast<float>(shard) - wanted);
  const End end = run(again({.buffers = optim::kBlock, .rounds = 1, .windows = 4}, {0, 3, 2, 3}, 2));
  EXPECT_NEAR(end.buffer, wanted, 1e-6);
}

TEST(Arrival, ARecordOfAnotherFitIsRefused) {
  EXPECT_NE(refusal(again({}, {0, 1, 2, 3}, 2)).find("order has 4 pushes, and the fit goes on after them"),
            std::string::npos);
  const Record strange(36, 7);
  EXPECT_NE(refusal(again({}, strange, 2)).find("a push of shard 7, which has no rows here"), std::string::npos);
}

TEST(Arrival, WorkersOnSeveralHostsAreRefused) {
  EXPECT_NE(refusal({.ranks = 2, .tcp = true}).find("these are on 2 hosts: take order='turns'"), std::string::npos);
}

}  // namespace stoker::sync
