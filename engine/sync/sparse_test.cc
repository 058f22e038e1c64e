#include "sync/sparse.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace stoker::sync {
namespace {

std::vector<Entry> taken(std::vector<float>& vector, size_t count) {
  std::vector<Entry> entries(count);
  std::vector<float> room;
  take_largest(vector.data(), static_cast<int64_t>(vector.size()), entries, room);
  return entries;
}

std::vector<uint32_t> places(const std::vector<Entry>& entries) {
  std::vector<uint32_t> at;
  for (const Entry& e : entries) at.push_back(e.at);
  return at;
}

using Places = std::vector<uint32_t>;

}  // namespace

TEST(Sparse, TheLargestGoAndTheRestStays) {
  std::vector<float> vector = {1, -7, 0, 3, -3, 8};
  const auto found = taken(vector, 2);
  EXPECT_EQ(places(found), (Places{1, 5}));
  EXPECT_EQ(found[0].value, -7);
  EXPECT_EQ(vector, (std::vector<float>{1, 0, 0, 3, -3, 0}));
}

TEST(Sparse, OfEqualOnesTheFirstGo) {
  std::vector<float> vector = {2, -2, 2, 5, 2};
  EXPECT_EQ(places(taken(vector, 3)), (Places{0, 1, 3}));
  EXPECT_EQ(vector, (std::vector<float>{0, 0, 2, 0, 2}));
  std::vector<float> zeros(4);
  EXPECT_EQ(places(taken(zeros, 2)), (Places{0, 1}));
}

TEST(Sparse, AllAndNoneCanBeTaken) {
  std::vector<float> vector = {1, 2, 3};
  EXPECT_TRUE(taken(vector, 0).empty());
  EXPECT_EQ(places(taken(vector, 3)), (Places{0, 1, 2}));
  EXPECT_EQ(vector, std::vector<float>(3));
  std::vector<float> none;
  EXPECT_TRUE(taken(none, 0).empty());
}

TEST(Sparse, WhatIsNotFiniteGoesFirst) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  std::vector<float> vector = {3, nan, 1e30F, -inf, 5};
  EXPECT_EQ(places(taken(vector, 2)), (Places{1, 3}));
  EXPECT_EQ(vector, (std::vector<float>{3, 0, 1e30F, 0, 5}));
}

TEST(Sparse, EntriesAndTheRestAreTheVector) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> vector(5000);
  for (float& x : vector) x = normal(random);
  const auto whole = vector;
  const auto found = taken(vector, 321);
  float least = 1e9F, most = 0;
  for (const Entry& e : found) least = std::min(least, std::abs(e.value));
  for (const float x : vector) most = std::max(most, std::abs(x));
  EXPECT_GE(least, most);
  for (int64_t begin = 0; begin < 5000; begin += 700)
    add_entries(found, {begin, std::min<int64_t>(begin + 700, 5000)}, vector.data());
  EXPECT_EQ(vector, whole);
  add_entries({}, {0, 5000}, vector.data());
}

}  // namespace stoker::sync
