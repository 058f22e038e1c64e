#pragma once
// Arrow types as far as tensors need them: lists of lists of ... of a number, a text or a time. Pure functions of a
// schema.
#include <optional>
#include <string>
#include <vector>

#include "data/arrow/abi.h"

namespace stoker::data {

enum class Leaf {
  boolean,
  i8,
  u8,
  i16,
  u16,
  i32,
  u32,
  i64,
  u64,
  f16,
  f32,
  f64,  // numbers
  text,
  large_text,
  date,
  timestamp,
  decimal
};

struct Level {
  /// Bytes are lists of u8 whose values lie in the array itself; a vector is Spark ML's struct.
  enum class Kind { list, large_list, fixed, bytes, large_bytes, vector } kind = Kind::list;
  int64_t size = 0;  // of a fixed-size list
};

inline bool is_bytes(const Level& level) {
  return level.kind == Level::Kind::bytes || level.kind == Level::Kind::large_bytes;
}

struct NumberType {
  std::vector<Level> levels;  // outermost first; empty for a plain number
  Leaf leaf = Leaf::f32;
  int scale = 0;  // of a decimal
};

struct CellType {
  std::vector<Level> levels;  // outermost first
  Leaf leaf = Leaf::f32;
  Leaf index = Leaf::i32;  // of a dictionary
  int scale = 0;           // of a decimal
  int64_t per_second = 0;  // of a timestamp
};

enum class Bytes { as_numbers, as_text };

/// Nothing when the type holds what no field is read from.
std::optional<CellType> cell_type(const ArrowSchema& schema, Bytes bytes);
/// Nothing when the type holds anything else than numbers; bytes are some.
std::optional<NumberType> number_type(const ArrowSchema& schema);
/// The type in Spark's words: "array<float>", "string", "bigint".
std::string spark_type(const ArrowSchema& schema);

}  // namespace stoker::data
