#include "data/arrow_type.h"

#include <cstdlib>
#include <string_view>

namespace stoker::data {
namespace {

struct LeafFormat {
  char format;
  Leaf leaf;
  const char* spark;
};
constexpr LeafFormat kLeaves[] = {
    {'b', Leaf::boolean, "boolean"}, {'c', Leaf::i8, "tinyint"}, {'C', Leaf::u8, "uint8"},
    {'s', Leaf::i16, "smallint"},    {'S', Leaf::u16, "uint16"}, {'i', Leaf::i32, "int"},
    {'I', Leaf::u32, "uint32"},      {'l', Leaf::i64, "bigint"}, {'L', Leaf::u64, "uint64"},
    {'e', Leaf::f16, "float16"},     {'f', Leaf::f32, "float"},  {'g', Leaf::f64, "double"},
};

struct OtherFormat {
  std::string_view prefix;
  const char* spark;
};
constexpr OtherFormat kOthers[] = {
    {"u", "string"},    {"U", "string"},   {"vu", "string"}, {"z", "binary"},     {"Z", "binary"}, {"vz", "binary"},
    {"w:", "binary"},   {"d:", "decimal"}, {"td", "date"},   {"ts", "timestamp"}, {"tt", "time"},  {"tD", "interval"},
    {"ti", "interval"}, {"+s", "struct"},  {"+m", "map"},    {"n", "void"},
};

const LeafFormat* find_leaf(std::string_view format) {
  for (const auto& leaf : kLeaves) {
    if (format.size() == 1 && format[0] == leaf.format) return &leaf;
  }
  return nullptr;
}

std::optional<Level> list_level(std::string_view format) {
  if (format == "+l") return Level{Level::Kind::list, 0};
  if (format == "+L") return Level{Level::Kind::large_list, 0};
  if (format.starts_with("+w:")) return Level{Level::Kind::fixed, std::strtoll(format.data() + 3, nullptr, 10)};
  return std::nullopt;
}

}  // namespace

std::optional<NumberType> number_type(const ArrowSchema& schema) {
  NumberType type;
  const ArrowSchema* at = &schema;
  for (auto level = list_level(at->format); level; level = list_level(at->format)) {
    type.levels.push_back(*level);
    at = at->children[0];
  }
  const LeafFormat* leaf = find_leaf(at->format);
  if (leaf == nullptr || at->dictionary != nullptr) return std::nullopt;
  type.leaf = leaf->leaf;
  return type;
}

std::string spark_type(const ArrowSchema& schema) {
  const std::string_view format = schema.format;
  if (schema.dictionary != nullptr) return "dictionary of " + spark_type(*schema.dictionary);
  if (list_level(format)) return "array<" + spark_type(*schema.children[0]) + ">";
  if (const LeafFormat* leaf = find_leaf(format)) return leaf->spark;
  for (const auto& other : kOthers) {
    if (format == other.prefix || (other.prefix.size() > 1 && format.starts_with(other.prefix))) return other.spark;
  }
  return "Arrow format '" + std::string(format) + "'";
}

}  // namespace stoker::data
