#pragma once
// The rows of the shards that one worker owns, in the dtypes that the program wants. Filled from Arrow record batches;
// read by row number and column once sealed. One thread fills; after seal() any number may read.
//
// The batches' columns come by name: one per ColumnSpec, and "__shard" (int32) where the worker owns more than one
// shard. A row's columns are stored side by side, in the order of the specifications and without gaps: so a shuffled
// row costs one trip to memory, and its bytes are what is hashed and compared.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/hash.h"

struct ArrowArray;
struct ArrowSchema;

namespace stoker::data {

enum class DType { f32, f64, i32, i64, u8 };
size_t size_of(DType dtype);
const char* name(DType dtype);
DType parse_dtype(const std::string& name);  // "float32", "float64", "int32", "int64", "uint8"

struct ColumnSpec {
  std::string name;            // of the Arrow column
  std::string shown;           // the user's name for it, in messages
  DType dtype = DType::f32;    // as stored
  std::vector<int64_t> shape;  // of one row; empty for a scalar
  bool integral = false;       // values must be whole numbers (class labels)
  int64_t classes = 0;         // if > 0: values must lie in [0, classes)
  int64_t ignored = -1;        // a value outside [0, classes) that is allowed all the same (ignore_index)
  bool has_ignored = false;
  bool finite = false;        // NaN and infinity are errors (labels, weights)
  bool non_negative = false;  // weights

  int64_t elements() const;  // of one row
  size_t row_bytes() const { return static_cast<size_t>(elements()) * size_of(dtype); }
};
/// From a JSON array of objects with these fields; all but "name" may be left out.
std::vector<ColumnSpec> parse_columns(const std::string& json);

struct ShardRows {
  int shard = 0;
  int64_t rows = 0;
  Hash128 digest;  // order-free sum of the rows' content hashes
};

class ColumnStore {
 public:
  /// `shards` in ascending order; `partition` is Spark's, for messages.
  ColumnStore(std::vector<ColumnSpec> columns, std::vector<int> shards, int partition);
  ~ColumnStore();

  /// Takes one batch over by copying what it needs; does not release the structures. Throws Error(user) that names
  /// column, partition and row (counted from 0 at the partition's start) for nulls, ragged arrays, NaN labels, labels
  /// out of range, numbers that the stored dtype cannot hold and wrong types; then nothing of the batch is kept.
  void append(const ArrowArray& batch, const ArrowSchema& schema);
  /// Orders each shard's rows by the 128-bit hash of their stored bytes, ties by the bytes. Nothing may be appended
  /// afterwards.
  void seal();

  int64_t rows() const;
  /// Of the rows, as stored.
  size_t bytes() const;
  /// REQUIRES: sealed.
  std::vector<ShardRows> shard_rows() const;
  const std::vector<ColumnSpec>& columns() const;
  /// REQUIRES: sealed. Row numbers of a shard in content order.
  const std::vector<uint32_t>& order(int shard) const;
  /// Copies the rows' values of one column into `out`, dense, in the order given.
  void gather(int column, const uint32_t* rows, int64_t count, void* out) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::data
