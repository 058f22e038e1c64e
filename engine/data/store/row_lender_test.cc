#include "data/store/row_lender.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <future>

#include "data/store/lent_rows.h"
#include "data/test_batch.h"

namespace stoker::data {
namespace {

std::unique_ptr<ColumnStore> filled(int rows, size_t memory = StoreOptions().memory) {
  ColumnSpec spec;
  spec.name = spec.shown = "x";
  spec.dtype = DType::f32;
  auto store = std::make_unique<ColumnStore>(std::vector{spec}, std::vector{4}, 0, OnBadRow::error,
                                             StoreOptions{memory, {.folders = {"/tmp"}}});
  std::vector<float> values;
  for (int i = 0; i < rows; ++i) values.push_back(static_cast<float>(i * 7 % 1000));
  const auto batch = testing::batch(rows, 0, testing::numbers<float>("x", "f", values));
  store->append(batch->array, batch->schema);
  store->seal();
  return store;
}

/// What it says, and lends then.
std::pair<bool, shm::Segment> lent_by(const ColumnStore& store) {
  std::promise<bool> told;
  const RowLender lender(store, 2, 0, [&](bool any) { told.set_value(any); });
  const bool any = told.get_future().get();
  return {any, lender.lend()};
}

}  // namespace

TEST(RowLender, LendsRowsAndOrdersToWhoReadsTheSame) {
  for (const int rows : {0, 1, 5000}) {
    const auto store = filled(rows);
    auto [any, segment] = lent_by(*store);
    ASSERT_TRUE(any);
    const LentRows lent(std::move(segment), store->stride());
    const auto order = lent.shards().at(0).order;
    ASSERT_TRUE(std::ranges::equal(order, store->order(4)));
    std::vector<float> own(rows), others(rows);
    store->gather(0, order.data(), rows, own.data());
    store->gather(0, RowsAt{lent.rows(), order.data(), rows}, others.data());
    EXPECT_EQ(own, others);
  }
}

TEST(RowLender, RowsOnDiskAndThoseWithoutRoomForACopyStay) {
  for (const size_t memory : {size_t{2000}, size_t{300'000}}) {  // 5000 rows take 20 kB, with their index 240 kB
    const auto store = filled(5000, memory);
    EXPECT_EQ(store->on_disk(), memory < 10'000);
    const auto [any, segment] = lent_by(*store);
    EXPECT_EQ(any, memory > 10'000) << memory;
    EXPECT_EQ(segment.bytes().empty(), !any);
  }
  const auto tight = filled(5000, 270'000);
  EXPECT_EQ(lent_by(*tight).first, !tight->on_disk());
}

TEST(RowLender, NothingIsLentWhereTheMachineHasNotTheMemory) {
  const auto store = filled(5000);
  std::promise<bool> told;
  const RowLender lender(*store, size_t{1} << 50, 0, [&](bool any) { told.set_value(any); });
  EXPECT_FALSE(told.get_future().get());
}

TEST(RowLender, EndsBeforeItsTimeWithoutAWord) {
  const auto store = filled(10);
  const Stopwatch watch;
  {
    const RowLender lender(*store, 2, 1000, [](bool) { FAIL(); });
  }
  EXPECT_LT(watch.elapsed(), 5);
}

}  // namespace stoker::data
