#include "sync/turn_order.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"

namespace stoker::sync {
namespace {

int next(std::vector<int64_t> pushes, std::vector<int> mine, int64_t bound = -1, int64_t left = 1) {
  const std::vector<bool> present(pushes.size(), true);
  return next_by_arrival({pushes, present, left, bound}, mine);
}

}  // namespace

TEST(TurnOrder, TheReplicaThatIsBehindRunsNext) {
  EXPECT_EQ(next({3, 1, 1, 0}, {0, 1, 2}), 1);
  EXPECT_EQ(next({3, 1, 1, 0}, {0}), 0);
  EXPECT_EQ(next({3, 1, 1, 0}, {}), kNobody);
  EXPECT_EQ(next({3, 1, 1, 0}, {0, 1}, -1, 0), kNobody) << "the round has no windows left";
}

TEST(TurnOrder, WhoeverIsBeyondTheBoundWaits) {
  EXPECT_EQ(next({3, 1}, {0}, 2), 0);
  EXPECT_EQ(next({4, 1}, {0}, 2), kLater);
  EXPECT_EQ(next({4, 1}, {0, 1}, 2), 1) << "the slowest never does";
  EXPECT_EQ(next({0, 0}, {0}, 0), 0);
  EXPECT_EQ(next({1, 0}, {0}, 0), kLater);
}

TEST(TurnOrder, TheLargestBoundIsNone) {
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  const std::vector<int64_t> pushes{4, 1};
  EXPECT_EQ(next_by_arrival({pushes, {true, true}, 1, kLargest}, std::vector<int>{0}), 0);
  EXPECT_EQ(first_beyond(Record{1, 0, 0}, {true, true}, kLargest), 3);
}

TEST(TurnOrder, ReplicasWithoutRowsHoldNobody) {
  const std::vector<int64_t> pushes{4, 0};
  const std::vector<int> mine{0, 1};
  EXPECT_EQ(next_by_arrival({pushes, {true, false}, 1, 0}, mine), 0);
  EXPECT_EQ(next_by_arrival({pushes, {false, false}, 1, 0}, mine), kNobody);
}

TEST(TurnOrder, ARecordGivesTheNextOfMine) {
  const Record record{0, 2, 2, 1, 0};
  EXPECT_EQ(next_by_record(record, 0, std::vector<int>{1, 2}), 1);
  EXPECT_EQ(next_by_record(record, 2, std::vector<int>{1, 2}), 2);
  EXPECT_EQ(next_by_record(record, 4, std::vector<int>{1, 2}), 5);
  EXPECT_EQ(next_by_record({}, 0, std::vector<int>{0}), 0);
}

TEST(TurnOrder, WhatABoundDoesNotAllowIsFound) {
  EXPECT_EQ(first_beyond(Record{0, 0, 0, 1}, {true, true}, 2), 4);
  EXPECT_EQ(first_beyond(Record{0, 0, 0, 1}, {true, true}, 1), 2);
  EXPECT_EQ(first_beyond(Record{0, 0, 0}, {true, false}, 0), 3);
}

TEST(TurnOrder, ARecordIsAText) {
  const Record record{0, 10, 255, 16};
  EXPECT_EQ(to_text(record), "000aff10");
  EXPECT_EQ(record_of(to_text(record)), record);
  EXPECT_EQ(record_of(""), Record());
  for (const auto* wrong : {"0", "0g", "g0", "00 1", "-1"}) EXPECT_THROW(record_of(wrong), Error) << wrong;
}

}  // namespace stoker::sync
