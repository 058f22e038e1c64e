#include "train/feed.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <string>

#include "data/test_batch.h"

namespace stoker::train {
namespace {

constexpr int kRows = 3000, kWidth = 25;  // floats of a row: so small ones are dealt into another file
constexpr int kStep = 60;
constexpr size_t kInMemory = std::numeric_limits<size_t>::max(), kTiny = 60'000;

/// Shard 1 has twice the rows of shard 0, shard 2 two rows in some of the steps.
std::vector<int32_t> shards_of_rows() {
  std::vector<int32_t> shards;
  for (int i = 0; i < kRows; ++i) shards.push_back(i < 40 ? 2 : i % 3 == 0 ? 0 : 1);
  return shards;
}

std::unique_ptr<data::ColumnStore> filled(size_t memory) {
  data::ColumnSpec spec;
  spec.name = "x";
  spec.shape = {kWidth};
  data::StoreOptions options;
  options.memory = memory;
  options.spill.folders = {::testing::TempDir()};
  auto store =
      std::make_unique<data::ColumnStore>(std::vector{spec}, std::vector{0, 1, 2}, 0, data::OnBadRow::error, options);
  std::vector<float> values(kRows * kWidth, 0.5F);
  for (int i = 0; i < kRows; ++i) values[i * kWidth] = static_cast<float>(i);
  using namespace data::testing;
  const auto all = batch(kRows, 0, numbers("__shard", "i", shards_of_rows()),
                         fixed_lists("x", kWidth, kRows, numbers("", "f", values)));
  store->append(all->array, all->schema);
  store->seal();
  return store;
}

/// Read and written by this process.
uint64_t bytes_moved() {
  std::ifstream file("/proc/self/io");
  uint64_t read = 0, written = 0;
  std::string name;
  file >> name >> read >> name >> written;
  return read + written;
}

struct Epoch {
  std::vector<std::vector<float>> rows;  // numbers of them, by step and shard
  int micro_batches = 0;
  uint64_t moved = 0;  // bytes
};

/// As Trainer goes through it: a shard runs all its parts of a step before the next one does.
Epoch run_epoch(const data::ColumnStore& store, int64_t accumulate) {
  std::vector<int64_t> counts;
  for (const auto& shard : store.shard_rows()) counts.push_back(shard.rows);
  const data::Plan plan(counts, kStep);
  const data::Borrowed none;
  Epoch epoch;
  const uint64_t before = bytes_moved();
  Feed feed({store, none}, plan, {0, 1, 2}, 7, true, true, accumulate);
  feed.begin_epoch(1);
  for (int64_t step = 0; step < plan.steps(); ++step) {
    for (int shard = 0; shard < plan.shards(); ++shard) {
      auto& rows = epoch.rows.emplace_back();
      const int64_t size = plan.rows(step, shard).size();
      for (int64_t part = 0; size > 0 && part < data::parts_of(size, accumulate); ++part, ++epoch.micro_batches) {
        const auto x = feed.micro_batch(step, shard, part).front();
        for (int64_t i = 0; i < x.size(0); ++i) rows.push_back(x.const_data_ptr<float>()[i * kWidth]);
      }
    }
    feed.prefetch(step + 1);
  }
  epoch.moved = bytes_moved() - before;
  return epoch;
}

TEST(Feed, PartsOfAStepHaveItsRowsInTheirOrder) {
  const auto wanted = run_epoch(*filled(kInMemory), 1);
  for (const size_t memory : {kInMemory, size_t{1}, kTiny}) {
    const auto found = run_epoch(*filled(memory), 4);
    EXPECT_EQ(found.rows, wanted.rows) << memory;
    EXPECT_GT(found.micro_batches, 3 * wanted.micro_batches / 2);
  }
}

TEST(Feed, StepsInPartsAreReadFromDiskNoMoreOftenThanWholeOnes) {
  const auto store = filled(kTiny);
  ASSERT_TRUE(store->on_disk());
  const auto whole = run_epoch(*store, 1), parts = run_epoch(*store, 4);
  EXPECT_GT(whole.moved, kRows * store->stride());
  EXPECT_LT(parts.moved, whole.moved + whole.moved / 10);
}

TEST(Feed, BatchesThatAreKeptAreGatheredOnceForEpochsOfOneNumber) {
  const auto store = filled(kInMemory);
  std::vector<int64_t> counts;
  for (const auto& shard : store->shard_rows()) counts.push_back(shard.rows);
  const data::Plan plan(counts, kStep);
  const data::Borrowed none;
  Feed feed({*store, none}, plan, {0, 1, 2}, 7, true, true, 1, true), fresh({*store, none}, plan, {0, 1, 2}, 7, true);
  std::vector<at::Tensor> seen;
  for (const uint64_t epoch : {3, 3, 4}) {
    feed.begin_epoch(epoch);
    fresh.begin_epoch(epoch);
    seen.push_back(feed.micro_batch(0, 1).front());
    EXPECT_GT(seen.back().size(0), 8);
    EXPECT_TRUE(at::equal(seen.back(), fresh.micro_batch(0, 1).front()));
  }
  EXPECT_EQ(seen[0].const_data_ptr(), seen[1].const_data_ptr());
  EXPECT_FALSE(at::equal(seen[1], seen[2]));
}

}  // namespace
}  // namespace stoker::train
