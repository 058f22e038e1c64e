#pragma once
// A file's column as the dealer reads it: values by row, cast as Spark's SQL casts numbers. Views: the batch must
// outlive them.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "data/arrow/bits.h"
#include "data/arrow/layout.h"

namespace stoker::data {

struct SourceColumn {
  std::string_view format;
  const ArrowArray* array = nullptr;
  const ArrowSchema* schema = nullptr;
  int64_t first = 0;  // of row 0, in values from the buffers' start
  bool wide = false;  // offsets of 64 bits

  SourceColumn(const ArrowSchema& s, const ArrowArray& a, int64_t offset)
      : format(s.format), array(&a), schema(&s), first(a.offset + offset), wide(format == "+L" || is_large_text()) {}

  bool has_nulls() const { return data::has_nulls(*array); }
  bool valid(int64_t row) const { return !has_nulls() || is_set(array->buffers[0], first + row); }
  template <typename T>
  const T* buffer(int index) const {
    return static_cast<const T*>(array->buffers[index]);
  }
  bool is_list() const { return format == "+l" || format == "+L"; }
  bool is_text() const { return format == "u" || format == "z" || is_large_text(); }
  bool is_large_text() const { return format == "U" || format == "Z"; }
  /// The values of a list column.
  SourceColumn items() const { return {*schema->children[0], *array->children[0], 0}; }
  /// Those that lists or texts may begin and end at.
  int64_t positions() const {
    if (is_list()) return array->children[0]->length;
    return wide ? bytes_held<int64_t>(*array) : bytes_held<int32_t>(*array);
  }
  /// Where a list's or text's row begins.
  int64_t begin(int64_t row) const { return wide ? buffer<int64_t>(1)[first + row] : buffer<int32_t>(1)[first + row]; }
};

/// Calls `f` with a function from row to value, in the column's own type.
template <typename F>
void with_values(const SourceColumn& column, F f) {
  const auto plain = [&]<typename S>(S) {
    f([values = column.buffer<S>(1) + column.first](int64_t row) { return values[row]; });
  };
  if (column.format == "f") return plain(float{});
  if (column.format == "g") return plain(double{});
  if (column.format == "i") return plain(int32_t{});
  if (column.format == "l") return plain(int64_t{});
  if (column.format == "s") return plain(int16_t{});
  if (column.format == "c") return plain(int8_t{});
  if (column.format == "b") {
    return f(
        [bits = column.buffer<uint8_t>(1), first = column.first](int64_t row) { return is_set(bits, first + row); });
  }
  fail_bug("the Arrow format '", column.format, "' of '", column.schema->name, "' is none that is dealt");
}

/// The same with the values cast: `type` is a SQL type, or empty for the column's own.
template <typename F>
void with_cast(const SourceColumn& column, const std::string& type, F f) {
  if (type.empty()) return with_values(column, f);
  with_values(column, [&](auto at) {
    const auto as = [&]<typename T>(T) { f([at](int64_t row) { return static_cast<T>(at(row)); }); };
    if (type == "float") return as(float{});
    if (type == "double") return as(double{});
    if (type == "smallint") return as(int16_t{});
    if (type == "int") return as(int32_t{});
    if (type == "bigint") return as(int64_t{});
    fail_bug("nothing is cast to '", type, "'");
  });
}

}  // namespace stoker::data
