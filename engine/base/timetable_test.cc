#include "base/timetable.h"

#include <gtest/gtest.h>

namespace stoker {

TEST(Timetable, EpochsEndOnCommitsThoughRoundsDoNotDivideThem) {
  for (const bool evaluates : {false, true})
    for (const uint64_t steps : {1, 2, 7, 10})
      for (const uint64_t every : {1, 3, 7, 100}) {
        const Timetable table{steps, evaluates, every};
        uint64_t done = 0;
        for (uint64_t epoch = 0; epoch < 3; ++epoch) {
          for (uint64_t step = 0; step < steps; ++done) {
            EXPECT_EQ(table.epoch(done), epoch);
            EXPECT_EQ(table.step(done), step);
            EXPECT_FALSE(table.at_evaluation(done));
            step += table.next_steps(done);
            EXPECT_LE(step, steps);
          }
          if (!evaluates) continue;
          EXPECT_TRUE(table.at_evaluation(done));
          EXPECT_EQ(table.epoch(done), epoch);
          EXPECT_EQ(table.step(done++), steps);
        }
        EXPECT_EQ(done, 3 * table.commits());
      }
}

TEST(Timetable, LegsOfAnEpochAreEvaluated) {
  for (const uint64_t steps : {1, 2, 7, 10})
    for (const uint64_t every : {1, 3, 100})
      for (const uint64_t between : {1, 2, 3, 7, 50}) {
        const Timetable table{.steps = steps, .evaluates = true, .every = every, .between = between, .epochs = 3};
        uint64_t done = 0, evaluations = 0, all = 0;
        for (uint64_t epoch = 0; epoch < 3; ++epoch) {
          uint64_t rounds = 0, step = 0;
          while (step < steps || !table.has_evaluated(done)) {
            ASSERT_FALSE(table.is_over(done));
            ASSERT_EQ(table.epoch(done), epoch);
            ASSERT_EQ(table.step(done), step);
            ASSERT_EQ(table.evaluations(done), evaluations);
            if (rounds == between || step == steps) {
              ASSERT_TRUE(table.at_evaluation(done));
              ASSERT_EQ(table.steps_before_evaluation(evaluations), all + step);
              ++evaluations, rounds = 0;
            } else {
              ASSERT_FALSE(table.at_evaluation(done));
              step += table.next_steps(done);
              ++rounds;
            }
            ++done;
          }
          all += steps;
        }
        ASSERT_TRUE(table.is_over(done));
        ASSERT_EQ(evaluations, 3 * table.legs());
      }
}

TEST(Timetable, AStopInALegIsNotEvaluatedAndOneAtItsEndIs) {
  const auto evaluated = [](uint64_t limit) {
    const Timetable table{.steps = 9, .evaluates = true, .between = 3, .epochs = 2, .limit = limit};
    uint64_t done = 0;
    while (!table.is_over(done)) ++done;
    return table.evaluations(done);
  };
  EXPECT_EQ(evaluated(2), 0);
  EXPECT_EQ(evaluated(3), 1);
  EXPECT_EQ(evaluated(14), 4);
}

TEST(Timetable, AFitEndsWithItsEpochs) {
  const Timetable table{.steps = 3, .evaluates = true, .epochs = 2};
  EXPECT_FALSE(table.is_over(7));
  EXPECT_TRUE(table.is_over(8));
}

TEST(Timetable, ALimitOfStepsCutsAnEpochAndTheWholeOneIsEvaluated) {
  for (const uint64_t limit : {1, 2, 3, 4, 5}) {
    const Timetable table{.steps = 3, .evaluates = true, .epochs = 9, .limit = limit};
    uint64_t done = 0, steps = 0, evaluations = 0;
    for (; !table.is_over(done); ++done) table.at_evaluation(done) ? ++evaluations : steps += table.next_steps(done);
    EXPECT_EQ(steps, limit);
    EXPECT_EQ(evaluations, limit / 3);
  }
}

TEST(Timetable, RoundsOfALimitAreWhole) {
  const Timetable table{.steps = 10, .every = 4, .epochs = 9, .limit = 13};
  uint64_t done = 0;
  while (!table.is_over(done)) ++done;
  EXPECT_EQ(table.steps_done(done), 14);
}

TEST(Timetable, AStopWaitsForTheEvaluationOfAWholeEpoch) {
  const auto over_at = [](uint64_t stop) {
    const Timetable table{.steps = 3, .evaluates = true, .epochs = 9, .stop = stop};
    uint64_t done = 0;
    while (!table.is_over(done)) ++done;
    return done;
  };
  EXPECT_EQ(over_at(2), 2);
  EXPECT_EQ(over_at(3), 4) << "the epoch has its steps";
  EXPECT_EQ(over_at(4), 4);
  EXPECT_EQ(over_at(36), 36);
  EXPECT_EQ(over_at(100), 36);
}

}  // namespace stoker
