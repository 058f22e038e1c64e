#include "checkpoint/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace stoker::checkpoint {
namespace {

constexpr TimePoint kStart{};

/// The steps after which one is made, of 30 with 10 an epoch and one a second, where those of `missed` cannot.
std::vector<int64_t> made(Interval interval, int64_t from = 0, const std::vector<int64_t>& missed = {}) {
  Schedule schedule(interval, 10, from, kStart + from_seconds(static_cast<double>(from)));
  std::vector<int64_t> steps;
  for (int64_t done = from + 1; done <= 30; ++done) {
    const auto now = kStart + from_seconds(static_cast<double>(done));
    if (!schedule.due(done, now) || std::ranges::find(missed, done) != missed.end()) continue;
    schedule.made(done, now);
    steps.push_back(done);
  }
  return steps;
}

using Steps = std::vector<int64_t>;

}  // namespace

TEST(Schedule, StepsAndEpochsAreCountedFromTheBeginningOfTheFit) {
  EXPECT_EQ(made({7, Unit::steps}), (Steps{7, 14, 21, 28}));
  EXPECT_EQ(made({7, Unit::steps}, 13), (Steps{14, 21, 28}));
  EXPECT_EQ(made({7, Unit::steps}, 14), (Steps{21, 28}));
  EXPECT_EQ(made({1, Unit::epochs}), (Steps{10, 20, 30}));
  EXPECT_EQ(made({2, Unit::epochs}, 5), (Steps{20}));
}

TEST(Schedule, SecondsAreCountedFromTheLastOne) {
  EXPECT_EQ(made({8, Unit::seconds}), (Steps{8, 16, 24}));
  EXPECT_EQ(made({8, Unit::seconds}, 3), (Steps{11, 19, 27}));
}

TEST(Schedule, OneThatCouldNotBeMadeStaysDue) {
  EXPECT_EQ(made({7, Unit::steps}, 0, {14, 15}), (Steps{7, 16, 21, 28}));
  EXPECT_EQ(made({1, Unit::epochs}, 0, {10}), (Steps{11, 20, 30}));
  EXPECT_EQ(made({8, Unit::seconds}, 0, {16}), (Steps{8, 17, 25}));
}

TEST(Schedule, AnEpochWithoutStepsIsNeverDue) {
  EXPECT_FALSE(Schedule({1, Unit::epochs}, 0, 0, kStart).due(0, kStart));
}

TEST(Schedule, UnitsHaveNames) {
  EXPECT_EQ(parse_unit("seconds"), Unit::seconds);
  EXPECT_THROW(parse_unit("hours"), Error);
}

}  // namespace stoker::checkpoint
