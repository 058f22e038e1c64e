// Reading of column specifications.
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "data/column_store.h"

namespace stoker::data {
namespace {

struct Named {
  const char* name;
  DType dtype;
  size_t size;
};
constexpr std::array<Named, 5> kDTypes = {{{"float32", DType::f32, 4},
                                           {"float64", DType::f64, 8},
                                           {"int32", DType::i32, 4},
                                           {"int64", DType::i64, 8},
                                           {"uint8", DType::u8, 1}}};

ColumnSpec parse_column(const nlohmann::json& json) {
  static const std::set<std::string> known = {"name",    "shown",   "dtype",       "shape",  "integral",
                                              "classes", "ignored", "has_ignored", "finite", "non_negative"};
  for (const auto& [key, value] : json.items()) {
    if (!known.contains(key)) fail_bug("a column specification has no field '", key, "'");
  }
  ColumnSpec spec;
  spec.name = json.at("name");
  spec.shown = json.value("shown", spec.name);
  spec.dtype = parse_dtype(json.value("dtype", "float32"));
  spec.shape = json.value("shape", spec.shape);
  spec.integral = json.value("integral", spec.integral);
  spec.classes = json.value("classes", spec.classes);
  spec.ignored = json.value("ignored", spec.ignored);
  spec.has_ignored = json.value("has_ignored", spec.has_ignored);
  spec.finite = json.value("finite", spec.finite);
  spec.non_negative = json.value("non_negative", spec.non_negative);
  return spec;
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

int64_t ColumnSpec::elements() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
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
