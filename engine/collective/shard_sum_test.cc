#include "collective/shard_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>

#include "base/testing_bf16.h"
#include "collective/by_set.h"
#include "collective/testing.h"

namespace stoker::collective {
namespace {

using testing::World;

constexpr int kScalars = 3;
constexpr int64_t kBlock = 1024;

/// One shard's contribution to one step, the same wherever it is computed.
struct Contribution {
  std::vector<float> floats;
  std::vector<double> scalars;
};

Contribution contribution(int shard, uint64_t step, int64_t floats) {
  std::mt19937 random(static_cast<unsigned>(shard * 1000 + step));
  Contribution c{std::vector<float>(floats), std::vector<double>(kScalars)};
  // Magnitudes from 2^-40 to 2^40: each other order of addition gives other bits somewhere.
  for (float& f : c.floats) f = std::ldexp(static_cast<float>(random()) - 2e9f, static_cast<int>(random() % 80) - 72);
  for (double& d : c.scalars) d = std::ldexp(static_cast<double>(random()) - 2e9, static_cast<int>(random() % 80) - 72);
  return c;
}

template <typename T>
void round_first(std::vector<T>& values, int64_t rounded) {
  for (int64_t i = 0; i < std::min(rounded, static_cast<int64_t>(values.size())); ++i)
    values[i] = stoker::testing::nearest_bf16(static_cast<float>(values[i]));
}

/// The canonical tree, spelled out: vectors of absent shards are empty.
template <typename T>
std::vector<T> reference(Node node, const std::vector<std::vector<T>>& of, int64_t rounded = 0) {
  if (node.hi - node.lo == 1) {
    auto leaf = of[node.lo];
    round_first(leaf, rounded);
    return leaf;
  }
  auto left = reference<T>({node.lo, split(node)}, of, rounded);
  auto right = reference<T>({split(node), node.hi}, of, rounded);
  if (left.empty() || right.empty()) return left.empty() ? right : left;
  for (size_t i = 0; i < left.size(); ++i) left[i] += right[i];
  round_first(left, rounded);
  return left;
}

void code_and_decode(const ShardSumOptions& options, std::vector<float>& floats) {
  std::vector<std::byte> code(options.code.bytes(options.coded));
  encode(options.code, floats.data(), options.coded, code.data());
  decode(options.code, code.data(), options.coded, floats.data());
}

struct Expected {
  std::vector<float> floats;
  std::vector<double> totals;
};

Expected expected(uint64_t step, const ShardSet& present, const ShardSumOptions& options) {
  const int shards = static_cast<int>(present.size());
  std::vector<std::vector<float>> f(shards);
  std::vector<std::vector<double>> d(shards);
  for (int s = 0; s < shards; ++s)
    if (present[s]) {
      auto c = contribution(s, step, options.floats);
      if (options.code) code_and_decode(options, c.floats);
      f[s] = std::move(c.floats);
      d[s] = std::move(c.scalars);
    }
  return {reference<float>({0, shards}, f, options.rounded()), reference<double>({0, shards}, d)};
}

/// Which shards are present in a step: all, one only, and some.
ShardSet present_in(uint64_t step, int shards) {
  ShardSet present(shards, step % 3 == 0);
  present[(step * 5) % shards] = true;
  if (step % 3 == 2)
    for (int s = 0; s < shards; ++s) present[s] = present[s] || (s * 7 + step) % 3 == 0;
  return present;
}

void fill_mine(Group& group, ShardSum& sum, const ShardSumOptions& options, uint64_t step, const ShardSet& present) {
  const auto owners = options.owners.empty() ? even_owners(group.size(), options.shards) : options.owners;
  for (int s = 0; s < options.shards; ++s) {
    if (owners[s] != group.rank() || !present[s]) continue;
    const auto c = contribution(s, step, options.floats);
    std::ranges::copy(c.floats, sum.next());
    std::ranges::copy(c.scalars, sum.scalars(s).begin());
    sum.put(s);
  }
}

/// The same by a fold of my own.
void fill_together(Group& group, ShardSum& sum, const ShardSumOptions& options, uint64_t step) {
  const OwnFold fold = sum.own_fold();
  std::vector<std::vector<float>> stack;
  for (const auto& [shard, merges] : fold.steps) {
    auto c = contribution(shard, step, options.floats);
    std::ranges::copy(c.scalars, sum.scalars(shard).begin());
    round_first(c.floats, fold.rounded);
    for (int i = 0; i < merges; ++i, stack.pop_back()) {
      std::ranges::transform(stack.back(), c.floats, c.floats.begin(), std::plus());
      round_first(c.floats, fold.rounded);
    }
    stack.push_back(std::move(c.floats));
  }
  ASSERT_EQ(stack.size(), fold.partials.size()) << "rank " << group.rank();
  for (size_t i = 0; i < stack.size(); ++i) std::ranges::copy(stack[i], fold.partials[i]);
  sum.put_all();
}

template <typename T>
bool same_bits(const T* a, const T* b, int64_t n) {
  return std::memcmp(a, b, static_cast<size_t>(n) * sizeof(T)) == 0;
}

/// A step as the train loop runs it; the slices of a host's ranks must tile the vector.
void run_step(Group& group, ShardSum& sum, const ShardSumOptions& options, uint64_t step) {
  const ShardSet present = present_in(step, options.shards);
  sum.begin(step, present);
  const bool together = step % 2 == 1 && !options.code;
  together ? fill_together(group, sum, options, step) : fill_mine(group, sum, options, step, present);
  sum.exchange();
  const Expected want = expected(step, present, options);
  ASSERT_TRUE(same_bits(sum.totals().data(), want.totals.data(), kScalars)) << "totals of step " << step;
  const Range slice = sum.slice();
  for (Range r{slice.begin, 0}; r.begin < slice.end; r.begin = r.end) {
    r.end = std::min(slice.end, r.begin + 2 * kBlock);
    const float* got = sum.sum(r);
    ASSERT_TRUE(same_bits(got + r.begin, want.floats.data() + r.begin, r.size()))
        << "step " << step << " at " << r.begin;
  }
  group.arrive(Phase::slices, step);
  group.await(Phase::slices, step);
}

void run_world(const World& world, const ShardSumOptions& options, int steps) {
  std::atomic<int64_t> covered = 0;
  int hosts = 0;
  testing::run_groups(world, [&](Group& group) {
    if (group.rank() == 0) hosts = group.hosts();
    const auto sum = make_shard_sum(group, options);
    covered += sum->slice().end - sum->slice().begin;
    for (int step = 0; step < steps; ++step) run_step(group, *sum, options, step);
  });
  EXPECT_EQ(covered, hosts * options.floats) << "each host covers the whole vector once";
}

void run_world(const World& world, int shards, int64_t floats, int steps = 4, std::vector<int> owners = {}) {
  run_world(world, {shards, floats, kBlock, kScalars, std::move(owners)}, steps);
}

class Grid : public ::testing::TestWithParam<World> {};

TEST_P(Grid, SumsAreTheCanonicalTreesBits) {
  for (const int shards : {1, 2, 3, 4, 5, 7, 8, 11, 12})
    for (const int64_t blocks : {0, 1, 3, 7}) {
      SCOPED_TRACE(cat(GetParam().size, " ranks, ", shards, " shards, ", blocks, " blocks"));
      run_world(GetParam(), shards, blocks * kBlock);
    }
}

/// Whatever part of the vector is coded, and however slices and shards lie to it.
TEST_P(Grid, CodesAreAddedUpToTheSameBitsWhereverTheyCameFrom) {
  for (const int bits : {8, 4})
    for (const int shards : {1, 3, 7})
      for (const int64_t blocks : {0, 1, 7})
        for (const int64_t coded : {int64_t{0}, blocks / 2, blocks}) {
          SCOPED_TRACE(cat(GetParam().size, " ranks, ", bits, " bits, ", shards, " shards, ", coded, " of ", blocks));
          run_world(GetParam(), {shards, blocks * kBlock, kBlock, kScalars, {}, Code{bits}, coded * kBlock}, 4);
        }
}

TEST(ShardSum, CodesCostALinkTheirBitsForEachShardOnce) {
  constexpr int64_t kFloats = 64 * kBlock;
  for (const int bits : {8, 4}) {
    testing::run_groups({.size = 2, .force_tcp = true}, [&](Group& group) {
      const ShardSumOptions options{2, kFloats, kBlock, kScalars, {}, Code{bits}, kFloats};
      const auto sum = make_shard_sum(group, options);
      const uint64_t before = group.bytes_sent();
      run_step(group, *sum, options, 0);
      const double bytes = static_cast<double>(group.bytes_sent() - before);
      EXPECT_NEAR(bytes / static_cast<double>(Code{bits}.bytes(kFloats)), 1, 0.02);
    });
  }
}

TEST_P(Grid, RoundedSumsAreTheSameBitsWhicheverNodesTravel) {
  for (const int shards : {1, 3, 8})
    for (const int64_t blocks : {0, 1, 7})
      for (const int64_t rounded : {blocks / 2, blocks}) {
        SCOPED_TRACE(cat(GetParam().size, " ranks, ", shards, " shards, ", rounded, " of ", blocks));
        ShardSumOptions options{shards, blocks * kBlock, kBlock, kScalars, {}, {}, rounded * kBlock, true};
        run_world(GetParam(), options, 4);
        for (int s = 0; s < shards; ++s) options.owners.push_back(s * 7 % 5 % GetParam().size);
        run_world(GetParam(), options, 4);
      }
}

TEST(ShardSum, RoundedSumsOfManyPiecesEncryptedOrThroughTinyBuffers) {
  const ShardSumOptions options{7, 400 * kBlock, kBlock, kScalars, {}, {}, 301 * kBlock, true};
  run_world({.size = 2, .force_tcp = true}, options, 2);
  run_world({.size = 3, .force_tcp = true, .socket_buffer = 16384}, options, 2);
  run_world({.size = 5, .host_groups = {0, 0, 1, 1, 1}, .encrypted = true}, options, 2);
}

TEST(ShardSum, RoundedSumsCostALinkHalf) {
  const auto bytes = [](bool bf16, int64_t rounded) {
    std::atomic<uint64_t> sent = 0;
    testing::run_groups({.size = 4, .host_groups = {0, 0, 1, 1}}, [&](Group& group) {
      const ShardSumOptions options{8, 64 * kBlock, kBlock, kScalars, {}, {}, rounded * kBlock, bf16};
      const auto sum = make_shard_sum(group, options);
      const uint64_t before = group.bytes_sent();
      run_step(group, *sum, options, 0);
      sent += group.bytes_sent() - before;
    });
    return static_cast<double>(sent);
  };
  const double whole = bytes(false, 0);
  EXPECT_NEAR(bytes(true, 64) / whole, 0.5, 0.01);
  EXPECT_NEAR(bytes(true, 32) / whole, 0.75, 0.01) << "what is not rounded travels as it is";
}

TEST(ShardSum, WhatIsNotFiniteOrOverflowsStaysSoThroughRoundedSums) {
  const float most = std::numeric_limits<float>::max(), infinite = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const World& world : {World{.size = 1}, World{.size = 2}, World{.size = 2, .force_tcp = true}})
    testing::run_groups(world, [&](Group& group) {
      const auto sum = make_shard_sum(group, {2, 2 * kBlock, kBlock, 0, {}, {}, 2 * kBlock, true});
      sum->begin(0, {true, true});
      const auto owners = even_owners(group.size(), 2);
      for (int s = 0; s < 2; ++s) {
        if (owners[s] != group.rank()) continue;
        float* mine = sum->next();
        std::fill_n(mine, 2 * kBlock, 1.0F);
        mine[kBlock + 1] = s == 0 ? infinite : 1;
        mine[kBlock + 2] = s == 0 ? infinite : -infinite;
        mine[kBlock + 3] = s == 0 ? 1 : std::bit_cast<float>(0xff800001);  // whose upper half alone is infinite
        mine[4] = s == 0 ? most : 0;                                       // nearer to infinity than to what there is
        mine[5] = s == 0 ? most / 2 * 1.5F : most / 2;
        mine[6] = s == 0 ? nan : 0;
        sum->put(s);
      }
      sum->exchange();
      const Range slice = sum->slice();
      const float* got = sum->sum(slice);
      const auto holds = [&](int64_t i, auto test) {
        if (slice.begin <= i && i < slice.end) EXPECT_TRUE(test(got[i])) << i << ": " << got[i];
      };
      holds(0, [](float x) { return x == 2; });
      holds(kBlock + 1, [&](float x) { return x == infinite; });
      for (const int64_t i : {kBlock + 2, kBlock + 3, int64_t{6}}) holds(i, [](float x) { return std::isnan(x); });
      for (const int64_t i : {4, 5}) holds(i, [&](float x) { return x == infinite; });
      group.arrive(Phase::slices, 0);
      group.await(Phase::slices, 0);
    });
}

std::vector<World> worlds() {
  std::vector<World> all;
  for (int size = 1; size <= 5; ++size) all.push_back({.size = size});
  for (int size = 2; size <= 5; ++size) all.push_back({.size = size, .force_tcp = true});
  all.push_back({.size = 3, .host_groups = {0, 0, 1}});
  all.push_back({.size = 4, .host_groups = {0, 0, 1, 1}});
  all.push_back({.size = 4, .host_groups = {0, 1, 0, 1}});
  all.push_back({.size = 5, .host_groups = {0, 0, 1, 1, 1}});
  all.push_back({.size = 5, .host_groups = {2, 0, 1, 0, 2}});
  return all;
}

std::string world_name(const ::testing::TestParamInfo<World>& info) {
  std::string text = cat("w", info.param.size, info.param.force_tcp ? "tcp" : "");
  for (const int group : info.param.host_groups) text += cat(text.ends_with("tcp") ? "" : "_", group);
  return text;
}

INSTANTIATE_TEST_SUITE_P(Worlds, Grid, ::testing::ValuesIn(worlds()), world_name);

TEST(ShardSum, LargeFramesInBothDirectionsThroughTinyBuffersDoNotBlockEachOther) {
  run_world({.size = 3, .force_tcp = true, .socket_buffer = 16384}, 5, 300 * kBlock, 2);
  run_world({.size = 4, .host_groups = {0, 0, 1, 1}, .socket_buffer = 16384}, 5, 300 * kBlock, 2);
}

TEST(ShardSum, SlicesOfManyPiecesAreTheSameBitsHoweverManyPartialsOfAHostTheyAreMadeOf) {
  constexpr int64_t kFloats = 1024 * 400;  // a piece is a slice's 65,536
  const std::vector<World> all = {{.size = 2, .force_tcp = true},
                                  {.size = 3, .force_tcp = true, .socket_buffer = 16384},
                                  {.size = 4, .host_groups = {0, 1, 0, 1}},
                                  {.size = 5, .host_groups = {0, 0, 1, 1, 1}, .encrypted = true}};
  for (const World& world : all)
    for (const int shards : {2, 7}) {
      std::vector<int> owners;
      for (int s = 0; s < shards; ++s) owners.push_back(s * 7 % 5 % world.size);
      run_world(world, shards, kFloats, 2, owners);
    }
}

TEST_P(Grid, WhoOwnsWhichShardChangesNothing) {
  const int size = GetParam().size;
  const auto scattered = [size](int s) { return s * 7 % 5 % size; };
  for (const auto& owner : std::vector<std::function<int(int)>>{scattered, [&](int) { return size - 1; }}) {
    std::vector<int> owners;
    for (int s = 0; s < 11; ++s) owners.push_back(owner(s));
    run_world(GetParam(), 11, 3 * kBlock, 4, owners);
  }
}

TEST(ShardSum, MoreSetsOfPresentShardsThanAreKeptComeAgainWithTheSameBits) {
  constexpr int kShards = 37;
  ASSERT_GT(3 * kShards, static_cast<int>(BySet<int>::kMost)) << "present_in() has so many sets";
  for (const bool tcp : {false, true}) run_world({.size = 2, .force_tcp = tcp}, kShards, kBlock, 7 * kShards);
}

TEST(BySet, AValueIsMadeOnceForEachSetUpToABound) {
  BySet<int> values;
  int made = 0;
  const auto ask = [&](size_t number) {
    ShardSet set(16);
    for (size_t bit = 0; bit < set.size(); ++bit) set[bit] = (number >> bit) % 2 == 1;
    return values.at(set, [&] { return ++made, static_cast<int>(number); });
  };
  constexpr auto kMost = BySet<int>::kMost;
  for (int epoch = 0; epoch < 3; ++epoch)
    for (size_t number = 0; number < kMost; ++number) ASSERT_EQ(ask(number), static_cast<int>(number));
  EXPECT_EQ(made, static_cast<int>(kMost));
  for (const size_t further : {kMost + 1, kMost + 2, kMost + 1}) EXPECT_EQ(ask(further), static_cast<int>(further));
  EXPECT_EQ(made, static_cast<int>(kMost) + 3) << "what comes later does not drive out what is kept";
}

TEST(ShardSum, FewerShardsThanRanks) { run_world({.size = 5, .host_groups = {0, 0, 1, 1, 1}}, 2, 2 * kBlock); }

TEST(ShardSum, AStepWithoutAnyShardSumsToZeroAndDoesNotHang) {
  for (const bool tcp : {false, true})
    testing::run_groups({.size = 2, .force_tcp = tcp}, [](Group& group) {
      const auto sum = make_shard_sum(group, {2, 2 * kBlock, kBlock, 1});
      sum->begin(0, {false, false});
      sum->exchange();
      EXPECT_EQ(sum->totals(), std::vector<double>{0});
      EXPECT_EQ(sum->sum(sum->slice())[sum->slice().begin], 0.0f);
    });
}

TEST(ShardSum, OnePartialIsHandedOutWithoutACopy) {
  testing::run_groups({.size = 1}, [](Group& group) {
    const auto sum = make_shard_sum(group, {2, kBlock, kBlock, 0});
    sum->begin(0, {true, true});
    float* first = sum->next();
    std::fill_n(first, kBlock, 1.0f);
    sum->put(0);
    std::fill_n(sum->next(), kBlock, 2.0f);
    sum->put(1);
    sum->exchange();
    EXPECT_EQ(sum->sum({0, kBlock}), first);
    EXPECT_EQ(first[7], 3.0f);
  });
}

TEST(ShardSum, BeginBeforeTheHostHasPassedTheLastStepIsABug) {
  testing::run_groups({.size = 2}, [](Group& group) {
    const auto sum = make_shard_sum(group, {2, kBlock, kBlock, 0});
    const ShardSet none = {false, false};
    sum->begin(0, none);
    sum->exchange();
    EXPECT_THROW(sum->begin(1, none), Error);
    group.arrive(Phase::slices, 0);
    group.await(Phase::slices, 0);
    sum->begin(1, none);
  });
}

TEST(ShardSum, ShardsPutInAnotherOrderAreABug) {
  testing::run_groups({.size = 1}, [](Group& group) {
    const auto sum = make_shard_sum(group, {3, kBlock, kBlock, 0});
    sum->begin(0, {true, false, true});
    EXPECT_THROW(sum->put(1), Error);
    sum->put(0);
    EXPECT_THROW(sum->exchange(), Error);
  });
}

}  // namespace
}  // namespace stoker::collective
