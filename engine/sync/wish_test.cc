#include "sync/wish.h"

#include <gtest/gtest.h>

namespace stoker::sync {

TEST(Wish, ARateCountsFromTheStepInWhichItIsHeard) {
  const Told told = told_after({}, {.number = 1, .rate = 0.5}, 7);
  EXPECT_EQ(told.rate, 0.5);
  EXPECT_EQ(told.since, 7u);
  EXPECT_EQ(told.stop, 0u);
}

TEST(Wish, OneThatWasHeardSaysNothingMore) {
  const Told once = told_after({}, {.number = 1, .rate = 0.5}, 7);
  EXPECT_EQ(told_after(once, {.number = 1, .rate = 0.25}, 8).rate, 0.5);
  EXPECT_EQ(told_after(once, {.number = 2, .rate = 0.5}, 8).since, 7u) << "the rate is that one already";
  EXPECT_EQ(told_after(once, {}, 8).rate, 0.5) << "nobody spoke";
}

TEST(Wish, AStopCountsOneStepLaterAndOnlyTheFirst) {
  const Told told = told_after({}, {.number = 1, .stop = Stop::asked}, 7);
  EXPECT_EQ(told.stop, 8u);
  EXPECT_EQ(told_after(told, {.number = 2, .stop = Stop::time}, 8).stop, 8u);
  EXPECT_EQ(told_after(told, {.number = 2, .stop = Stop::time}, 8).why, Stop::asked);
}

TEST(Wish, TimeThatIsOverNeedsNoNumber) { EXPECT_EQ(told_after({}, {.stop = Stop::time}, 3).why, Stop::time); }

}  // namespace stoker::sync
