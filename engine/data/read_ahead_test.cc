#include "data/read_ahead.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "base/error.h"
#include "data/test_batch.h"

namespace stoker::data {
namespace {

constexpr int kRows = 3000;
constexpr int kWidth = 25;  // floats: 100 bytes a row
constexpr int kStep = 100, kSlots = 2;

std::vector<float> row(int i) {
  std::vector<float> values(kWidth, static_cast<float>(i));
  values.back() = 0.5f;
  return values;
}

std::unique_ptr<ColumnStore> filled(size_t memory) {
  ColumnSpec spec;
  spec.name = "x";
  spec.shape = {kWidth};
  StoreOptions options;
  options.memory = memory;
  options.spill.folders = {::testing::TempDir()};
  auto store = std::make_unique<ColumnStore>(std::vector{spec}, std::vector{0}, 0, OnBadRow::error, options);
  std::vector<float> values;
  for (int i = 0; i < kRows; ++i) {
    const auto one = row(i);
    values.insert(values.end(), one.begin(), one.end());
  }
  const auto all =
      testing::batch(kRows, 0, testing::fixed_lists("x", kWidth, kRows, testing::numbers("", "f", values)));
  store->append(all->array, all->schema);
  store->seal();
  return store;
}

class ReadAheadTest : public ::testing::TestWithParam<size_t> {
 protected:
  ReadAheadTest() : store_(filled(GetParam())), order_(kRows) {
    std::iota(order_.begin(), order_.end(), 0u);
    std::shuffle(order_.begin(), order_.end(), std::mt19937(3));
  }
  /// Slot 0 has 60 rows of each step, slot 1 the other 40.
  std::span<const uint32_t> rows(int64_t step, int slot) const {
    return std::span(order_).subspan(step * kStep + 60 * slot, slot == 0 ? 60 : 40);
  }
  ReadAhead reader() {
    return {*store_, kRows / kStep, kSlots, [this](int64_t step, int slot) { return rows(step, slot); }};
  }
  void expect_step(ReadAhead& ahead, int64_t step) {
    for (int slot = 0; slot < kSlots; ++slot) {
      const auto wanted = rows(step, slot);
      const RowsAt found = ahead.at(step, slot);
      ASSERT_EQ(found.count, static_cast<int64_t>(wanted.size()));
      for (size_t i = 0; i < wanted.size(); ++i)
        ASSERT_EQ(std::memcmp(found.base + i * store_->stride(), row(static_cast<int>(wanted[i])).data(), 100), 0);
    }
  }
  std::unique_ptr<ColumnStore> store_;
  std::vector<uint32_t> order_;
};

TEST_P(ReadAheadTest, StepsComeInOrder) {
  ReadAhead ahead = reader();
  for (int64_t step = 0; step < kRows / kStep; ++step) expect_step(ahead, step);
}

TEST_P(ReadAheadTest, AnyStepMayBeTheNext) {
  ReadAhead ahead = reader();
  for (const int64_t step : {17, 3, 4, 29, 0, 0, 1}) expect_step(ahead, step);
}

TEST_P(ReadAheadTest, AStopForgetsWhatWasRead) {
  ReadAhead ahead = reader();
  expect_step(ahead, 0);
  ahead.stop();
  std::reverse(order_.begin(), order_.end());
  for (int64_t step = 0; step < kRows / kStep; ++step) expect_step(ahead, step);
}

TEST_P(ReadAheadTest, AnInterruptIsForGood) {
  ReadAhead ahead = reader();
  expect_step(ahead, 0);
  ahead.interrupt();
  for (const int64_t step : {0, 20}) {
    EXPECT_THROW(ahead.at(step, 0), Error);
    ahead.stop();
  }
}

INSTANTIATE_TEST_SUITE_P(Budgets, ReadAheadTest, ::testing::Values(1, 10'000, 60'000, 250'000));

TEST(ReadAhead, NoStepsNeedNoThread) {
  const auto store = filled(1000);
  ReadAhead ahead(*store, 0, 1, [](int64_t, int) { return std::span<const uint32_t>(); });
  ahead.stop();
}

}  // namespace
}  // namespace stoker::data
