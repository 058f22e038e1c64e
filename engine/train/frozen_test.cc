#include "train/frozen.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stop_token>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/fault.h"
#include "data/store/gather.h"
#include "data/test_batch.h"
#include "program/safetensors.h"

namespace stoker::train {
namespace {

constexpr int kRows = 900, kWidth = 6;
constexpr size_t kInMemory = std::numeric_limits<size_t>::max(), kTiny = 20'000;
constexpr size_t kJustFits = 70'000;  // the rows, without what is made of them
constexpr int64_t kMicroRows = 13;
constexpr int kLent = 7;  // a shard

data::ColumnSpec column(const std::string& name, std::vector<int64_t> shape) {
  data::ColumnSpec spec;
  spec.name = spec.shown = name;
  spec.shape = std::move(shape);
  return spec;
}

/// Columns x, of which a row's first value is its number after `first`, and label, which is its negative.
std::unique_ptr<data::ColumnStore> filled(size_t memory, int first = 0,
                                          const std::string& folder = ::testing::TempDir()) {
  data::StoreOptions options;
  options.memory = memory;
  options.spill.folders = {folder};
  auto store = std::make_unique<data::ColumnStore>(std::vector{column("x", {kWidth}), column("label", {})},
                                                   std::vector{0, 1, 2}, 0, data::OnBadRow::error, options);
  std::vector<float> values(kRows * kWidth, 0.25F), labels(kRows);
  std::vector<int32_t> shards(kRows);
  for (int i = 0; i < kRows; ++i) {
    values[i * kWidth] = static_cast<float>(first + i);
    labels[i] = static_cast<float>(-first - i);
    shards[i] = i % 3;
  }
  using namespace data::testing;
  const auto all = batch(kRows, 0, numbers("__shard", "i", shards),
                         fixed_lists("x", kWidth, kRows, numbers("", "f", values)), numbers("label", "f", labels));
  store->append(all->array, all->schema);
  store->seal();
  return store;
}

/// tanh of x.
FrozenSpec trunk() {
  const nlohmann::json program = {
      {"format", "stoker-program"},
      {"version", 1},
      {"kind", "infer"},
      {"torch", "2.13"},
      {"inputs", {{{"name", "x"}, {"role", "feature"}, {"slot", 0}, {"dtype", "float32"}, {"shape", {kWidth}}}}},
      {"parameters", nlohmann::json::array()},
      {"buffers", nlohmann::json::array()},
      {"constants", nlohmann::json::array()},
      {"slots", 2},
      {"nodes",
       {{{"op", "aten.tanh.default"},
         {"args", {{{"slot", 0}}}},
         {"kwargs", nlohmann::json::object()},
         {"out", {1}},
         {"where", ""}}}},
      {"outputs", {{{"name", "frozen.0"}, {"slot", 1}, {"shape", {kWidth}}}}}};
  return {program.dump(), {0}, {{kWidth}}, {1}};
}

const Bytes& no_constants() {
  static const Bytes bytes = program::write_safetensors({});
  return bytes;
}

/// Labels and values of a shard's rows in content order.
std::pair<at::Tensor, at::Tensor> rows_of(const data::ColumnStore& store, int shard, int label, int values) {
  const auto& order = store.order(shard);
  const auto count = static_cast<int64_t>(order.size());
  std::pair made{at::empty({count}), at::empty({count, kWidth})};
  store.gather(label, order.data(), count, made.first.mutable_data_ptr());
  store.gather(values, order.data(), count, made.second.mutable_data_ptr());
  return made;
}

/// The first shard of a store as another worker lends it.
data::LentRows lent(const data::ColumnStore& store) {
  const auto& order = store.order(0);
  std::vector<uint32_t> places(order.size());
  std::iota(places.begin(), places.end(), 0);
  const size_t bytes = order.size() * store.stride();
  const Bytes index = data::lent_index(store.stride(), bytes, {{kLent, store.shard_rows()[0].digest, places}});
  shm::Segment segment("stoker-rows", bytes + index.size());
  data::Course course;
  store.copy(order.data(), static_cast<int64_t>(order.size()), segment.bytes().data(), course);
  std::ranges::copy(index, segment.bytes().begin() + static_cast<ptrdiff_t>(bytes));
  return {std::move(segment), store.stride()};
}

class FrozenTest : public ::testing::TestWithParam<size_t> {
 protected:
  const std::unique_ptr<data::ColumnStore> store_ = filled(GetParam());
  const data::Borrowed none_;
  const Frozen frozen_{trunk(), no_constants(), kMicroRows};
};

TEST_P(FrozenTest, RowsKeepTheirOrderAndHaveWhatTheFrozenPartsGive) {
  FrozenRows rows(frozen_, {*store_, none_});
  rows.complete({2, 0}, {});
  EXPECT_EQ(rows.store().on_disk(), GetParam() == kTiny);
  EXPECT_FALSE(rows.store().has(1));
  for (const int shard : {0, 2}) {
    const auto [labels, x] = rows_of(*store_, shard, 1, 0);
    const auto [kept, values] = rows_of(rows.store(), shard, 0, 1);
    EXPECT_EQ(labels.size(0), kRows / 3);
    EXPECT_TRUE(at::equal(labels, kept));
    EXPECT_TRUE(at::allclose(x.tanh(), values, 0, 1e-6));
  }
}

TEST_P(FrozenTest, ShardsThatComeLaterAreAddedAndWhatIsThereStays) {
  FrozenRows rows(frozen_, {*store_, none_});
  rows.complete({1}, {});
  const auto before = rows_of(rows.store(), 1, 0, 1).second;
  rows.complete({1, 2}, {});
  EXPECT_EQ(rows.store().rows(), 2 * kRows / 3);
  EXPECT_TRUE(at::equal(before, rows_of(rows.store(), 1, 0, 1).second));
}

TEST_P(FrozenTest, AStoppedPassGoesOnWhereItWas) {
  FrozenRows rows(frozen_, {*store_, none_}), whole(frozen_, {*store_, none_});
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW(rows.complete({0, 1}, stop.get_token()), Error);
  rows.complete({0, 1}, {});
  whole.complete({0, 1}, {});
  for (const int shard : {0, 1})
    EXPECT_TRUE(at::equal(rows_of(rows.store(), shard, 0, 1).second, rows_of(whole.store(), shard, 0, 1).second));
}

TEST_P(FrozenTest, AStopIsHeardBetweenChunks) {
  if (!fault::kPossible) GTEST_SKIP() << "a build without faults";
  FrozenRows rows(frozen_, {*store_, none_});
  std::stop_source stop;
  fault::schedule("frozen@2=slow:600");
  const std::jthread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    stop.request_stop();
  });
  EXPECT_THROW(rows.complete({0, 1}, stop.get_token()), Error);
  fault::schedule("");
  EXPECT_EQ(rows.store().rows(), 2 * frozen_.chunk_rows());
}

