#include "data/store/epoch_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>

#include "data/store/column_store.h"
#include "data/test_batch.h"

namespace stoker::data {
namespace {

constexpr int kRows = 10'000;  // more than the table of parts has entries

/// Rows of one i32 each, their number; a few of them in memory, the others on disk.
std::unique_ptr<ColumnStore> numbered(bool encrypt) {
  ColumnSpec spec;
  spec.name = "x";
  spec.dtype = DType::i32;
  StoreOptions options;
  options.memory = 161'000;
  options.spill = {{::testing::TempDir()}, encrypt};
  auto store = std::make_unique<ColumnStore>(std::vector{spec}, std::vector{0}, 0, OnBadRow::error, options);
  std::vector<int32_t> values(kRows);
  std::iota(values.begin(), values.end(), 0);
  const auto batch = testing::batch(kRows, 0, testing::numbers("x", "i", values));
  store->append(batch->array, batch->schema);
  store->seal();
  return store;
}

std::vector<int32_t> part(const EpochFile& file, size_t number, size_t rows) {
  std::vector<int32_t> values(rows, -1);
  Course course;
  file.read(number, reinterpret_cast<std::byte*>(values.data()), course);
  return values;
}

class EpochFileTest : public ::testing::TestWithParam<bool> {
 protected:
  EpochFileTest()
      : store_(numbered(GetParam())), file_({{::testing::TempDir()}, GetParam()}, store_->stride()), order_(kRows) {
    std::iota(order_.begin(), order_.end(), 0);
  }
  /// The first ends.back() rows of order_, in the parts told; the others are unused.
  void expect_dealt(const std::vector<int64_t>& ends, size_t spare = 0) {
    std::vector<uint32_t> place(kRows, EpochFile::kUnused);
    for (int64_t i = 0; i < ends.back(); ++i) place[order_[i]] = static_cast<uint32_t>(i);
    std::vector<std::byte> buffers(file_.least_bytes(ends.size()) + spare);
    Course course;
    file_.deal(*store_, place, ends, buffers, course);
    EXPECT_GT(course.moved, 0u);
    int64_t begin = 0;
    for (size_t p = 0; p < ends.size(); begin = ends[p++]) {
      const std::vector<int32_t> expected(order_.begin() + begin, order_.begin() + ends[p]);
      ASSERT_EQ(part(file_, p, expected.size()), expected) << "part " << p;
    }
  }
  std::unique_ptr<ColumnStore> store_;
  EpochFile file_;
  std::vector<int32_t> order_;
};

TEST_P(EpochFileTest, EachPartHasItsRowsByPlace) {
  ASSERT_TRUE(store_->on_disk());
  std::shuffle(order_.begin(), order_.end(), std::mt19937(1));
  expect_dealt({kRows});
  expect_dealt({1, 2, 400, kRows});
  expect_dealt({500, 500, 500, 700}, 12'345);
  expect_dealt({1});
}

TEST_P(EpochFileTest, MoreOfThemThanItsTableHasEntriesAreTold) {
  std::shuffle(order_.begin(), order_.end(), std::mt19937(2));
  std::vector<int64_t> ends(kRows);
  std::iota(ends.begin(), ends.end(), 1);
  expect_dealt(ends);
  for (int64_t& end : ends) end = (end + 1) / 2;
  expect_dealt(ends);
}

TEST_P(EpochFileTest, AnotherEpochTakesTheLastOnesPlace) {
  for (unsigned epoch = 0; epoch < 5; ++epoch) {
    std::shuffle(order_.begin(), order_.end(), std::mt19937(epoch));
    expect_dealt({300, 600, 900});
  }
}

TEST_P(EpochFileTest, OnceStoppedItEndsEarly) {
  std::vector<uint32_t> place(kRows);
  std::iota(place.begin(), place.end(), 0u);
  std::vector<std::byte> buffers(file_.least_bytes(1));
  Course course;
  course.stopped = true;
  file_.deal(*store_, place, {kRows}, buffers, course);
  EXPECT_EQ(course.moved, 0u);
}

INSTANTIATE_TEST_SUITE_P(Encrypted, EpochFileTest, ::testing::Bool());

}  // namespace
}  // namespace stoker::data
