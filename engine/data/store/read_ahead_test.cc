#include "data/store/read_ahead.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <random>

#include "base/error.h"
#include "data/test_batch.h"

namespace stoker::data {
namespace {

namespace fs = std::filesystem;

constexpr int kRows = 3000;
constexpr int kSmall = 25, kLarge = 600;  // floats of a row: the small ones are dealt
constexpr int kStep = 100, kSlots = 2;

struct Case {
  size_t memory;
  int width = kSmall;
  bool encrypt = false;
};

std::vector<float> row(int i, int width) {
  std::vector<float> values(width, static_cast<float>(i));
  values.back() = 0.5f;
  return values;
}

std::string folder() {
  const auto path = fs::path(::testing::TempDir()) / ("read-ahead-" + std::to_string(::getpid()));
  fs::create_directory(path);
  return path;
}

/// That this process has open there.
std::vector<fs::path> files() {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (fs::read_symlink(entry, gone).string().starts_with(folder())) found.push_back(entry);
  }
  return found;
}

size_t open_files() { return files().size(); }

std::unique_ptr<ColumnStore> filled(const Case& how) {
  ColumnSpec spec;
  spec.name = "x";
  spec.shape = {how.width};
  StoreOptions options;
  options.memory = how.memory;
  options.spill.folders = {folder()};
  options.spill.encrypt = how.encrypt;
  auto store = std::make_unique<ColumnStore>(std::vector{spec}, std::vector{0}, 0, OnBadRow::error, options);
  std::vector<float> values;
  for (int i = 0; i < kRows; ++i) {
    const auto one = row(i, how.width);
    values.insert(values.end(), one.begin(), one.end());
  }
  const auto all =
      testing::batch(kRows, 0, testing::fixed_lists("x", how.width, kRows, testing::numbers("", "f", values)));
  store->append(all->array, all->schema);
  store->seal();
  return store;
}

class ReadAheadTest : public ::testing::TestWithParam<Case> {
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
        ASSERT_EQ(std::memcmp(found.base + i * store_->stride(),
                              row(static_cast<int>(wanted[i]), GetParam().width).data(), store_->stride()),
                  0);
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

INSTANTIATE_TEST_SUITE_P(Budgets, ReadAheadTest,
                         ::testing::Values(Case{1}, Case{10'000}, Case{60'000}, Case{250'000},
                                           Case{60'000, kSmall, true}, Case{10'000, kLarge}, Case{1'000'000, kLarge},
                                           Case{1'000'000, kLarge, true}));

std::vector<uint32_t> backwards() {
  std::vector<uint32_t> order(kRows);
  std::iota(order.rbegin(), order.rend(), 0u);
  return order;
}

/// Reads all steps of one slot, backwards; open files at the end.
size_t files_after_all(const Case& how) {
  const auto store = filled(how);
  const auto order = backwards();
  ReadAhead ahead(*store, kRows / kStep, 1,
                  [&](int64_t step, int) { return std::span(order).subspan(step * kStep, kStep); });
  for (int64_t step = 0; step < kRows / kStep; ++step) {
    float first;
    std::memcpy(&first, ahead.at(step, 0).base, sizeof first);
    EXPECT_EQ(first, static_cast<float>(kRows - 1 - step * kStep));
  }
  return open_files();
}

TEST(ReadAhead, SmallRowsAreDealtAndLargeOnesReadWhereTheyAre) {
  EXPECT_EQ(files_after_all({20'000, kSmall}), 2u);
  EXPECT_EQ(files_after_all({20'000, kLarge}), 1u);
}

TEST(ReadAhead, WithoutRoomForMoreRowsAreReadWhereTheyAre) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto store = filled({20'000});
  const rlimit small{1 << 20, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  const auto order = backwards();
  ReadAhead ahead(*store, 2, 1, [&](int64_t step, int) { return std::span(order).subspan(step * 1500, 1500); });
  for (int64_t step = 0; step < 2; ++step) {
    float first;
    std::memcpy(&first, ahead.at(step, 0).base, sizeof first);
    EXPECT_EQ(first, static_cast<float>(kRows - 1 - step * 1500));
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(open_files(), 1u);
}

TEST(ReadAhead, AFileThatCannotBeReadAnyMoreIsAnError) {
  for (const int width : {kSmall, kLarge}) {
    const auto store = filled({20'000, width});
    const auto order = backwards();
    ReadAhead ahead(*store, kRows / kStep, 1,
                    [&](int64_t step, int) { return std::span(order).subspan(step * kStep, kStep); });
    ahead.at(0, 0);
    for (const auto& file : files()) ASSERT_EQ(::truncate(file.c_str(), 0), 0);
    try {
      for (int64_t step = 0; step < kRows / kStep; ++step) ahead.at(step, 0);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::world);
      EXPECT_NE(std::string(error.what()).find("cannot read rows back from disk"), std::string::npos) << error.what();
    }
    for (int64_t step = kRows / kStep - 1; step > 20; --step) EXPECT_THROW(ahead.at(step, 0), Error) << step;
  }
}

TEST(ReadAhead, NoStepsNeedNoThread) {
  const auto store = filled({1000});
  ReadAhead ahead(*store, 0, 1, [](int64_t, int) { return std::span<const uint32_t>(); });
  ahead.stop();
}

}  // namespace
}  // namespace stoker::data
