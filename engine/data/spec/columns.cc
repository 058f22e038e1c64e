#include "data/spec/columns.h"

#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "base/base64.h"
#include "base/error.h"
#include "data/spec/model_tokenizer.h"
#include "data/spec/piece_tokenizer.h"

namespace stoker::data {
namespace {

struct Named {
  const char* name;
  DType dtype;
  size_t size;
};
constexpr std::array<Named, 6> kDTypes = {{{"float32", DType::f32, 4},
                                           {"float64", DType::f64, 8},
                                           {"int32", DType::i32, 4},
                                           {"int64", DType::i64, 8},
                                           {"uint8", DType::u8, 1},
                                           {"uint16", DType::u16, 2}}};

using nlohmann::json;

void check_keys(const json& object, const std::set<std::string>& known, const char* what) {
  for (const auto& [key, value] : object.items()) {
    if (!known.contains(key)) fail_bug("a ", what, " has no '", key, "'");
  }
}

FieldSpec::Kind parse_kind(const std::string& name) {
  static constexpr const char* kinds[] = {"plain", "number", "category", "hash", "part", "present", "image", "text"};
  for (size_t i = 0; i < std::size(kinds); ++i) {
    if (name == kinds[i]) return static_cast<FieldSpec::Kind>(i);
  }
  fail_bug("unknown kind of field '", name, "'");
}

DatePart parse_date_part(const json& in) {
  check_keys(in, {"part", "table"}, "part of a date");
  DatePart part{parse_part(in.at("part")), in.value("table", DatePart{}.table)};
  const auto rows = static_cast<int64_t>(part.table.size());
  if (rows != 0 && rows != period(part.kind)) fail_bug("a table of ", rows, " rows for ", in.at("part"));
  return part;
}

std::shared_ptr<const Vocabulary> parse_vocabulary(const json& in) {
  if (in.contains("words")) return std::make_shared<Vocabulary>(in.at("words").get<std::vector<std::string>>());
  if (in.contains("numbers")) return std::make_shared<Vocabulary>(in.at("numbers").get<std::vector<int64_t>>());
  return nullptr;
}

images::Size parse_size(const json& in) { return {in.at(0), in.at(1)}; }

std::shared_ptr<const ImageSpec> parse_image(const json& in) {
  check_keys(in, {"channels", "size", "crop", "flip", "cover", "max_pixels", "mean", "deviation"}, "picture");
  auto spec = std::make_shared<ImageSpec>();
  spec->channels = in.at("channels");
  spec->size = parse_size(in.at("size"));
  spec->crop = in.contains("crop") ? parse_size(in.at("crop")) : spec->size;
  spec->flip = in.value("flip", false);
  spec->cover = in.value("cover", false);
  spec->max_pixels = in.at("max_pixels");
  spec->mean = in.at("mean").get<std::vector<double>>();
  spec->deviation = in.at("deviation").get<std::vector<double>>();
  const auto channels = static_cast<size_t>(spec->channels);
  STOKER_CHECK((channels == 1 || channels == 3) && spec->mean.size() == channels && spec->deviation.size() == channels);
  STOKER_CHECK(spec->crop.height <= spec->size.height && spec->crop.width <= spec->size.width &&
               spec->crop.pixels() > 0);
  return spec;
}

std::shared_ptr<const Tokenizer> parse_tokenizer(const json& in, std::shared_ptr<const Vocabulary> words) {
  const std::string kind = in.at("tokenizer");
  if (kind == "byte") return byte_tokenizer();
  if (kind == "word") return word_tokenizer(std::move(words), in.at("lower"));
  if (kind == "sentencepiece" || kind == "wordpiece" || kind == "bpe") {
    const auto make = kind == "sentencepiece" ? piece_tokenizer : model_tokenizer;
    return make(decode_base64(in.at("pieces").get<std::string>()), in.at("bos"), in.at("eos"));
  }
  fail_bug("unknown tokenizer '", kind, "'");
}

void check_field(const FieldSpec& field) {
  const auto cells = static_cast<size_t>(field.cells());
  for (const auto* many : {&field.fill, &field.mean, &field.scale})
    STOKER_CHECK(many->empty() || many->size() == 1 || many->size() == cells);
  STOKER_CHECK(cells > 0 && field.mean.size() == field.scale.size());
  STOKER_CHECK(field.shown.size() == 1 || field.shown.size() == cells);
  STOKER_CHECK(!field.fill_missing || !field.fill.empty());
  STOKER_CHECK(field.kind != FieldSpec::Kind::category || field.vocabulary != nullptr);
  STOKER_CHECK(field.kind != FieldSpec::Kind::hash || field.buckets > 1);
  STOKER_CHECK(field.kind != FieldSpec::Kind::part || (!field.parts.empty() && cells == 1));
  STOKER_CHECK((field.kind == FieldSpec::Kind::text) == (field.tokenizer != nullptr && field.length > 0 && cells == 1));
  const bool picture = field.kind == FieldSpec::Kind::image;
  STOKER_CHECK(picture == (field.image != nullptr) && (!picture || (cells == 1 && field.stored == DType::u8)));
}

FieldSpec parse_field(const json& in) {
  check_keys(in, {"column",    "shown", "kind",   "stored", "shape",  "padded",  "pad",     "fill_missing", "fill",
                  "mean",      "scale", "lossy",  "unit",   "words",  "numbers", "buckets", "parts",        "image",
                  "tokenizer", "lower", "length", "mask",   "pieces", "bos",     "eos"},
             "field");
  FieldSpec field;
  field.column = in.at("column");
  field.shown = in.at("shown");
  field.kind = parse_kind(in.at("kind"));
  field.stored = parse_dtype(in.at("stored"));
  field.shape = in.value("shape", field.shape);
  field.padded = in.value("padded", field.padded);
  field.pad = in.value("pad", field.pad);
  field.fill_missing = in.value("fill_missing", field.fill_missing);
  field.fill = in.value("fill", field.fill);
  field.mean = in.value("mean", field.mean);
  field.scale = in.value("scale", field.scale);
  field.lossy = in.value("lossy", field.lossy);
  field.unit = in.value("unit", field.unit);
  field.vocabulary = parse_vocabulary(in);
  field.buckets = in.value("buckets", field.buckets);
  if (in.contains("parts"))
    for (const auto& part : in.at("parts")) field.parts.push_back(parse_date_part(part));
  if (in.contains("tokenizer")) field.tokenizer = parse_tokenizer(in, field.vocabulary);
  field.length = in.value("length", field.length);
  field.mask = in.value("mask", field.mask);
  if (in.contains("image")) field.image = parse_image(in.at("image"));
  check_field(field);
  return field;
}

ColumnSpec parse_column(const json& in) {
  check_keys(in,
             {"name", "shown", "dtype", "shape", "integral", "classes", "ignored", "has_ignored", "finite",
              "non_negative", "fields"},
             "column specification");
  ColumnSpec spec;
  spec.name = in.at("name");
  spec.shown = in.value("shown", spec.name);
  spec.dtype = parse_dtype(in.value("dtype", "float32"));
  spec.shape = in.value("shape", spec.shape);
  spec.integral = in.value("integral", spec.integral);
  spec.classes = in.value("classes", spec.classes);
  spec.ignored = in.value("ignored", spec.ignored);
  spec.has_ignored = in.value("has_ignored", spec.has_ignored);
  spec.finite = in.value("finite", spec.finite);
  spec.non_negative = in.value("non_negative", spec.non_negative);
  if (in.contains("fields"))
    for (const auto& field : in.at("fields")) spec.fields.push_back(parse_field(field));
  return spec;
}

int64_t product(const std::vector<int64_t>& shape) {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

}  // namespace

size_t size_of(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].size; }
const char* name(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }

DType parse_dtype(const std::string& name) {
  for (const auto& known : kDTypes) {
    if (name == known.name) return known.dtype;
  }
  fail_bug("unknown dtype '", name, "'");
}

int64_t ColumnSpec::elements() const { return product(shape); }
int64_t FieldSpec::cells() const { return product(shape); }

int64_t FieldSpec::values() const {
  if (kind == Kind::image) return image->channels * image->crop.pixels();
  if (kind == Kind::text) return length;
  if (kind != Kind::part) return cells();
  int64_t width = 0;
  for (const DatePart& part : parts) width += part.width();
  return width;
}

size_t FieldSpec::row_bytes() const {
  if (kind == Kind::image) return image->channels * image->size.pixels();
  return static_cast<size_t>(values()) * size_of(stored);
}

FieldSpec plain_field(const ColumnSpec& spec) {
  FieldSpec field;
  field.column = spec.name;
  field.shown = {spec.shown};
  field.stored = spec.dtype;
  field.shape = spec.shape;
  return field;
}

std::vector<ColumnSpec> parse_columns(const std::string& json) {
  try {
    std::vector<ColumnSpec> columns;
    for (const auto& entry : nlohmann::json::parse(json)) columns.push_back(parse_column(entry));
    return columns;
  } catch (const nlohmann::json::exception& error) {
    fail_bug("column specifications cannot be read: ", error.what());
  }
}

}  // namespace stoker::data
