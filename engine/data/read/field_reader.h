#pragma once
// One field of one record batch, read into the form in which it is stored. Not thread-safe; slot, batch and faults must
// outlive the reader.
#include <cstdint>
#include <optional>
#include <vector>

#include "data/arrow/cells.h"
#include "data/arrow/reader.h"
#include "data/read/image_reader.h"
#include "data/spec/columns.h"
#include "data/spec/decimal.h"
#include "data/spec/faults.h"

namespace stoker::data {

class FieldReader {
 public:
  /// Rows `first` to `first + rows` of `array`, before the array's own offset. `dense` says how the same values are
  /// read where nothing is missing (see dense_spec).
  FieldReader(const FieldSpec& field, const ColumnSpec& dense, const ArrowSchema& schema, const ArrowArray& array,
              int64_t first, int64_t rows, Faults& faults);
  /// Stores row `begin + i`, i < count, at `out + i * stride`. What a faulty row leaves there has no meaning.
  void read(int64_t begin, int64_t count, std::byte* out, size_t stride);

 private:
  bool read_dense(int64_t begin, int64_t count, std::byte* out, size_t stride);
  template <typename T>
  void convert_block(std::vector<T>& out);
  template <typename T>
  void read_numbers(std::vector<T>& out);
  template <typename T, typename S>
  T number(S value, int64_t i);
  template <typename T>
  T number(Decimal value, int64_t i);
  template <typename T>
  T absent(int64_t cell, int64_t i);
  template <typename T>
  void read_categories(std::vector<T>& out);
  template <typename T>
  void read_hashes(std::vector<T>& out);
  template <typename T>
  void read_parts(std::vector<T>& out);
  template <typename T>
  void read_texts(std::vector<T>& out);
  template <typename T>
  void put_parts(const Moment& moment, T* out) const;
  std::optional<Moment> moment(int64_t position, int64_t i);
  template <typename T>
  void read_presence(std::vector<T>& out);
  bool missing(int64_t cell) const;
  double of(const std::vector<double>& one_or_all, int64_t i) const;
  void fault(int64_t i, const char* reason, const std::string& what, const std::string& cure = "");
  void missing_fault(int64_t cell, int64_t i);

  const FieldSpec& field_;
  const ColumnSpec& dense_spec_;
  Faults& faults_;
  std::optional<ArrowReader> dense_;
  std::optional<Cells> cells_;
  std::optional<ImageReader> images_;
  int64_t per_row_;             // cells
  int64_t begin_ = 0;           // of the block under way
  std::vector<int64_t> block_;  // its cells
};

/// The rules by which a field without policies would be read.
ColumnSpec dense_spec(const ColumnSpec& column, const FieldSpec& field);

}  // namespace stoker::data
