#include "train/groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "train/collected.h"

namespace stoker::train {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
const std::vector<GroupMetric> kAll = {*group_metric("ndcg_score"), *group_metric("ndcg_score_2"),
                                       *group_metric("hit_rate_2")};

std::vector<double> values(std::vector<Grouped> rows) {
  std::ranges::sort(rows, precedes);
  return of_groups({rows}, kAll);
}

double discount(int place) { return 1 / std::log2(place + 2.0); }

/// Groups of several sizes, with ties and weights whose sum depends on the order.
std::vector<Grouped> drawn(int rows) {
  std::mt19937 random(5);
  std::vector<Grouped> out;
  for (int i = 0; i < rows; ++i)
    out.push_back({static_cast<int64_t>(random() % 40) - 20, static_cast<double>(random() % 6),
                   static_cast<double>(random() % 4), std::ldexp(random() % 100 + 1.0, random() % 40 - 20)});
  return out;
}

}  // namespace

TEST(Groups, AGroupsGainsAreThoseOfItsPlaces) {
  const auto found = values({{7, 0.9, 0, 1}, {7, 0.5, 3, 1}, {7, 0.1, 1, 1}});
  EXPECT_DOUBLE_EQ(found[0], (3 * discount(1) + 1 * discount(2)) / (3 * discount(0) + 1 * discount(1)));
  EXPECT_DOUBLE_EQ(found[1], 3 * discount(1) / (3 * discount(0) + 1 * discount(1)));
  EXPECT_EQ(found[2], 1);
}

TEST(Groups, TiesAreTheMeanOverTheirOrders) {
  const auto found = values({{7, 0.5, 0, 1}, {7, 0.5, 2, 1}, {7, 0.5, 0, 1}});
  EXPECT_DOUBLE_EQ(found[1], (discount(0) + discount(1)) / 3);
  EXPECT_DOUBLE_EQ(found[2], 2.0 / 3);
}

TEST(Groups, EachWeighsWhatItsRowsWeighOnTheMean) {
  const auto found = values({{1, 0.5, 1, 3}, {2, 0.9, 0, 1}, {2, 0.5, 0, 1}});
  for (const double each : found) EXPECT_DOUBLE_EQ(each, 0.75);
}

TEST(Groups, CutsBetweenRowsAndTheirOrderDoNotChangeTheBits) {
  auto rows = drawn(500);
  const auto whole = values(rows);
  std::ranges::shuffle(rows, std::mt19937(1));
  const std::span all(rows);
  for (const size_t cut : {0, 1, 250, 499, 500}) {
    const Bytes a = packed({{}, {rows.begin(), rows.begin() + cut}}, 0);
    const Bytes b = packed({{}, {rows.begin() + cut, rows.end()}}, 0);
    EXPECT_EQ(of_groups(gathered({a, {}, b}, 0).grouped, kAll), whole) << cut;
  }
}

TEST(Groups, WhatIsNoNumberHasNoValue) {
  for (const double each : values({{1, kNaN, 1, 1}, {1, 0.5, 0, 1}})) EXPECT_TRUE(std::isnan(each));
  const auto negative = values({{1, 0.7, -1, 1}, {1, 0.5, 1, 1}});
  EXPECT_TRUE(std::isnan(negative[0]));
  EXPECT_EQ(negative[2], 1);
  for (const double each : values({{1, 0.7, 1, 0}})) EXPECT_TRUE(std::isnan(each));
  for (const double each : values({})) EXPECT_TRUE(std::isnan(each));
}

TEST(Groups, NamesSayHowManyRowsCount) {
  EXPECT_EQ(group_metric("ndcg_score")->first, 0);
  EXPECT_EQ(group_metric("ndcg_score_10")->first, 10);
  EXPECT_EQ(group_metric("hit_rate_1")->kind, GroupMetric::Kind::hit_rate);
  for (const char* name : {"hit_rate", "hit_rate_0", "ndcg_score_1x", "ndcg", "accuracy"})
    EXPECT_FALSE(group_metric(name)) << name;
}

TEST(Collected, ScoredAndGroupedRowsTravelTogether) {
  const Collected rows{{{0.5, 1, 1}, {0.7, 1, 0}}, {{2, 0.5, 1, 1}, {1, 0.7, 0, 1}}};
  const Bytes bytes = packed(rows, 1);
  EXPECT_EQ(bytes.size(), packed_bytes(2 * sizeof(Scored) + 2 * sizeof(Grouped)));
  const auto found = gathered({bytes}, 1);
  EXPECT_EQ(found.scored.at(0).at(0).front().score, 0.7);
  EXPECT_EQ(found.grouped.at(0).front().group, 1);
}

TEST(Collected, BytesOfSomethingElseAreRefused) {
  const Bytes none(3), many(64, std::byte{255});
  EXPECT_ANY_THROW(gathered({none}, 1));
  EXPECT_ANY_THROW(gathered({many}, 1));
}

}  // namespace stoker::train
