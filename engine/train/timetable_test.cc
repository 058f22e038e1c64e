#include "train/timetable.h"

#include <gtest/gtest.h>

namespace stoker::train {

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

}  // namespace stoker::train
