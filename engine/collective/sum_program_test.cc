#include "collective/sum_program.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "base/error.h"

namespace stoker::collective {
namespace {

constexpr int64_t kFloats = 2048 + 48;

struct alignas(64) Vector {
  float floats[kFloats];
};

/// Values from 1e-30 to 1e30, so that every other order of addition shows.
std::vector<Vector> random_vectors(int n) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> mantissa(-1, 1);
  std::uniform_int_distribution<int> exponent(-100, 100);
  std::vector<Vector> vectors(n);
  for (Vector& v : vectors)
    for (float& f : v.floats) f = std::ldexp(mantissa(random), exponent(random));
  return vectors;
}

/// The canonical tree, spelled out for one element.
float reference(Node node, const std::vector<Vector>& vectors, int64_t i) {
  if (node.hi - node.lo == 1) return vectors[node.lo].floats[i];
  return reference({node.lo, split(node)}, vectors, i) + reference({split(node), node.hi}, vectors, i);
}

std::vector<Node> leaves(int shards) {
  std::vector<Node> nodes;
  for (int s = 0; s < shards; ++s) nodes.push_back({s, s + 1});
  return nodes;
}

TEST(SumProgram, AddsEveryNumberOfLeavesInTreeOrder) {
  for (int shards = 1; shards <= 40; ++shards) {
    const auto vectors = random_vectors(shards);
    std::vector<Source> sources;
    for (const Vector& v : vectors) sources.push_back({v.floats, 0});
    Vector out{};
    SumProgram program({0, shards}, leaves(shards));
    program.run(sources, {16, kFloats}, {{out.floats}});
    EXPECT_EQ(out.floats[15], 0);
    for (int64_t i = 16; i < kFloats; ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(out.floats[i]), std::bit_cast<uint32_t>(reference({0, shards}, vectors, i)))
          << shards << " shards, element " << i;
  }
}

TEST(SumProgram, UpToFourTermsAreOnePass) {
  for (int shards = 2; shards <= 4; ++shards)
    EXPECT_EQ(SumProgram({0, shards}, leaves(shards)).instructions().size(), 1u);
  EXPECT_EQ(SumProgram({0, 12}, {{0, 2}, {2, 4}, {4, 8}, {8, 12}}).instructions().size(), 1u);
}

TEST(SumProgram, OutMayBeASourceAndThereMayBeSeveral) {
  auto vectors = random_vectors(6);
  const auto before = vectors;
  std::vector<Source> sources;
  std::vector<float*> outs;
  for (Vector& v : vectors) sources.push_back({v.floats, 0}), outs.push_back(v.floats);
  SumProgram({0, 6}, leaves(6)).run(sources, {0, kFloats}, outs);
  for (const Vector& v : vectors)
    for (int64_t i = 0; i < kFloats; ++i) ASSERT_EQ(v.floats[i], reference({0, 6}, before, i));
}

TEST(SumProgram, NothingIsZeroAndOneIsACopy) {
  const auto vectors = random_vectors(1);
  Vector out = vectors[0];
  SumProgram({0, 5}, {}).run({}, {0, kFloats}, {{out.floats}});
  EXPECT_EQ(out.floats[kFloats - 1], 0);
  const Source part{vectors[0].floats + 16, 16};
  SumProgram({0, 5}, {{3, 4}}).run({&part, 1}, {16, 32}, {{out.floats}});
  EXPECT_EQ(out.floats[20], vectors[0].floats[20]);
}

TEST(SumProgram, LeavesOutsideTheTreeAreABug) {
  const std::vector<Node> foreign = {{1, 3}};
  EXPECT_THROW(SumProgram({0, 4}, foreign), Error);
}

}  // namespace
}  // namespace stoker::collective
