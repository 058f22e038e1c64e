#include "data/read/field_reader.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "data/read/row_reader.h"
#include "data/store/column_store.h"
#include "data/test_batch.h"

namespace stoker::data {
namespace {

using testing::batch;
using testing::lists;
using testing::numbers;
using testing::words;

FieldSpec field(const std::string& column, FieldSpec::Kind kind, DType stored, std::vector<int64_t> shape = {}) {
  FieldSpec spec;
  spec.column = column;
  spec.shown = {column};
  spec.kind = kind;
  spec.stored = stored;
  spec.shape = std::move(shape);
  return spec;
}

FieldSpec category(const std::string& column, const std::vector<std::string>& known) {
  FieldSpec spec = field(column, FieldSpec::Kind::category, DType::u8);
  spec.vocabulary = std::make_shared<Vocabulary>(known);
  return spec;
}

ColumnSpec pack(std::vector<FieldSpec> fields, DType dtype) {
  ColumnSpec spec;
  spec.name = spec.shown = "x";
  spec.dtype = dtype;
  int64_t width = 0;
  for (const auto& f : fields) width += f.values();
  spec.shape = {width};
  spec.fields = std::move(fields);
  return spec;
}

template <typename T>
std::vector<T> stored(const ColumnSpec& spec, const testing::ColumnPtr& rows, OnBadRow on_bad = OnBadRow::error,
                      std::map<std::string, int64_t>* skipped = nullptr) {
  ColumnStore store({spec}, {0}, 3, on_bad);
  store.append(rows->array, rows->schema);
  if (skipped != nullptr) *skipped = store.skipped();
  std::vector<uint32_t> all(store.rows());
  std::iota(all.begin(), all.end(), 0u);
  std::vector<T> out(all.size() * spec.elements());
  store.gather(0, all.data(), static_cast<int64_t>(all.size()), out.data());
  return out;
}

std::string complaint(const ColumnSpec& spec, const testing::ColumnPtr& rows) {
  try {
    stored<float>(spec, rows);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return testing::without_row_cure(error.what());
  }
  return "no error";
}

TEST(FieldReader, FieldsOfAllKindsShareATensor) {
  FieldSpec scaled = field("n", FieldSpec::Kind::number, DType::f32);
  scaled.mean = {10};
  scaled.scale = {4};
  scaled.fill = {10};
  scaled.fill_missing = true;
  const ColumnSpec spec =
      pack({category("w", {"a", "b"}), scaled, field("n", FieldSpec::Kind::present, DType::u8)}, DType::f32);
  const auto rows = batch(3, 0, words("w", {"b", "?", "a"}), numbers<int32_t>("n", "i", {12, 0, 2}, {1}));
  EXPECT_EQ(stored<float>(spec, rows), (std::vector<float>{2, 0.5, 1, 0, 0, 0, 1, -2, 1}));
}

TEST(FieldReader, SlicesOfTextBeginWhereTheyBegin) {
  const ColumnSpec spec = pack({category("w", {"a", "b", "c"})}, DType::i64);
  const auto rows = batch(2, 1, words("w", {"?", "c", "b", "a"}, {}, 1));
  EXPECT_EQ(stored<int64_t>(spec, rows), (std::vector<int64_t>{2, 1}));
}

TEST(FieldReader, RaggedListsAreCutAndPadded) {
  FieldSpec tokens = category("w", {"a", "b"});
  tokens.shape = {3};
  tokens.padded = true;
  tokens.pad = 9;
  const auto ragged = [] { return lists<int32_t>("w", {0, 0, 1, 5}, words("", {"a", "b", "a", "b", "a"})); };
  EXPECT_EQ(stored<int64_t>(pack({tokens}, DType::i64), batch(3, 0, ragged())),
            (std::vector<int64_t>{9, 9, 9, 1, 9, 9, 2, 1, 2}));
  FieldSpec mask = field("w", FieldSpec::Kind::present, DType::u8, {3});
  mask.padded = true;
  EXPECT_EQ(stored<float>(pack({mask}, DType::f32), batch(3, 0, ragged())),
            (std::vector<float>{0, 0, 0, 1, 0, 0, 1, 1, 1}));
}

TEST(FieldReader, BytesAreStoredAsBytesAndScaledAtTheGather) {
  FieldSpec pixels = field("p", FieldSpec::Kind::number, DType::u8, {2});
  pixels.unit = 0.5;
  auto images = words("p", {std::string("\x01\xff", 2), std::string("\x00\x10", 2)});
  images->format = "z";
  images->schema.format = images->format.c_str();
  const ColumnSpec spec = pack({pixels}, DType::f32);
  const auto rows = batch(2, 0, std::move(images));
  EXPECT_EQ(stored<float>(spec, rows), (std::vector<float>{0.5, 127.5, 0, 8}));
  ColumnStore store({spec}, {0}, 0);
  store.append(rows->array, rows->schema);
  EXPECT_EQ(store.bytes(), 4u);
}

TEST(FieldReader, SeveralColumnsInOneArrayAreNamedOneByOne) {
  FieldSpec both = field("a, b", FieldSpec::Kind::number, DType::f32, {2});
  both.shown = {"a", "b"};
  const auto rows = batch(2, 0, lists<int32_t>("a, b", {0, 2, 4}, numbers<double>("", "g", {1, 2, 3, NAN})));
  EXPECT_EQ(complaint(pack({both}, DType::f32), rows),
            "column 'b', partition 3, row 1: is null; nulls='fill' or 'mask' allows that");
}

TEST(FieldReader, TypesThatAFieldCannotBeReadFrom) {
  const auto floats = [] { return batch(1, 0, numbers<float>("w", "f", {1})); };
  EXPECT_EQ(complaint(pack({category("w", {"a"})}, DType::f32), floats()),
            "column 'w', partition 3: has type float, expected strings");
  FieldSpec parts = field("w", FieldSpec::Kind::part, DType::u16);
  parts.parts = {{DatePart::Kind::year, {}}};
  EXPECT_EQ(complaint(pack({parts}, DType::f32), floats()),
            "column 'w', partition 3: has type float, expected a date or a timestamp");
  EXPECT_EQ(complaint(pack({field("w", FieldSpec::Kind::number, DType::f32, {2})}, DType::f32), floats()),
            "column 'w', partition 3: has type float, expected numbers in an array of 2");
}

TEST(FieldReader, DatesOutsideTheReachAreErrors) {
  FieldSpec year = field("d", FieldSpec::Kind::part, DType::u16);
  year.parts = {{DatePart::Kind::year, {}}};
  const auto rows = batch(2, 0, numbers<int32_t>("d", "tdD", {0, kFirstDay - 1}));
  EXPECT_EQ(complaint(pack({year}, DType::f32), rows),
            "column 'd', partition 3, row 1: 0000-12-31 is before year 1, expected a date between them");
}

TEST(FieldReader, SkippedRowsLeaveNoTraceButTheirCount) {
  const ColumnSpec spec =
      pack({field("n", FieldSpec::Kind::number, DType::f32), field("f", FieldSpec::Kind::number, DType::f32, {1})},
           DType::f32);
  const auto rows = batch(4, 0, numbers<double>("n", "g", {1, INFINITY, 3, 4}, {2}),
                          lists<int32_t>("f", {0, 1, 2, 3, 5}, numbers<float>("", "f", {10, 20, 30, 40, 50})));
  std::map<std::string, int64_t> skipped;
  EXPECT_EQ(stored<float>(spec, rows, OnBadRow::skip, &skipped), (std::vector<float>{1, 10}));
  EXPECT_EQ(skipped, (std::map<std::string, int64_t>{{"column 'f' has another length", 1},
                                                     {"column 'n' is not a number that is allowed", 1},
                                                     {"column 'n' is null", 1}}));
}

TEST(FieldReader, SkippedLabelsAreCountedToo) {
  ColumnSpec label;
  label.name = label.shown = "y";
  label.dtype = DType::i64;
  label.integral = true;
  label.classes = 2;
  std::map<std::string, int64_t> skipped;
  const auto rows = batch(4, 0, numbers<double>("y", "g", {1, 0.5, 7, 0}, {3}));
  EXPECT_EQ(stored<int64_t>(label, rows, OnBadRow::skip, &skipped), (std::vector<int64_t>{1}));
  EXPECT_EQ(skipped, (std::map<std::string, int64_t>{{"column 'y' is not a number that is allowed", 2},
                                                     {"column 'y' is null", 1}}));
}

TEST(FieldReader, FieldsThatDoNotFillTheTensorAreABug) {
  ColumnSpec spec = pack({category("w", {"a"})}, DType::f32);
  spec.shape = {2};
  EXPECT_THROW(RowReader reader({spec}), Error);
}

}  // namespace
}  // namespace stoker::data
