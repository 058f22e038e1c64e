#pragma once
// Where the values of one field lie in one Arrow array, whatever its nesting, nulls and lengths. Not thread-safe; the
// array must outlive the object.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "data/arrow/abi.h"
#include "data/arrow/layout.h"
#include "data/arrow/type.h"
#include "data/spec/columns.h"
#include "data/spec/faults.h"

namespace stoker::data {

/// Cells that have no value in the array.
enum Cell : int64_t { kZero = -1, kPadding = -2, kNull = -3, kNullRow = -4 };
inline bool is_null(int64_t cell) { return cell <= kNull; }

/// The values that cells point to, by position from the buffers' start.
struct LeafView {
  CellType type;
  const void* values = nullptr;
  const void* offsets = nullptr;  // of text
  int64_t bytes = 0;              // of all texts

  bool is_text() const { return type.leaf == Leaf::text || type.leaf == Leaf::large_text; }
  Range text_range(int64_t position) const;
  /// REQUIRES: a cell of Cells::locate(), which has looked at its range.
  std::string_view text(int64_t position) const;
  bool bit(int64_t position) const;
  template <typename S>
  S at(int64_t position) const {
    return static_cast<const S*>(values)[position];
  }
};

class Cells {
 public:
  /// Row 0 is `first` of `array`, before the array's own offset. Throws Error(user) for a type that the field cannot be
  /// read from; `expected` says which it can. REQUIRES: an array without a layout_fault().
  Cells(const FieldSpec& field, const ArrowSchema& schema, const ArrowArray& array, int64_t first, const char* expected,
        Faults& faults);
  /// field.cells() cells per row, each of which is there. Rows of a wrong length, and those whose offsets, indices or
  /// sizes point elsewhere, are faults, and zeros.
  void locate(int64_t begin, int64_t count, std::vector<int64_t>& out);
  const LeafView& leaf() const { return leaf_; }

 private:
  void check_shape(const ArrowSchema& schema, const char* expected) const;
  void find_leaf(const ArrowArray& array);
  void walk(size_t level, const ArrowArray& array, int64_t i);
  void walk_entries(size_t level, const ArrowArray& array, int64_t begin, int64_t count);
  void walk_vector(const ArrowArray& array, int64_t i);
  bool whole_vector(const ArrowArray& array, int64_t i, bool sparse);
  void walk_sparse(const ArrowArray& indices, const ArrowArray& values, int64_t i);
  void walk_leaf(const ArrowArray& array, int64_t i);
  int64_t leaf_cell(const ArrowArray& array, int64_t i);
  void check_texts(int64_t begin, std::vector<int64_t>& cells);
  void spoilt(const std::string& what) { faults_.add(row_, field_.shown[0], kSpoilt, cat(kSpoilt, ": ", what)); }
  bool there(Range range, int64_t end);
  bool right_length(int64_t have, int64_t want);
  int64_t null_at(size_t level) const;
  int64_t wanted(size_t level) const;
  int64_t below(size_t level) const;
  void emit(int64_t count, int64_t cell) { next_ = std::fill_n(next_, count, cell); }

  const FieldSpec& field_;
  const ArrowArray& array_;
  int64_t first_;
  Faults& faults_;
  LeafView leaf_;
  bool whole_rows_ = false;  // a row is there, or not
  bool leaf_clean_ = false;  // no nulls, no dictionary
  int64_t row_ = 0;          // under way
  int64_t* next_ = nullptr;  // cell to be written
};

}  // namespace stoker::data
