#include "train/recorded.h"

#include <gtest/gtest.h>

#include <map>

namespace stoker::train {
namespace {

/// Three shards of 40, 40 and 6 rows in steps of 8: eleven steps of an epoch.
const data::Plan kPlan({40, 40, 6}, 8);
const Windows kWindows(kPlan, 2);

Recorded fit(int64_t bound = -1, bool may_stop = false) {
  const Timetable table{.steps = static_cast<uint64_t>(kPlan.steps()), .evaluates = may_stop, .every = 4, .epochs = 2};
  return {kWindows, table, {true, true, true}, bound, may_stop};
}

sync::Record in_turns(int64_t pushes) {
  sync::Record record;
  for (int64_t i = 0; i < pushes; ++i) record.push_back(static_cast<uint8_t>(i % 3));
  return record;
}

}  // namespace

TEST(Windows, GoThroughAllRowsOfAPass) {
  for (int shard = 0; shard < 3; ++shard) {
    std::map<int64_t, int> met;
    for (int64_t n = 0; n < 2 * kWindows.of_pass(shard); ++n)
      for (auto [step, end] = kWindows.at(shard, n); step < end; ++step)
        if (kPlan.rows(step % kPlan.steps(), shard).size() > 0) ++met[step];
    int64_t rows = 0;
    for (const auto& [step, times] : met) {
      EXPECT_EQ(times, 1) << step;
      rows += kPlan.rows(step % kPlan.steps(), shard).size();
    }
    EXPECT_EQ(rows, shard < 2 ? 80 : 12);
  }
}

TEST(Windows, WithoutRowsAreNone) {
  const Windows none(data::Plan({8, 0}, 4), 5);
  EXPECT_EQ(none.of_pass(0), 1);
  EXPECT_EQ(none.of_pass(1), 0);
  EXPECT_EQ(none.in(0, 2, 1), 0);
}

TEST(Recorded, RoundsHaveAllWindowsOfAnEpoch) {
  const Recorded it = fit();
  int64_t windows = 0;
  for (uint64_t done = 0; done < it.table.commits(); ++done) windows += windows_of_round(it, done);
  int64_t wanted = 0;
  for (int shard = 0; shard < 3; ++shard) wanted += kWindows.of_pass(shard);
  EXPECT_EQ(windows, wanted);
  EXPECT_EQ(pushes_of_fit(it), 2 * wanted);
}

TEST(Recorded, ARecordOfThisFitIsTaken) { EXPECT_EQ(refusal(in_turns(pushes_of_fit(fit())), fit()), ""); }

TEST(Recorded, ARecordOfAnotherFitIsRefused) {
  const int64_t pushes = pushes_of_fit(fit());
  EXPECT_NE(refusal(in_turns(pushes + 1), fit()).find("it is the order of another fit"), std::string::npos);
  EXPECT_EQ(refusal(in_turns(pushes - 1), fit()).find("ended early"), std::string::npos) << "in the middle of a round";
  sync::Record strange = in_turns(pushes);
  strange[3] = 9;
  EXPECT_NE(refusal(strange, fit()).find("a push of shard 9, and this fit has 3 shards"), std::string::npos);
}

TEST(Recorded, ARecordOfAFitThatEndedEarlyIsToldHow) {
  const int64_t first = windows_of_round(fit(), 0);
  EXPECT_NE(refusal(in_turns(first), fit()).find("then set maxSteps to 4"), std::string::npos);
  EXPECT_EQ(refusal(in_turns(first), fit(-1, true)), "") << "early stopping ends it again";
}

TEST(Recorded, ARecordIsHeldAgainstTheBound) {
  sync::Record record(static_cast<size_t>(pushes_of_fit(fit())), 0);
  EXPECT_NE(refusal(record, fit(2)).find("with push 4 shard 0 is further ahead of the slowest"), std::string::npos);
  EXPECT_EQ(refusal(record, fit()), "");
}

}  // namespace stoker::train
