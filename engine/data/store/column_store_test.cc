#include "data/store/column_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "base/error.h"
#include "data/test_batch.h"

namespace stoker::data {
namespace {

using testing::batch;
using testing::fixed_lists;
using testing::lists;
using testing::numbers;

ColumnSpec column(const std::string& name, DType dtype, std::vector<int64_t> shape = {}) {
  ColumnSpec spec;
  spec.name = name;
  spec.shown = name;
  spec.dtype = dtype;
  spec.shape = std::move(shape);
  return spec;
}

void append(ColumnStore& store, const testing::ColumnPtr& rows) { store.append(rows->array, rows->schema); }

template <typename T>
std::vector<T> values_of(const ColumnStore& store, int col) {
  std::vector<uint32_t> rows(store.rows());
  std::iota(rows.begin(), rows.end(), 0u);
  std::vector<T> out(rows.size() * store.columns()[col].elements());
  store.gather(col, rows.data(), static_cast<int64_t>(rows.size()), out.data());
  return out;
}

/// The text of the user error that appending ends with.
std::string complaint(const ColumnSpec& spec, const testing::ColumnPtr& rows, int partition = 3) {
  ColumnStore store({spec}, {0}, partition);
  try {
    append(store, rows);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    EXPECT_EQ(store.rows(), 0);
    return testing::without_row_cure(error.what());
  }
  return "no error";
}

TEST(ColumnStore, EveryNumberTypeReachesEveryDtype) {
  const auto check = [](testing::ColumnPtr source) {
    const auto rows = batch(3, 0, std::move(source));
    for (const DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64, DType::u8}) {
      ColumnStore store({column("x", dtype), column("x", DType::f64)}, {0}, 0);
      append(store, rows);
      EXPECT_EQ(values_of<double>(store, 1), (std::vector<double>{0, 1, 100})) << rows->children[0]->format;
    }
  };
  check(numbers<int8_t>("x", "c", {0, 1, 100}));
  check(numbers<uint8_t>("x", "C", {0, 1, 100}));
  check(numbers<int16_t>("x", "s", {0, 1, 100}));
  check(numbers<uint16_t>("x", "S", {0, 1, 100}));
  check(numbers<int32_t>("x", "i", {0, 1, 100}));
  check(numbers<uint32_t>("x", "I", {0, 1, 100}));
  check(numbers<int64_t>("x", "l", {0, 1, 100}));
  check(numbers<uint64_t>("x", "L", {0, 1, 100}));
  check(numbers<uint16_t>("x", "e", {0, 0x3c00, 0x5640}));
  check(numbers<float>("x", "f", {0, 1, 100}));
  check(numbers<double>("x", "g", {0, 1, 100}));
}

TEST(ColumnStore, BooleansUnpackAcrossBytesAndOffsets) {
  ColumnStore store({column("x", DType::f32)}, {0}, 0);
  auto bits = numbers<uint8_t>("x", "b", {0b10000000, 0b00000101});
  bits->array.length = 4;
  bits->array.offset = 7;
  append(store, batch(4, 0, std::move(bits)));
  EXPECT_EQ(values_of<float>(store, 0), (std::vector<float>{1, 1, 0, 1}));
}

TEST(ColumnStore, HalvesKeepSubnormalsAndInfinity) {
  ColumnStore store({column("x", DType::f32)}, {0}, 0);
  append(store, batch(4, 0, numbers<uint16_t>("x", "e", {0x0001, 0x8400, 0xfc00, 0x7bff})));
  EXPECT_EQ(values_of<float>(store, 0), (std::vector<float>{0x1p-24f, -0x1p-14f, -INFINITY, 65504}));
}

TEST(ColumnStore, SlicesOfAllLevelsAddUp) {
  // Batch from row 1, lists from 1, values from 1: the first list read is number 2.
  auto values = numbers<float>("", "f", {-1, 0, 1, 2, 3, 4, 5, 6, 7}, {}, 1);
  const auto rows = batch(2, 1, lists<int32_t>("x", {0, 2, 4, 6, 8}, std::move(values), {}, 1));
  ColumnStore store({column("x", DType::f32, {2})}, {0}, 0);
  append(store, rows);
  EXPECT_EQ(values_of<float>(store, 0), (std::vector<float>{4, 5, 6, 7}));
}

TEST(ColumnStore, ListsOfListsAndFlatListsFillTheSameShape) {
  const std::vector<float> want{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  ColumnStore store(
      {column("flat", DType::f32, {2, 3}), column("deep", DType::f32, {2, 3}), column("fixed", DType::f32, {2, 3})},
      {0}, 0);
  const auto leaf = [&] { return numbers<float>("", "f", want); };
  auto deep = lists<int64_t>("deep", {0, 2, 4}, lists<int32_t>("", {0, 3, 6, 9, 12}, leaf()));
  auto fixed = fixed_lists("fixed", 2, 2, fixed_lists("", 3, 4, leaf()));
  append(store, batch(2, 0, lists<int32_t>("flat", {0, 6, 12}, leaf()), std::move(deep), std::move(fixed)));
  for (int c = 0; c < 3; ++c) EXPECT_EQ(values_of<float>(store, c), want) << c;
}

TEST(ColumnStore, EmptyBatchesNeedNoBuffers) {
  ColumnStore store({column("x", DType::f32, {2})}, {0}, 0);
  auto empty = lists<int32_t>("x", {0}, numbers<float>("", "f", {}));
  empty->buffers[1] = nullptr;
  append(store, batch(0, 0, std::move(empty)));
  store.seal();
  EXPECT_EQ(store.rows(), 0);
  EXPECT_TRUE(store.order(0).empty());
  EXPECT_EQ(store.shard_rows()[0].digest, Hash128{});
}

TEST(ColumnStore, NullsAreNamed) {
  EXPECT_EQ(complaint(column("x", DType::f32), batch(3, 0, numbers<float>("x", "f", {1, 2, 3}, {2}))),
            "column 'x', partition 3, row 2: is null");
  const auto leaf = [](std::vector<int64_t> nulls) { return numbers<float>("", "f", {1, 2, 3, 4}, std::move(nulls)); };
  EXPECT_EQ(complaint(column("x", DType::f32, {2}), batch(2, 0, lists<int32_t>("x", {0, 2, 4}, leaf({}), {1}))),
            "column 'x', partition 3, row 1: is null");
  EXPECT_EQ(complaint(column("x", DType::f32, {2}), batch(2, 0, lists<int32_t>("x", {0, 2, 4}, leaf({3})))),
            "column 'x', partition 3, row 1: has a null element (element 1)");
}

TEST(ColumnStore, NullsBeforeASliceDoNotCount) {
  ColumnStore store({column("x", DType::f32)}, {0}, 0);
  append(store, batch(1, 0, numbers<float>("x", "f", {1, 2}, {0}, 1)));
  EXPECT_EQ(values_of<float>(store, 0), std::vector<float>{2});
}

TEST(ColumnStore, RaggedArraysAreNamed) {
  EXPECT_EQ(complaint(column("x", DType::f32, {2}),
                      batch(3, 0, lists<int32_t>("x", {0, 2, 3, 5}, numbers<float>("", "f", {1, 2, 3, 4, 5})))),
            "column 'x', partition 3, row 1: has 1 values, expected 2");
  auto inner = lists<int32_t>("", {0, 1, 2, 3, 5}, numbers<float>("", "f", {1, 2, 3, 4, 5}));
  EXPECT_EQ(complaint(column("x", DType::f32, {2, 1}), batch(2, 0, lists<int32_t>("x", {0, 2, 4}, std::move(inner)))),
            "column 'x', partition 3, row 1: has 2 values, expected 1");
}

TEST(ColumnStore, RowNumbersCountFromThePartitionsStart) {
  ColumnStore store({column("x", DType::f32)}, {0}, 7);
  append(store, batch(5, 0, numbers<float>("x", "f", {1, 2, 3, 4, 5})));
  try {
    append(store, batch(2, 0, numbers<float>("x", "f", {6, 7}, {1})));
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "column 'x', partition 7, row 6: is null; onBadRow='skip' leaves such rows out");
  }
  append(store, batch(1, 0, numbers<float>("x", "f", {6})));
  EXPECT_EQ(values_of<float>(store, 0), (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST(ColumnStore, WrongTypesAreToldInSparksWords) {
  const auto text = [](const std::string& format) { return batch(0, 0, numbers<int32_t>("x", format, {})); };
  EXPECT_EQ(complaint(column("x", DType::f32), batch(0, 0, testing::words("x", {}))),
            "column 'x', partition 3: has type string, expected a number");
  EXPECT_EQ(complaint(column("x", DType::f32, {28, 28}), text("d:10,2")),
            "column 'x', partition 3: has type decimal, expected an array of 784 numbers or arrays nested as 28 x 28");
  EXPECT_EQ(complaint(column("x", DType::f32), batch(0, 0, lists<int32_t>("x", {0}, numbers<double>("", "g", {})))),
            "column 'x', partition 3: has type array<double>, expected a number");
}

TEST(ColumnStore, MissingColumnSaysWhichExist) {
  auto spec = column("f0", DType::f32);
  spec.shown = "features";
  EXPECT_EQ(complaint(spec, batch(0, 0, numbers<float>("x", "f", {}), numbers<float>("y", "f", {}))),
            "column 'features' (sent as 'f0') is missing in the rows of partition 3, which have 'x', 'y'");
}

TEST(ColumnStore, LabelsMustBeClasses) {
  auto label = column("y", DType::i64);
  label.classes = 10;
  const std::string at = "column 'y', partition 3, row 1: ";
  const auto doubles = [](double y) { return batch(2, 0, numbers<double>("y", "g", {0, y})); };
  EXPECT_EQ(complaint(label, doubles(2.5)), at + "value 2.5, expected a whole number (a class label)");
  EXPECT_EQ(complaint(label, doubles(10)), at + "label 10 is outside the 10 classes, expected 0 to 9");
  EXPECT_EQ(complaint(label, doubles(-1)), at + "label -1 is outside the 10 classes, expected 0 to 9");
  EXPECT_EQ(complaint(label, doubles(1e300)), at + "label 1e+300 is outside the 10 classes, expected 0 to 9");
  EXPECT_EQ(complaint(label, doubles(NAN)), at + "is NaN, expected a finite number");
  EXPECT_EQ(complaint(label, doubles(9)), "no error");
  label.has_ignored = true;
  label.ignored = -100;
  EXPECT_EQ(complaint(label, doubles(-100)), "no error");
  EXPECT_EQ(complaint(label, doubles(-1)), at + "label -1 is outside the 10 classes, expected 0 to 9 or -100");
}

TEST(ColumnStore, NarrowLabelsCompareWithoutWrapping) {
  auto label = column("y", DType::u8);
  label.classes = 300;
  label.has_ignored = true;
  label.ignored = -100;
  EXPECT_EQ(complaint(label, batch(1, 0, numbers<uint8_t>("y", "C", {255}))), "no error");
  label.classes = 10;
  EXPECT_EQ(complaint(label, batch(1, 0, numbers<uint8_t>("y", "C", {156}))),
            "column 'y', partition 3, row 0: label 156 is outside the 10 classes, expected 0 to 9 or -100");
}

TEST(ColumnStore, FloatLabelsAndWeightsAreChecked) {
  auto weight = column("w", DType::f32);
  weight.finite = weight.non_negative = true;
  const std::string at = "column 'w', partition 3, row 0: ";
  const auto one = [](float w) { return batch(1, 0, numbers<float>("w", "f", {w})); };
  EXPECT_EQ(complaint(weight, one(-0.5f)), at + "value -0.5, expected zero or more");
  EXPECT_EQ(complaint(weight, one(-INFINITY)), at + "is -Infinity, expected a finite number");
  EXPECT_EQ(complaint(weight, one(0)), "no error");
  auto label = column("w", DType::f32);
  label.integral = true;
  EXPECT_EQ(complaint(label, one(0.25f)), at + "value 0.25, expected a whole number");
}

TEST(ColumnStore, NumbersThatDoNotSurviveAreErrors) {
  const std::string at = "column 'x', partition 3, row 0: value ";
  const auto longs = [](int64_t v) { return batch(1, 0, numbers<int64_t>("x", "l", {v})); };
  EXPECT_EQ(complaint(column("x", DType::f32), longs(16777217)),
            at + "16777217 cannot be kept as float32 without loss");
  EXPECT_EQ(complaint(column("x", DType::f32), longs(int64_t{1} << 62)), "no error");
  EXPECT_EQ(complaint(column("x", DType::f64), longs(INT64_MIN)), "no error");
  EXPECT_EQ(complaint(column("x", DType::f64), longs(INT64_MAX)),
            at + "9223372036854775807 cannot be kept as float64 without loss");
  EXPECT_EQ(complaint(column("x", DType::u8), longs(256)), at + "256 cannot be kept as uint8 without loss");
  EXPECT_EQ(complaint(column("x", DType::u8), longs(-1)), at + "-1 cannot be kept as uint8 without loss");
  const auto doubles = [](double v) { return batch(1, 0, numbers<double>("x", "g", {v})); };
  EXPECT_EQ(complaint(column("x", DType::f32), doubles(1e39)), at + "1e+39 cannot be kept as float32 without loss");
  EXPECT_EQ(complaint(column("x", DType::f32), doubles(0.1)), "no error");
  EXPECT_EQ(complaint(column("x", DType::i64), doubles(0x1p63)),
            at + "9223372036854775808 cannot be kept as int64 without loss");
  EXPECT_EQ(complaint(column("x", DType::i64), doubles(-0x1p63)), "no error");
}

/// Rows 0 .. n-1 with features (i % 17, i) and a label, dealt to shards by i % shards, in the order given.
std::unique_ptr<ColumnStore> filled(const std::vector<int>& rows, int shards, size_t batch_rows,
                                    StoreOptions options = {}) {
  std::vector<int> owned(shards);
  std::iota(owned.begin(), owned.end(), 4);
  auto store =
      std::make_unique<ColumnStore>(std::vector<ColumnSpec>{column("x", DType::f32, {2}), column("y", DType::i64)},
                                    owned, 0, OnBadRow::error, std::move(options));
  for (size_t at = 0; at < rows.size(); at += batch_rows) {
    std::vector<float> x;
    std::vector<int64_t> y;
    std::vector<int32_t> offsets{0}, shard;
    for (size_t i = at; i < std::min(rows.size(), at + batch_rows); ++i) {
      x.insert(x.end(), {static_cast<float>(rows[i] % 17), static_cast<float>(rows[i])});
      y.push_back(rows[i] / 2);
      offsets.push_back(static_cast<int32_t>(x.size()));
      shard.push_back(4 + rows[i] % shards);
    }
    const auto n = static_cast<int64_t>(y.size());
    append(*store,
           batch(n, 0, numbers("__shard", "i", shard), lists("x", offsets, numbers("", "f", x)), numbers("y", "l", y)));
  }
  store->seal();
  return store;
}

TEST(ColumnStore, ContentOrderForgetsTheOrderOfArrival) {
  for (const int shards : {1, 3}) {
    for (const int n : {0, 1, 2, 50, 5000}) {
      std::vector<int> rows(n);
      std::iota(rows.begin(), rows.end(), 0);
      const auto first = filled(rows, shards, 64);
      std::shuffle(rows.begin(), rows.end(), std::mt19937(n));
      const auto again = filled(rows, shards, 1000);
      int64_t total = 0;
      for (int s = 0; s < shards; ++s) {
        const auto& a = first->order(4 + s);
        const auto& b = again->order(4 + s);
        ASSERT_EQ(a.size(), b.size());
        std::vector<float> x(2 * a.size()), x_again(2 * a.size());
        first->gather(0, a.data(), static_cast<int64_t>(a.size()), x.data());
        again->gather(0, b.data(), static_cast<int64_t>(b.size()), x_again.data());
        EXPECT_EQ(x, x_again);
        EXPECT_EQ(first->shard_rows()[s].digest, again->shard_rows()[s].digest);
        for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(static_cast<int>(x[2 * i + 1]) % shards, s);
        total += first->shard_rows()[s].rows;
      }
      EXPECT_EQ(total, n);
    }
  }
}

StoreOptions small(size_t memory, bool encrypt = false) { return {memory, {{::testing::TempDir()}, encrypt, 4096}}; }

std::vector<int> numbered(int n) {
  std::vector<int> rows(n);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

TEST(ColumnStore, ABudgetOfMemoryChangesNeitherOrderNorDigestsNorValues) {
  for (const int shards : {1, 3})
    for (const int n : {0, 1, 2, 50, 5000})
      for (const size_t memory : {1, 700, 20'000, 150'000, 290'000}) {  // 5000 rows take 300 kB with their index
        const auto rows = numbered(n);
        const auto whole = filled(rows, shards, 64), spilled = filled(rows, shards, 64, small(memory, memory == 700));
        EXPECT_FALSE(whole->on_disk());
        EXPECT_EQ(spilled->on_disk(), n * 60u > memory) << n << " " << memory;
        for (int s = 4; s < 4 + shards; ++s) {
          ASSERT_EQ(spilled->order(s), whole->order(s));
          EXPECT_EQ(spilled->shard_rows()[s - 4].digest, whole->shard_rows()[s - 4].digest);
        }
        EXPECT_EQ(values_of<float>(*spilled, 0), values_of<float>(*whole, 0));
        EXPECT_EQ(values_of<int64_t>(*spilled, 1), values_of<int64_t>(*whole, 1));
      }
}

TEST(ColumnStore, RowsOfABadBatchAreForgottenOnDiskToo) {
  ColumnStore store({column("x", DType::f32)}, {0}, 7, OnBadRow::error, small(10));
  append(store, batch(5, 0, numbers<float>("x", "f", {1, 2, 3, 4, 5})));
  EXPECT_THROW(append(store, batch(2, 0, numbers<float>("x", "f", {6, 7}, {1}))), Error);
  append(store, batch(1, 0, numbers<float>("x", "f", {8})));
  EXPECT_EQ(values_of<float>(store, 0), (std::vector<float>{1, 2, 3, 4, 5, 8}));
}

TEST(ColumnStore, WithoutAFolderABudgetIsALimit) {
  ColumnStore store({column("x", DType::f32)}, {0}, 7, OnBadRow::error, {10, {}});
  EXPECT_THROW(append(store, batch(2, 0, numbers<float>("x", "f", {1, 2}))), Error);
}

TEST(ColumnStore, AnotherRowChangesTheDigest) {
  const auto a = filled({1, 2, 3}, 1, 8), b = filled({1, 2, 4}, 1, 8), c = filled({1, 2, 3, 3}, 1, 8);
  EXPECT_NE(a->shard_rows()[0].digest, b->shard_rows()[0].digest);
  EXPECT_NE(a->shard_rows()[0].digest, c->shard_rows()[0].digest);
}

TEST(ColumnStore, EqualRowsAreAllKept) {
  const auto store = filled(std::vector<int>(300, 7), 1, 100);
  auto rows = store->order(4);
  std::sort(rows.begin(), rows.end());
  for (uint32_t i = 0; i < 300; ++i) EXPECT_EQ(rows[i], i);
}

TEST(ColumnStore, GatherCopiesRowsOfEverySize) {
  for (const int64_t width : {1, 2, 3, 16, 784}) {
    ColumnStore store({column("x", DType::f32, {width}), column("y", DType::u8)}, {0}, 0);
    std::vector<float> x(50 * width);
    std::iota(x.begin(), x.end(), 0.0f);
    append(store, batch(50, 0, fixed_lists("x", static_cast<int>(width), 50, numbers("", "f", x)),
                        numbers("y", "C", std::vector<uint8_t>(50, 9))));
    const std::vector<uint32_t> rows{49, 0, 7, 7, 30, 12, 1, 2, 3, 4, 5};
    std::vector<float> out(rows.size() * width);
    store.gather(0, rows.data(), static_cast<int64_t>(rows.size()), out.data());
    for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], x[rows[i / width] * width + i % width]) << width;
  }
}

TEST(ColumnStore, ForeignShardIsABug) {
  ColumnStore store({column("x", DType::f32)}, {2, 3}, 1);
  const auto rows = batch(1, 0, numbers<float>("x", "f", {1}), numbers<int32_t>("__shard", "i", {5}));
  try {
    append(store, rows);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::bug);
    EXPECT_STREQ(error.what(), "partition 1, row 0: shard 5 came to the worker of shards 2 to 3");
  }
}

TEST(ColumnStore, ParseReadsEveryField) {
  const auto columns = parse_columns(R"([{"name": "f0", "shown": "features", "dtype": "float64", "shape": [2, 3]},
      {"name": "y", "dtype": "int64", "integral": true, "classes": 4, "ignored": -100, "has_ignored": true},
      {"name": "w", "finite": true, "non_negative": true}])");
  EXPECT_EQ(columns[0].shown, "features");
  EXPECT_EQ(columns[0].row_bytes(), 48u);
  EXPECT_EQ(columns[1].shown, "y");
  EXPECT_TRUE(columns[1].integral && columns[1].has_ignored && columns[2].finite && columns[2].non_negative);
  EXPECT_EQ(columns[1].classes, 4);
  EXPECT_EQ(columns[1].ignored, -100);
  EXPECT_THROW(parse_columns(R"([{"name": "x", "typ": 1}])"), Error);
  EXPECT_THROW(parse_columns(R"([{"name": "x", "dtype": "complex64"}])"), Error);
  EXPECT_THROW(parse_columns("[{"), Error);
}

}  // namespace
}  // namespace stoker::data
