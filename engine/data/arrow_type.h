#pragma once
// Arrow types as far as rows of numbers need them: lists of lists of ... of a number. Pure functions of a schema.
#include <optional>
#include <string>
#include <vector>

#include "data/arrow_abi.h"

namespace stoker::data {

enum class Leaf { boolean, i8, u8, i16, u16, i32, u32, i64, u64, f16, f32, f64 };

struct Level {
  enum class Kind { list, large_list, fixed } kind = Kind::list;
  int64_t size = 0;  // of a fixed-size list
};

struct NumberType {
  std::vector<Level> levels;  // outermost first; empty for a plain number
  Leaf leaf = Leaf::f32;
};

/// Nothing when the type holds anything else than numbers.
std::optional<NumberType> number_type(const ArrowSchema& schema);
/// The type in Spark's words: "array<float>", "string", "bigint".
std::string spark_type(const ArrowSchema& schema);

}  // namespace stoker::data
