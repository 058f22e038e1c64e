#pragma once
// The rows of the shards that one worker owns, in compact form: categories at 1, 2 or 4 bytes, u8 as u8. Filled from
// Arrow record batches; read by row number and column once sealed. One thread fills; after seal() any number may read.
// Rows beyond a budget of memory lie on disk; that changes neither their order nor a bit of what is read.
//
// The batches' columns come by name: those that the fields tell, and "__shard" (int32) where the worker owns more than
// one shard. A row's fields are stored side by side, in the order of the specifications and without gaps: so a shuffled
// row costs one trip to memory, and its bytes are what is hashed and compared.
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"
#include "data/spec/columns.h"
#include "data/store/course.h"
#include "data/store/store_options.h"

struct ArrowArray;
struct ArrowSchema;

namespace stoker::data {

struct ShardRows {
  int shard = 0;
  int64_t rows = 0;
  Hash128 digest;  // order-free sum of the rows' content hashes
};

enum class OnBadRow { error, skip };

/// Rows as they are stored, a stride apart: numbers rows[i] after `base`, or just the first ones.
struct RowsAt {
  const std::byte* base = nullptr;
  const uint32_t* rows = nullptr;
  int64_t count = 0;
};

class ColumnStore {
 public:
  /// `shards` in ascending order; `partition` is Spark's, for messages.
  ColumnStore(std::vector<ColumnSpec> columns, std::vector<int> shards, int partition,
              OnBadRow on_bad_row = OnBadRow::error, StoreOptions options = {});
  /// Of rows that another, sealed store has, or has borrowed: its columns that are `kept`, by number, and `more`, which
  /// are plain. Sealed, without a row; it is filled by extend().
  ColumnStore(const ColumnStore& like, const std::vector<int>& kept, std::vector<ColumnSpec> more,
              StoreOptions options);
  ~ColumnStore();

  /// Takes one batch over by copying what it needs; does not release the structures. Throws Error(user) that names
  /// column, partition and row (counted from 0 at the partition's start) for nulls, ragged arrays, NaN labels, labels
  /// out of range, numbers that the stored dtype cannot hold and wrong types; then nothing of the batch is kept. With
  /// OnBadRow::skip such rows are left out and counted instead, but wrong types stay an error. Throws Error(world)
  /// where memory or disk are exhausted.
  void append(const ArrowArray& batch, const ArrowSchema& schema);
  /// Orders each shard's rows by the 128-bit hash of their stored bytes, ties by the bytes. Nothing may be appended
  /// afterwards.
  void seal();

  /// Has the shard from now on, at first without rows. REQUIRES: made from another store, as for the next four.
  void expect(int shard);
  /// The shard has no rows any more; the room that they took is not given back.
  void forget(int shard);
  /// Makes sure of the disk for so many more rows, where they do not fit into memory; whether they do not. Throws
  /// Error(world) that says what was missing.
  bool reserve(int64_t rows);
  /// Appends rows to the shard's end: those of `like`, which this was made from, as it stores them, with dense values
  /// of each of `more`. No thread reads meanwhile.
  void extend(int shard, const ColumnStore& like, const RowsAt& rows, const std::vector<const std::byte*>& more);
  /// For now no more rows come.
  void rest();

  int64_t rows() const;
  /// Rows left out, by reason: "column 'x' is null".
  const std::map<std::string, int64_t>& skipped() const;
  /// Of the rows, as stored.
  size_t bytes() const;
  /// Of the memory that rows may take, what these and orders of them leave.
  size_t memory_left() const;
  /// Of one row, as stored.
  size_t stride() const;
  /// Taken for rows and what belongs to them; 0 where all is in memory.
  uint64_t disk_bytes() const;
  const StoreOptions& options() const;
  /// REQUIRES: sealed.
  std::vector<ShardRows> shard_rows() const;
  const std::vector<ColumnSpec>& columns() const;
  /// REQUIRES: sealed. Row numbers of a shard in content order.
  const std::vector<uint32_t>& order(int shard) const;
  /// Whether it is one of its shards.
  bool has(int shard) const;
  /// Whether rows are on disk; then they are read by copy(), else they are at().
  bool on_disk() const;
  RowsAt at(const uint32_t* rows, int64_t count) const;
  /// Copies rows as they are stored, in the order given. Ends early, with some rows missing, once it is stopped.
  void copy(const uint32_t* rows, int64_t count, std::byte* out, Course& course) const;
  /// All rows as they are stored, in the order of arrival, in pieces: f(number of the first, their bytes).
  void each(const std::function<void(int64_t, std::span<const std::byte>)>& f, Course& course) const;
  /// The rows' values of one column, dense, in the order given. Pictures are cropped and flipped as `draws` say;
  /// without them the middle is taken.
  void gather(int column, const RowsAt& from, void* out, const Draws* draws = nullptr) const;
  /// The same from wherever the rows are.
  void gather(int column, const uint32_t* rows, int64_t count, void* out, const Draws* draws = nullptr) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::data
