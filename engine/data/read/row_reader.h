#pragma once
// Reads record batches by the columns' specifications: into rows as they are stored, or into tensors at once. Training
// and inference read through here, so both see the same numbers. Immutable once made, but for the batch under way.
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "data/read/field_reader.h"
#include "data/spec/columns.h"
#include "data/spec/faults.h"

struct ArrowArray;
struct ArrowSchema;

namespace stoker::data {

/// One field and its places in a stored row and in its column's tensor.
struct Slot {
  FieldSpec field;
  ColumnSpec dense;   // see dense_spec
  int column = 0;     // of the specifications
  size_t offset = 0;  // in a stored row, in bytes
  int64_t at = 0;     // in a row of the tensor, in values
};

class RowReader {
 public:
  explicit RowReader(std::vector<ColumnSpec> columns);
  RowReader(const RowReader&) = delete;

  const std::vector<ColumnSpec>& columns() const { return columns_; }
  /// The slots of one column.
  const std::vector<const Slot*>& slots(int column) const { return by_column_[column]; }
  /// Bytes of a stored row: its fields side by side, without gaps.
  size_t stride() const { return stride_; }

  /// One reader per slot. Throws Error(user) where a column is missing or of a wrong type; the batch and `faults` must
  /// outlive the readers. REQUIRES: check_batch().
  std::deque<FieldReader> open(const ArrowArray& batch, const ArrowSchema& schema, Faults& faults) const;
  /// Stores `count` rows of the batch at `out`, stride() apart.
  void read(std::deque<FieldReader>& readers, int64_t begin, int64_t count, std::byte* out) const;
  /// Stores `count` rows of one column's tensor, dense.
  void read_tensor(std::deque<FieldReader>& readers, int column, int64_t begin, int64_t count, std::byte* out) const;

 private:
  void add(int column, FieldSpec field, int64_t at);

  std::vector<ColumnSpec> columns_;
  std::deque<Slot> slots_;
  std::vector<std::vector<const Slot*>> by_column_;
  size_t stride_ = 0;
};

/// The child of a record batch; Error(user) where there is none. `shown` is the user's name.
int child_of(const ArrowSchema& schema, const std::string& name, const std::string& shown, int partition);
/// -1 where there is none.
int find_child(const ArrowSchema& schema, const std::string& name);
/// Throws Error(bug) for what is no record batch, Error(user) for one whose arrays are not what they say.
void check_batch(const ArrowArray& batch, const ArrowSchema& schema, int partition);

}  // namespace stoker::data
