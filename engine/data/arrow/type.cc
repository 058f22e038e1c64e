#include "data/arrow/type.h"

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

bool is_index(Leaf leaf) { return leaf >= Leaf::i8 && leaf <= Leaf::u64; }

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

std::optional<Level> bytes_level(std::string_view format) {
  if (format == "z") return Level{Level::Kind::bytes};
  if (format == "Z") return Level{Level::Kind::large_bytes};
  return std::nullopt;
}

/// Texts, times and decimals.
bool set_other_leaf(std::string_view format, CellType& type) {
  if (format == "u" || format == "z")
    type.leaf = Leaf::text;
  else if (format == "U" || format == "Z")
    type.leaf = Leaf::large_text;
  else if (format == "tdD")
    type.leaf = Leaf::date;
  else if (format.starts_with("ts")) {
    type.leaf = Leaf::timestamp;
    type.per_second = format[2] == 's' ? 1 : format[2] == 'm' ? 1'000 : format[2] == 'u' ? 1'000'000 : 1'000'000'000;
  } else if (format.starts_with("d:")) {
    const auto comma = format.find(',');
    if (format.find(',', comma + 1) != format.npos) return false;  // of another width than 128 bits
    type.leaf = Leaf::decimal;
    type.scale = std::atoi(format.data() + comma + 1);
  } else
    return false;
  return true;
}

bool is_plain(const ArrowSchema& schema, std::string_view format) {
  return schema.format == format && schema.dictionary == nullptr;
}

bool is_vector(const ArrowSchema& schema) {
  constexpr std::string_view names[] = {"type", "size", "indices", "values"};
  constexpr std::string_view formats[] = {"c", "i", "+l", "+l"};
  if (std::string_view(schema.format) != "+s" || schema.n_children != 4) return false;
  for (int i = 0; i < 4; ++i) {
    const ArrowSchema& child = *schema.children[i];
    if (child.name == nullptr || child.name != names[i] || !is_plain(child, formats[i])) return false;
  }
  return is_plain(*schema.children[2]->children[0], "i") && is_plain(*schema.children[3]->children[0], "g");
}

}  // namespace

std::optional<CellType> cell_type(const ArrowSchema& schema, Bytes bytes) {
  CellType type;
  const ArrowSchema* at = &schema;
  for (auto level = list_level(at->format); level; level = list_level(at->format)) {
    type.levels.push_back(*level);
    at = at->children[0];
  }
  if (is_vector(*at)) {
    type.levels.push_back({Level::Kind::vector});
    type.leaf = Leaf::f64;
    return type.levels.size() == 1 ? std::optional(type) : std::nullopt;
  }
  const std::string_view format = at->format;
  if (const auto level = bytes_level(format); level && bytes == Bytes::as_numbers) {
    type.levels.push_back(*level);
    type.leaf = Leaf::u8;
    return type;
  }
  if (at->dictionary != nullptr) {
    const LeafFormat* index = find_leaf(at->format);
    if (index == nullptr || !is_index(index->leaf) || at->dictionary->dictionary != nullptr) return std::nullopt;
    type.index = index->leaf;
    at = at->dictionary;
  }
  if (const LeafFormat* leaf = find_leaf(at->format)) {
    type.leaf = leaf->leaf;
  } else if (!set_other_leaf(at->format, type)) {
    return std::nullopt;
  }
  return type;
}

std::optional<NumberType> number_type(const ArrowSchema& schema) {
  NumberType type;
  const ArrowSchema* at = &schema;
  for (auto level = list_level(at->format); level; level = list_level(at->format)) {
    type.levels.push_back(*level);
    at = at->children[0];
  }
  const LeafFormat* leaf = find_leaf(at->format);
  if (at->dictionary != nullptr) return std::nullopt;
  if (const auto bytes = bytes_level(at->format)) {
    type.levels.push_back(*bytes);
    type.leaf = Leaf::u8;
    return type;
  }
  CellType other;
  if (leaf != nullptr) {
    type.leaf = leaf->leaf;
  } else if (set_other_leaf(at->format, other) && other.leaf == Leaf::decimal) {
    type.leaf = Leaf::decimal;
    type.scale = other.scale;
  } else {
    return std::nullopt;
  }
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
