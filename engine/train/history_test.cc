#include "train/history.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace stoker::train {

TEST(Report, ManyRanksTellTheDriverHardlyMoreThanFew) {
  for (const int ranks : {1, 2, 8}) EXPECT_EQ(report_every(ranks - 1, ranks), kReportEvery) << "each, once a second";
  EXPECT_EQ(report_every(0, 1000), kReportEvery);
  double a_second = 0;
  for (int rank = 0; rank < 1000; ++rank) a_second += 1 / report_every(rank, 1000);
  EXPECT_LE(a_second, 9.01);
}

TEST(Report, WhereEachStepIsToldOnlyTheFirstRankTells) {
  EXPECT_EQ(report_every(0, 8, 0), 0);
  EXPECT_EQ(report_every(1, 8, 0), kReportEvery);
}

TEST(History, LossIsOverTheDenominatorAndAccuracyOverWhatCounts) {
  History history(/*mean=*/true);
  history.begin_epoch({}, 0);
  history.end_epoch({.sums = {9, 3, 2, 3}, .steps = 2, .rows = 3}, 0);
  const auto epoch = history.to_json().at(0);
  EXPECT_EQ(epoch["loss"], 3);
  EXPECT_EQ(epoch["accuracy"], 2.0 / 3);
  EXPECT_EQ(epoch["rows"], 3);
  EXPECT_EQ(epoch["steps"], 2);
}

TEST(History, PlainSumsAreAveragedOverSteps) {
  History history(/*mean=*/false);
  history.begin_epoch({}, 0);
  history.end_epoch({.sums = {9, 0, 0, 0}, .steps = 2, .rows = 3}, 0);
  EXPECT_EQ(history.to_json().at(0)["loss"], 4.5);
  EXPECT_FALSE(history.to_json().at(0).contains("accuracy"));
}

TEST(History, EpochsDoNotLeakIntoEachOther) {
  History history(true);
  for (int epoch = 0; epoch < 2; ++epoch) {
    history.begin_epoch({}, 100 * epoch);
    history.end_epoch({.sums = {1.0 + epoch, 1, 0, 0}, .steps = 1, .rows = 4}, 100 * epoch + 30);
  }
  const auto epochs = history.to_json();
  EXPECT_EQ(epochs.at(1)["loss"], 2);
  EXPECT_EQ(epochs.at(1)["rows"], 4);
  EXPECT_EQ(epochs.at(1)["bytes_sent"], 30);
}

TEST(History, ProgressCountsStepsOfAllEpochs) {
  History history(true);
  history.begin_epoch({}, 0);
  history.end_epoch({}, 0);
  history.begin_epoch({}, 0);
  const auto line = nlohmann::json::parse(history.progress({.steps = 3}, 1, {.steps = 10, .epochs = 2}, 60));
  EXPECT_EQ(line["step"], 13);
  EXPECT_EQ(line["step_of_epoch"], 3);
  EXPECT_EQ(line["loss"], 0);
}

TEST(History, WhatACallbackToldIsAfterStepsNotCommits) {
  History history(true);
  history.begin_epoch({}, 0);
  const Timetable table{.steps = 10, .evaluates = true, .every = 4, .epochs = 2};  // four commits an epoch
  const auto line = nlohmann::json::parse(history.progress({.steps = 4}, 0, table, 0, {.rate = 0.1, .since = 5}));
  EXPECT_EQ(line["told_at"], 14);
  EXPECT_EQ(line["steps_of_commit"], 4);
  EXPECT_EQ(line["evaluates"], true);
  EXPECT_EQ(line["commits_of_leg"], 0);
  const Timetable legs{.steps = 10, .evaluates = true, .between = 3, .epochs = 2};  // 14 commits an epoch
  const auto more = nlohmann::json::parse(history.progress({.steps = 5}, 0, legs, 0, {.rate = 0.1, .since = 6}));
  EXPECT_EQ(more["told_at"], 5);
  EXPECT_EQ(more["commits_of_leg"], 3);
}

TEST(History, ProgressTellsTheSumsWhoseDifferencesAreTheLossesOfSteps) {
  History history(true);
  history.begin_epoch({}, 0);
  const auto line = nlohmann::json::parse(history.progress({.sums = {9, 3, 0, 0}, .steps = 2}, 0, {.steps = 10}, 2));
  EXPECT_EQ(line["loss_sum"], 9);
  EXPECT_EQ(line["loss_weight"], 3);
}

TEST(History, AnEpochWithoutStepsHasNoNaN) {
  History history(true);
  history.begin_epoch({}, 0);
  history.end_epoch({}, 0);
  EXPECT_EQ(history.to_json().at(0)["loss"], 0);
}

TEST(History, WhoComesLateTellsOfTheEpochsBefore) {
  History history(true);
  const sync::EpochTotals before[] = {{.sums = {4, 2, 0, 0}, .steps = 1, .rows = 2, .seconds = 3}};
  history.catch_up(before);
  history.catch_up(before);
  history.begin_epoch({.steps = 1, .seconds = 5}, 0);
  EXPECT_GE(history.seconds(), 5);
  history.end_epoch({.sums = {3, 1, 0, 0}, .steps = 2, .rows = 4}, 0);
  ASSERT_EQ(history.to_json().size(), 2u);
  EXPECT_EQ(history.to_json().at(0)["loss"], 2);
  EXPECT_EQ(history.to_json().at(0)["seconds"], 3);
  EXPECT_EQ(history.to_json().at(1)["epoch"], 2);
}

}  // namespace stoker::train
