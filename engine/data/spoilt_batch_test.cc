// Offsets, indices and sizes that point to what is not there: faults of their rows, whatever the kind of column.
#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "data/deal/deal.h"
#include "data/store/column_store.h"
#include "data/test_batch.h"

namespace stoker::data {
namespace {

using testing::batch;
using testing::lists;
using testing::numbers;
using testing::words;

ColumnSpec column_of(FieldSpec::Kind kind, std::vector<int64_t> shape) {
  FieldSpec field;
  field.column = "x";
  field.shown = {"x"};
  field.kind = kind;
  field.shape = shape;
  ColumnSpec spec;
  spec.name = spec.shown = "x";
  spec.shape = std::move(shape);
  spec.fields = {field};
  return spec;
}

ColumnSpec plain(std::vector<int64_t> shape) { return column_of(FieldSpec::Kind::plain, std::move(shape)); }
ColumnSpec declared(std::vector<int64_t> shape) { return column_of(FieldSpec::Kind::number, std::move(shape)); }

ColumnSpec category() {
  ColumnSpec spec = column_of(FieldSpec::Kind::category, {});
  spec.fields[0].vocabulary = std::make_shared<Vocabulary>(std::vector<std::string>{"a", "b"});
  return spec;
}

std::string complaint(const ColumnSpec& spec, const testing::ColumnPtr& rows) {
  ColumnStore store({spec}, {0}, 3);
  try {
    store.append(rows->array, rows->schema);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return testing::without_row_cure(error.what());
  }
  return "no error";
}

/// What stays of the rows with onBadRow="skip".
std::vector<float> kept(const ColumnSpec& spec, const testing::ColumnPtr& rows) {
  ColumnStore store({spec}, {0}, 3, OnBadRow::skip);
  store.append(rows->array, rows->schema);
  const int64_t left_out = rows->array.length - store.rows();
  std::map<std::string, int64_t> told;
  if (left_out > 0) told["column 'x' is spoilt"] = left_out;
  EXPECT_EQ(store.skipped(), told);
  std::vector<uint32_t> all(store.rows());
  std::iota(all.begin(), all.end(), 0u);
  std::vector<float> out(all.size() * spec.elements());
  store.gather(0, all.data(), static_cast<int64_t>(all.size()), out.data());
  return out;
}

/// Two rows of Spark ML's sparse vectors; the second is sound: {1: 7}.
testing::ColumnPtr vectors(std::vector<int32_t> first, std::vector<double> values,
                           std::vector<int64_t> null_indices = {}) {
  auto column = std::make_unique<testing::Column>();
  column->name = "x";
  column->format = "+s";
  column->buffers.push_back(nullptr);
  const auto offsets = [](size_t n) { return std::vector<int32_t>{0, int32_t(n), int32_t(n) + 1}; };
  const auto indices_end = offsets(first.size()), values_end = offsets(values.size());
  first.push_back(1);
  values.push_back(7);
  column->children.push_back(numbers<int8_t>("type", "c", {0, 0}));
  column->children.push_back(numbers<int32_t>("size", "i", {4, 4}));
  column->children.push_back(lists<int32_t>("indices", indices_end, numbers("", "i", first), null_indices));
  column->children.push_back(lists<int32_t>("values", values_end, numbers("", "g", values)));
  column->finish(2, 0);
  return batch(2, 0, std::move(column));
}

TEST(SpoiltBatch, SparseIndicesOutsideOfTheVectorAreFaultsOfTheRow) {
  for (const int32_t index : {4, -1, 100'000'000}) {
    EXPECT_EQ(complaint(declared({4}), vectors({index}, {1})),
              cat("column 'x', partition 3, row 0: is spoilt: index ", index, " in a vector of 4"));
    EXPECT_EQ(kept(declared({4}), vectors({index}, {1})), (std::vector<float>{0, 7, 0, 0}));
  }
  EXPECT_EQ(complaint(declared({4}), vectors({2, 2}, {1, 1})),
            "column 'x', partition 3, row 0: is spoilt: index 2 after index 2 in a vector of 4");
}

TEST(SpoiltBatch, SparseVectorsHaveAsManyIndicesAsValuesAndAllParts) {
  EXPECT_EQ(complaint(declared({4}), vectors({0, 1}, {1})),
            "column 'x', partition 3, row 0: is spoilt: 2 indices for 1 values");
  EXPECT_EQ(kept(declared({4}), vectors({0}, {1, 2, 3})), (std::vector<float>{0, 7, 0, 0}));
  EXPECT_EQ(complaint(declared({4}), vectors({0}, {1}, {0})),
            "column 'x', partition 3, row 0: is spoilt: a vector without type, size, indices or values");
}

TEST(SpoiltBatch, ListsThatEndBeyondTheirValuesAreFaultsOfTheRow) {
  const auto rows = [](std::vector<int32_t> offsets) {
    return batch(2, 0, lists<int32_t>("x", offsets, numbers<float>("", "f", {1, 2, 3, 4})));
  };
  for (const auto& spec : {plain({2}), declared({2})}) {
    EXPECT_EQ(complaint(spec, rows({2, 4, 6})),
              "column 'x', partition 3, row 1: is spoilt: its values lie at 4 to 6 of 4");
    EXPECT_EQ(complaint(spec, rows({-2, 0, 2})),
              "column 'x', partition 3, row 0: is spoilt: its values lie at -2 to 0 of 4");
    EXPECT_EQ(kept(spec, rows({2, 4, 6})), (std::vector<float>{3, 4}));
  }
}

TEST(SpoiltBatch, InnerListsAreLookedAtToo) {
  const auto rows = [](std::vector<int32_t> inner) {
    return batch(2, 0,
                 lists<int32_t>("x", {0, 2, 4}, lists<int32_t>("", inner, numbers<float>("", "f", {1, 2, 3, 4}))));
  };
  EXPECT_EQ(kept(declared({2, 1}), rows({0, 1, 2, 3, 4})).size(), 4u);
  EXPECT_EQ(kept(declared({2, 1}), rows({3, 4, 5, 0, 1})), (std::vector<float>{}));
  EXPECT_EQ(complaint(plain({2, 1}), rows({1, 2, 3, 4, 5})),
            "column 'x', partition 3, row 1: is spoilt: its values lie at 4 to 5 of 4");
}

TEST(SpoiltBatch, BytesOfListsAndTextsLieWithinTheirBuffer) {
  const auto rows = [](const char* format) {
    auto column = words("x", {"a", "b", "a"});
    column->format = format;
    auto* offsets = const_cast<int32_t*>(static_cast<const int32_t*>(column->buffers[1]));
    offsets[1] = 1 << 30;
    return batch(3, 0, std::move(column));
  };
  EXPECT_EQ(complaint(category(), rows("u")),
            "column 'x', partition 3, row 0: is spoilt: its values lie at 0 to 1073741824 of 3");
  EXPECT_EQ(kept(category(), rows("u")), (std::vector<float>{1}));
  EXPECT_EQ(kept(declared({1}), rows("z")), (std::vector<float>{'a'}));
}

TEST(SpoiltBatch, DictionaryIndicesLieWithinTheDictionary) {
  auto column = numbers<int32_t>("x", "i", {1, 9, -1});
  column->dictionary = words("", {"a", "b"});
  column->finish(3, 0);
  const auto rows = batch(3, 0, std::move(column));
  EXPECT_EQ(complaint(category(), rows),
            "column 'x', partition 3, row 1: is spoilt: it is entry 9 of a dictionary of 2");
  EXPECT_EQ(kept(category(), rows), (std::vector<float>{2}));
}

TEST(SpoiltBatch, ColumnsShorterThanTheBatchAreRefused) {
  EXPECT_EQ(complaint(plain({}), batch(3, 0, numbers<float>("x", "f", {1, 2}))),
            "column 'x', partition 3: its Arrow array is spoilt: it has 2 of the 3 rows");
  EXPECT_EQ(
      complaint(plain({2}), batch(3, 0, testing::fixed_lists("x", 2, 3, numbers<float>("", "f", {1, 2, 3, 4, 5})))),
      "column 'x', partition 3: its Arrow array is spoilt: a part of it ends after 5 entries");
}

TEST(SpoiltBatch, IsNotDealt) {
  const Dealer dealer({{{"x", "", {"x"}, false}}, 1, ""}, {0});
  const auto rows = batch(2, 0, lists<int32_t>("x", {0, 2, 1 << 30}, numbers<float>("", "f", {1, 2, 3, 4})));
  EXPECT_THROW(dealer.deal(rows->array, rows->schema), Error);
}

}  // namespace
}  // namespace stoker::data
