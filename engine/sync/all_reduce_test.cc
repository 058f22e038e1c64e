#include "sync/all_reduce.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "collective/testing.h"
#include "sync/rejoin.h"

namespace stoker::sync {
namespace {

struct Case {
  int ranks = 1;
  int shards = 12;
  bool force_tcp = false;
  double clip_norm = 0;
  double clip_value = 0;
  bool scattered = false;  // the shards' owners
  bool measures = false;   // the optimizer, in several rounds
};

int owner_of(const Case& c, int shard) {
  return c.scattered ? shard * 7 % 5 % c.ranks : collective::owner_of(shard, c.ranks, c.shards);
}

struct End {
  Hash128 digest;
  std::vector<Scalars> totals;
};

/// Several slices' worth, of matrices that lie in both ways.
optim::Arena large_arena() { return optim::Arena({{"a", {150, 200}, 0}, {"b", {200, 150}, 1, {1, 0}}}); }
optim::Arena make_arena() { return optim::Arena({{"a", {60, 50}, 0}, {"b", {7}, 1}, {"c", {900}, 1}}); }

optim::OptimizerOptions adam() {
  optim::OptimizerOptions options{"adam", {{}, {}}};
  options.groups[1].lr = 1e-2;
  return options;
}

/// A gradient that depends on (commit, shard) only, of magnitudes whose sum depends on the order.
void fill(float* out, const optim::Arena& arena, uint64_t commit, int shard) {
  std::mt19937 random(static_cast<unsigned>(commit * 1000 + shard));
  std::fill_n(out, arena.floats(), 0.0F);
  for (int p = 0; p < static_cast<int>(arena.parameters().size()); ++p)
    for (int64_t i = arena.extent(p).begin; i < arena.extent(p).end; ++i)
      out[i] = std::ldexp(static_cast<float>(random() % 2001) - 1000, static_cast<int>(random() % 20) - 20);
}

End run_rank(collective::Group& group, const Case& c) {
  const auto arena = c.measures ? large_arena() : make_arena();
  const auto options = c.measures ? optim::OptimizerOptions{"adafactor", {{}, {}}} : adam();
  const auto optimizer = optim::make_optimizer(options, arena, optim::best_isa());
  constexpr int64_t kBuffers = optim::kBlock;
  StateLayout layout{arena.floats(), kBuffers, optimizer->state_buffers(), 1};
  layout.sums = optimizer->sums(), layout.numbers = optimizer->numbers();
  const auto shared = rejoin(group, layout, {});
  HostState& state = *shared;
  std::vector<int> owners;
  for (int s = 0; s < c.shards; ++s) owners.push_back(owner_of(c, s));
  AllReduce reduce(group, arena, *optimizer, state, {c.shards, true, c.clip_norm, c.clip_value, false, owners});
  group.arrive(collective::Phase::slices, 1);
  group.await(collective::Phase::slices, 1);
  state.flip(1);
  End end;
  for (int step = 0; step < 5; ++step) {
    std::vector<bool> present(c.shards, true);
    if (step % 2 && c.shards > 1) present[step % c.shards] = false;
    reduce.begin({present, false, static_cast<int64_t>(state.committed())});
    for (int s = 0; s < c.shards; ++s) {
      if (owner_of(c, s) != group.rank() || !present[s]) continue;
      float* out = reduce.partial();
      fill(out, arena, state.committed(), s);
      for (int64_t i = 0; i < kBuffers; ++i) out[arena.floats() + i] = static_cast<float>(s * i) / 7;
      reduce.put(s, {0.1 * s, 3, 1, 2});
    }
    end.totals.push_back(reduce.exchange());
    StepTimes times;
    reduce.make(times);
    reduce.commit();
  }
  end.digest = state.digest();
  EXPECT_EQ(state.committed(), 6u);
  EXPECT_EQ(state.counts(state.current())[0], 5);
  return end;
}

std::vector<End> run(const Case& c) {
  std::vector<End> ends(c.ranks);
  collective::testing::World world{.size = c.ranks, .force_tcp = c.force_tcp};
  collective::testing::run_groups(world, [&](collective::Group& group) { ends[group.rank()] = run_rank(group, c); });
  return ends;
}

void expect_same(const Case& one, const Case& other) {
  const auto a = run(one), b = run(other);
  for (const auto* ends : {&a, &b})
    for (const auto& end : *ends) {
      EXPECT_EQ(hex(end.digest), hex(a[0].digest)) << other.ranks << " ranks, tcp " << other.force_tcp;
      for (size_t i = 0; i < end.totals.size(); ++i) EXPECT_EQ(end.totals[i].numerator, a[0].totals[i].numerator);
    }
}

}  // namespace

TEST(AllReduce, RanksDoNotChangeTheBits) {
  for (const int ranks : {2, 3, 4, 5}) expect_same({1}, {ranks});
}

TEST(AllReduce, RanksThatMeasureTogetherDoNotChangeTheBits) {
  for (const int ranks : {2, 3}) expect_same({.measures = true}, {.ranks = ranks, .measures = true});
  expect_same({.measures = true}, {.ranks = 3, .force_tcp = true, .measures = true});
}

TEST(AllReduce, TheDealOfTheShardsDoesNotChangeTheBits) {
  expect_same({1}, {.ranks = 3, .scattered = true});
  expect_same({1}, {.ranks = 3, .force_tcp = true, .scattered = true});
}

TEST(AllReduce, APauseThatOneRankIsAskedForIsSeenByAllInTheSameStep) {
  for (const bool tcp : {false, true}) {
    collective::testing::run_groups({.size = 3, .force_tcp = tcp}, [](collective::Group& group) {
      const auto arena = make_arena();
      const auto optimizer = optim::make_optimizer(adam(), arena, optim::best_isa());
      const auto shared = rejoin(group, {arena.floats(), 0, optimizer->state_buffers(), 0}, {});
      AllReduce reduce(group, arena, *optimizer, *shared, {3});
      group.arrive(collective::Phase::slices, 1);
      group.await(collective::Phase::slices, 1);
      shared->flip(1);
      std::vector<bool> seen;
      for (int step = 0; step < 4; ++step) {
        const std::vector<bool> present = {true, step != 1, true};  // rank 1 is asked before a step without its shard
        reduce.begin({present, step >= 1 && group.rank() == 1, step + 1});
        if (present[group.rank()]) {
          fill(reduce.partial(), arena, shared->committed(), group.rank());
          reduce.put(group.rank(), {1, 1, 0, 0});
        }
        reduce.exchange();
        seen.push_back(reduce.pausing());
        StepTimes times;
        reduce.make(times);
        reduce.commit();
      }
      EXPECT_EQ(seen, (std::vector<bool>{false, false, true, true})) << "rank " << group.rank();
    });
  }
}

/// Weights, buffers and optimizer state after some steps: of each, its kind.
enum class Kind { sound, infinite_gradient, infinite_buffer, empty };

std::vector<Hash128> run_steps(const std::vector<Kind>& kinds, int ranks, bool tcp = false) {
  std::vector<Hash128> ends(ranks);
  collective::testing::run_groups({.size = ranks, .force_tcp = tcp}, [&](collective::Group& group) {
    const auto arena = make_arena();
    const auto optimizer = optim::make_optimizer(adam(), arena, optim::best_isa());
    const auto shared = rejoin(group, {arena.floats(), optim::kBlock, optimizer->state_buffers(), 1}, {});
    AllReduce reduce(group, arena, *optimizer, *shared, {4});
    group.arrive(collective::Phase::slices, 1);
    group.await(collective::Phase::slices, 1);
    shared->flip(1);
    int64_t kept = 0;
    for (const Kind kind : kinds) {
      reduce.begin(
          {std::vector<bool>(4, kind != Kind::empty), false, static_cast<int64_t>(shared->committed()) - kept});
      for (int s = 0; s < 4 && kind != Kind::empty; ++s) {
        if (collective::owner_of(s, ranks, 4) != group.rank()) continue;
        float* out = reduce.partial();
        fill(out, arena, 7, s);
        std::fill_n(out + arena.floats(), optim::kBlock, 1.0F);
        if (s == 3 && kind == Kind::infinite_gradient) out[arena.extent(2).begin + 5] = INFINITY;
        if (s == 0 && kind == Kind::infinite_buffer) out[arena.floats() + 100] = NAN;
        reduce.put(s, {1, 1, 0, 0});
      }
      reduce.publish();
      reduce.exchange();
      StepTimes times;
      const bool finite = kind != Kind::empty && reduce.make(times);
      EXPECT_EQ(finite, kind == Kind::sound) << "rank " << group.rank();
      if (!finite) reduce.keep(times);
      kept += !finite;
      reduce.commit();
    }
    EXPECT_EQ(shared->committed(), kinds.size() + 1);
    ends[group.rank()] = shared->digest();
  });
  return ends;
}

TEST(AllReduce, AStepThatIsNotFiniteOrHasNoRowsLeavesTheStateAsItWas) {
  const auto expected = run_steps({Kind::sound, Kind::sound}, 1).front();
  for (const bool tcp : {false, true})
    for (const Kind kind : {Kind::infinite_gradient, Kind::infinite_buffer, Kind::empty})
      for (const Hash128& end : run_steps({Kind::sound, kind, kind, Kind::sound, kind}, 3, tcp))
        EXPECT_EQ(hex(end), hex(expected)) << static_cast<int>(kind) << " tcp " << tcp;
}

TEST(AllReduce, TcpDoesNotChangeTheBits) { expect_same({1}, {3, 12, true}); }

TEST(AllReduce, ClippingDoesNotChangeTheBits) {
  expect_same({1, 12, false, 0.5}, {4, 12, false, 0.5});
  expect_same({1, 12, false, 0.5}, {3, 12, true, 0.5});
  expect_same({1, 12, false, 0, 0.01}, {4, 12, false, 0, 0.01});
}

TEST(AllReduce, ClippingChangesTheResult) {
  EXPECT_NE(run({1})[0].digest, run({1, 12, false, 0.5})[0].digest);
  EXPECT_NE(run({1})[0].digest, run({1, 12, false, 0, 0.01})[0].digest);
}

TEST(AllReduce, RanksWithoutShardsTakePart) { expect_same({1, 2}, {4, 2}); }

TEST(AllReduce, OneShardIsTheShardItself) { expect_same({1, 1}, {1, 1}); }

TEST(AllReduce, StateIsNotTouchedBeforeTheFlip) {
  collective::testing::run_groups({}, [](collective::Group& group) {
    const auto arena = make_arena();
    const auto optimizer = optim::make_optimizer(adam(), arena, optim::best_isa());
    const auto shared = rejoin(group, {arena.floats(), 0, optimizer->state_buffers(), 0}, {});
    HostState& state = *shared;
    AllReduce reduce(group, arena, *optimizer, state, {1});
    group.arrive(collective::Phase::slices, 1);
    state.flip(1);
    const auto before = state.digest();
    reduce.begin({{true}});
    fill(reduce.partial(), arena, 1, 0);
    reduce.put(0, {1, 1, 0, 0});
    reduce.exchange();
    EXPECT_EQ(state.digest(), before);
  });
}

}  // namespace stoker::sync
