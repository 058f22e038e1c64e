#pragma once
// One column of one record batch, read as rows of numbers. Not thread-safe; the batch must outlive the reader.
//
// Whatever the nesting, a column whose lists all have the wanted lengths and no nulls is one run of leaf values, so
// many per row. The constructor proves that (or throws Error(user)), read() converts and checks values.
#include <cstdint>
#include <string>
#include <vector>

#include "data/arrow/abi.h"
#include "data/arrow/type.h"
#include "data/spec/columns.h"
#include "data/spec/faults.h"

namespace stoker::data {

class ArrowReader {
 public:
  /// Rows `first` to `first + rows` of `array`, before the array's own offset.
  ArrowReader(const ColumnSpec& spec, const ArrowSchema& schema, const ArrowArray& array, int64_t first, int64_t rows,
              BatchPlace place);
  /// Stores row `begin + i` of the rows, i < count, as dense values at `out + i * stride`.
  void read(int64_t begin, int64_t count, std::byte* out, size_t stride);
  [[noreturn]] void fail(int64_t row, const std::string& what) const;

 private:
  void check_type(const ArrowSchema& schema) const;
  void descend(const ArrowArray& array, int64_t first);
  void check_nulls(const ArrowArray& array, int64_t begin, int64_t count, int64_t per_row, const char* what) const;
  int64_t list_begin(const Level& level, const ArrowArray& array, int64_t begin, int64_t count, int64_t want) const;
  template <typename O>
  int64_t offsets_begin(const ArrowArray& array, int64_t begin, int64_t count, int64_t want, int64_t end) const;
  template <typename S>
  void read_from(const S* values, int64_t begin, int64_t count, std::byte* out, size_t stride);
  template <typename S, typename T>
  void read_as(const S* values, int64_t begin, int64_t count, std::byte* out, size_t stride);
  template <typename S>
  const S* leaves(int64_t begin) const {
    return static_cast<const S*>(values_) + leaf_begin_ + begin * per_row_;
  }
  void widen_bits(int64_t begin, int64_t count);
  void widen_halves(int64_t begin, int64_t count);
  void widen_decimals(int64_t begin, int64_t count);

  const ColumnSpec& spec_;
  NumberType type_;
  int64_t rows_;
  int64_t per_row_;
  BatchPlace place_;
  const void* values_ = nullptr;  // the leaf's buffer
  int64_t leaf_begin_ = 0;        // of the first row, in values from the buffer's start
  std::vector<std::byte> scratch_;
  std::vector<std::byte> widened_;
};

}  // namespace stoker::data