TEST_P(FrozenTest, BorrowedRowsThatComeAnewWithOtherValuesAreRunAnew) {
  data::Borrowed borrowed;
  FrozenRows rows(frozen_, {*store_, borrowed});
  for (const int first : {0, 5000, 5000}) {
    const auto other = filled(kInMemory, first);
    borrowed.take(lent(*other));
    rows.complete({kLent, 0}, {});
    const auto [labels, x] = rows_of(*other, 0, 1, 0);
    const auto [kept, values] = rows_of(rows.store(), kLent, 0, 1);
    ASSERT_TRUE(at::equal(labels, kept)) << first;
    EXPECT_TRUE(at::allclose(x.tanh(), values, 0, 1e-6));
  }
  EXPECT_EQ(rows.store().rows(), kRows) << "of the same rows nothing is made again";
}

TEST_P(FrozenTest, MicroBatchesAreTheSameBitsWithAndWithoutKeptRows) {
  FrozenRows rows(frozen_, {*store_, none_});
  rows.complete({0, 1, 2}, {});
  std::vector<int64_t> counts;
  for (const auto& shard : store_->shard_rows()) counts.push_back(shard.rows);
  const data::Plan plan(counts, 50);
  Feed kept({*store_, none_, &frozen_, &rows.store()}, plan, {0, 1, 2}, 3, true);
  Feed each({*store_, none_, &frozen_}, plan, {0, 1, 2}, 3, true);
  for (const uint64_t epoch : {0, 1}) {
    kept.begin_epoch(epoch);
    each.begin_epoch(epoch);
    for (int64_t step = 0; step < plan.steps(); ++step) {
      for (int shard = 0; shard < 3; ++shard) {
        const auto one = kept.micro_batch(step, shard), other = each.micro_batch(step, shard);
        ASSERT_EQ(one.size(), 2u);
        for (size_t i = 0; i < one.size(); ++i) ASSERT_TRUE(at::equal(one[i], other[i]));
      }
      kept.prefetch(step + 1);
      each.prefetch(step + 1);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Memory, FrozenTest, ::testing::Values(kInMemory, kTiny));

TEST(FrozenChunks, HaveHardlyMoreRowsThanAMicroBatch) {
  const auto chunk_rows = [](int64_t micro) { return Frozen(trunk(), no_constants(), micro).chunk_rows(); };
  EXPECT_EQ(chunk_rows(1), 1);
  EXPECT_EQ(chunk_rows(8), 8);
  EXPECT_EQ(chunk_rows(kMicroRows), 16);
  EXPECT_EQ(chunk_rows(100'000), program::Inference::kMostRows);
}

TEST(FrozenRoom, WithoutItOnDiskNothingIsComputed) {
  const auto store = filled(kJustFits, 0, "/nowhere");
  const data::Borrowed none;
  const Frozen frozen(trunk(), no_constants(), kMicroRows);
  FrozenRows rows(frozen, {*store, none});
  EXPECT_THROW(rows.complete({0, 1, 2}, {}), Error);
  EXPECT_EQ(rows.store().rows(), 0);
}

TEST(FrozenRoom, OnDiskIsNotTakenForWhatIsSoonComputed) {
  const auto store = filled(kJustFits);
  const data::Borrowed none;
  const Frozen frozen(trunk(), no_constants(), kMicroRows);
  FrozenRows slow(frozen, {*store, none}, {.bytes_per_s = 1, .tried_seconds = 0});
  try {
    slow.complete({0, 1, 2}, {});
    ADD_FAILURE() << "nothing was said";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::world);
    EXPECT_NE(std::string(error.what()).find("and it is computed in"), std::string::npos);
  }
  EXPECT_EQ(slow.store().rows(), frozen.chunk_rows());
  const auto ample = filled(kInMemory);
  FrozenRows kept(frozen, {*ample, none}, {.bytes_per_s = 1, .tried_seconds = 0});
  kept.complete({0, 1, 2}, {});
  EXPECT_EQ(kept.store().rows(), kRows);
}

TEST(FrozenRoom, IsWhatTheRowsAndTheirOrderLeave) {
  const data::Borrowed none;
  const Frozen frozen(trunk(), no_constants(), kMicroRows);
  const auto memory = [&](size_t of, bool read_beside) {
    const auto store = filled(of);
    const FrozenRows rows(frozen, {*store, none}, {.read_beside = read_beside});
    return rows.store().options().memory;
  };
  EXPECT_EQ(memory(kJustFits, true), kJustFits - kRows * (sizeof(float) * (kWidth + 1) + 16));
  EXPECT_EQ(memory(kTiny, false), kTiny / 2) << "the windows of rows that nobody reads ahead";
  EXPECT_EQ(memory(kTiny, true), kTiny / 4) << "below a few MB it is so much more";
}

TEST(FrozenRoom, WithoutRoomNothingIsKept) {
  auto store = filled(kInMemory);
  data::StoreOptions options;
  options.memory = 1000;
  data::ColumnStore small(*store, {1}, {column("v", {kWidth})}, options);
  small.expect(0);
  const auto& order = store->order(0);
  const std::vector<float> values(order.size() * kWidth);
  EXPECT_THROW(small.extend(0, *store, store->at(order.data(), static_cast<int64_t>(order.size())),
                            {reinterpret_cast<const std::byte*>(values.data())}),
               Error);
  EXPECT_EQ(small.rows(), 0);
}

}  // namespace
}  // namespace stoker::train
