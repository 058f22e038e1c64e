#pragma once
// Sound record batches of every kind of column that a fit may declare, to be spoilt.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/spec/columns.h"
#include "data/test_batch.h"

namespace stoker::fuzz {

using data::FieldSpec;
using data::testing::ColumnPtr;

struct Case {
  data::ColumnSpec spec;
  ColumnPtr rows;      // the column "x", before it becomes a batch
  bool dealt = false;  // a direct scan knows the type too
};

constexpr int64_t kRows = 5;

inline FieldSpec field(FieldSpec::Kind kind, std::vector<int64_t> shape = {}) {
  FieldSpec spec;
  spec.column = "x";
  spec.shown = {"x"};
  spec.kind = kind;
  spec.shape = std::move(shape);
  return spec;
}

inline data::ColumnSpec of(FieldSpec field) {
  data::ColumnSpec spec;
  spec.name = spec.shown = "x";
  spec.shape = {field.values()};
  spec.fields = {std::move(field)};
  return spec;
}

template <typename T>
std::vector<T> counted(int64_t n) {
  std::vector<T> values;
  for (int64_t i = 0; i < n; ++i) values.push_back(static_cast<T>(i));
  return values;
}

template <typename O = int32_t>
ColumnPtr even_lists(const std::string& name, int64_t lists, int64_t each, ColumnPtr child) {
  std::vector<O> offsets = counted<O>(lists + 1);
  for (O& offset : offsets) offset *= static_cast<O>(each);
  return data::testing::lists<O>(name, offsets, std::move(child), {1});
}

inline ColumnPtr texts() { return data::testing::words("x", {"a b", "b", "", "c", "a"}, {3}); }

inline ColumnPtr large_texts() {
  auto column = std::make_unique<data::testing::Column>();
  column->name = "x";
  column->format = "U";
  column->buffers.push_back(nullptr);
  column->add_buffer<int64_t>({0, 1, 2, 2, 4, 5});
  column->add_buffer<char>({'a', 'b', 'c', 'a', 'b'});
  column->finish(kRows, 0);
  return column;
}

inline ColumnPtr binaries(const std::string& name, const std::vector<std::string>& values) {
  ColumnPtr column = data::testing::words(name, values);
  column->format = "z";
  return column;
}

inline ColumnPtr dictionary() {
  auto column = std::make_unique<data::testing::Column>();
  column->name = "x";
  column->format = "c";
  column->buffers.push_back(nullptr);
  column->add_buffer<int8_t>({0, 1, 2, 1, 0});
  column->dictionary = data::testing::words("", {"a", "b", "c"}, {2});
  column->finish(kRows, 0);
  return column;
}

inline ColumnPtr structure(std::vector<ColumnPtr> children) {
  auto column = std::make_unique<data::testing::Column>();
  column->name = "x";
  column->format = "+s";
  data::testing::add_validity(*column, {3}, kRows);
  for (ColumnPtr& child : children) column->children.push_back(std::move(child));
  column->finish(kRows, 0);
  return column;
}

inline ColumnPtr decimals() {
  ColumnPtr column = data::testing::numbers("x", "d:10,2", counted<int64_t>(kRows * 2));
  column->array.length = kRows;  // of two words each
  return column;
}

inline ColumnPtr vectors(bool sparse) {
  using data::testing::numbers;
  std::vector<ColumnPtr> parts;
  parts.push_back(numbers<int8_t>("type", "c", std::vector<int8_t>(kRows, sparse ? 0 : 1)));
  parts.push_back(numbers<int32_t>("size", "i", std::vector<int32_t>(kRows, 4)));
  const int64_t each = sparse ? 2 : 4;
  std::vector<int32_t> indices;
  for (int64_t i = 0; i < kRows * 2; ++i) indices.push_back(i % 2 ? 3 : 1);
  parts.push_back(even_lists("indices", kRows, 2, numbers("", "i", indices)));
  parts.push_back(even_lists("values", kRows, each, numbers("", "g", counted<double>(kRows * each))));
  return structure(std::move(parts));
}

inline ColumnPtr image_structs() {
  using data::testing::numbers;
  const auto all = [](int32_t value) { return std::vector<int32_t>(kRows, value); };
  std::vector<ColumnPtr> parts;
  parts.push_back(data::testing::words("origin", std::vector<std::string>(kRows, "f")));
  parts.push_back(numbers<int32_t>("height", "i", all(2)));
  parts.push_back(numbers<int32_t>("width", "i", all(3)));
  parts.push_back(numbers<int32_t>("nChannels", "i", all(1)));
  parts.push_back(numbers<int32_t>("mode", "i", all(0)));
  parts.push_back(binaries("data", std::vector<std::string>(kRows, "123456")));
  return structure(std::move(parts));
}

inline FieldSpec picture(int channels) {
  FieldSpec spec = field(FieldSpec::Kind::image);
  spec.stored = data::DType::u8;
  auto image = std::make_shared<data::ImageSpec>();
  image->channels = channels;
  image->size = image->crop = {3, 3};
  image->max_pixels = 10'000;
  image->mean = std::vector<double>(channels, 0.5);
  image->deviation = std::vector<double>(channels, 0.5);
  spec.image = image;
  return spec;
}

inline FieldSpec category(std::vector<int64_t> shape = {}) {
  FieldSpec spec = field(FieldSpec::Kind::category, std::move(shape));
  spec.vocabulary = std::make_shared<data::Vocabulary>(std::vector<std::string>{"a", "b"});
  return spec;
}

inline FieldSpec text(std::shared_ptr<const data::Tokenizer> tokenizer) {
  FieldSpec spec = field(FieldSpec::Kind::text);
  spec.tokenizer = std::move(tokenizer);
  spec.length = 4;
  return spec;
}

inline FieldSpec padded(FieldSpec spec) {
  spec.padded = true;
  return spec;
}

inline FieldSpec hashed(std::vector<int64_t> shape = {}) {
  FieldSpec spec = field(FieldSpec::Kind::hash, std::move(shape));
  spec.buckets = 7;
  return spec;
}

inline FieldSpec parts() {
  FieldSpec spec = field(FieldSpec::Kind::part);
  for (const char* part : {"year", "weekday", "yearday", "second"}) spec.parts.push_back({data::parse_part(part), {}});
  return spec;
}

inline FieldSpec standardised(FieldSpec spec) {
  spec.mean = {2};
  spec.scale = {3};
  spec.fill = {1};
  spec.fill_missing = true;
  return spec;
}

/// Case number `which`; none beyond the last one.
inline Case case_of(int which, const std::vector<std::string>& files) {
  using data::testing::fixed_lists;
  using data::testing::lists;
  using data::testing::numbers;
  using Kind = FieldSpec::Kind;
  const auto floats = [](int64_t n) { return numbers("", "f", counted<float>(n), {2}); };
  const auto words = std::make_shared<data::Vocabulary>(std::vector<std::string>{"a", "b"});
  switch (which) {
    case 0:
      return {of(field(Kind::plain)), numbers("x", "g", counted<double>(kRows)), true};
    case 1:
      return {of(field(Kind::plain, {2})), even_lists("x", kRows, 2, numbers("", "f", counted<float>(10))), true};
    case 2:
      return {of(standardised(field(Kind::number, {2}))), even_lists<int64_t>("x", kRows, 2, floats(10)), true};
    case 3:
      return {of(field(Kind::number, {2, 2})), even_lists("x", kRows, 2, even_lists("", 10, 2, floats(20)))};
    case 4:
      return {of(field(Kind::number, {4})), fixed_lists("x", 4, kRows, floats(20))};
    case 5:
      return {of(padded(field(Kind::number, {3}))),
              lists<int32_t>("x", {0, 1, 5, 5, 7, 10}, numbers("", "e", counted<uint16_t>(10), {4})), false};
    case 6:
      return {of(field(Kind::number, {4})), vectors(true)};
    case 7:
      return {of(field(Kind::number, {4})), vectors(false)};
    case 8:
      return {of(field(Kind::number, {3})), binaries("x", std::vector<std::string>(kRows, "abc"))};
    case 9:
      return {of(field(Kind::number)), decimals()};
    case 10:
      return {of(category()), dictionary()};
    case 11:
      return {of(category()), texts(), true};
    case 12:
      return {of(padded(hashed({3}))), lists<int32_t>("x", {0, 1, 3, 3, 4, 5}, texts())};
    case 13:
      return {of(hashed()), large_texts(), true};
    case 14:
      return {of(text(data::byte_tokenizer())), texts(), true};
    case 15:
      return {of(text(data::word_tokenizer(words, true))), dictionary()};
    case 16:
      return {of(parts()), numbers("x", "tdD", counted<int32_t>(kRows), {2})};
    case 17:
      return {of(parts()), numbers("x", "tsn:", counted<int64_t>(kRows), {2})};
    case 18:
      return {of(field(Kind::present)), vectors(true)};
    case 19:
      return {of(picture(1)), image_structs()};
    case 20:
      return {of(picture(3)), binaries("x", files)};
    default:
      return {of(padded(field(Kind::present, {3}))), even_lists("x", kRows, 2, floats(10)), true};
  }
}
constexpr int kCases = 22;

}  // namespace stoker::fuzz
