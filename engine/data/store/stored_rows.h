#pragma once
// A worker's rows one after the other, as they are stored: in memory up to a budget, and from the first row that does
// not fit on also on disk. One thread fills; after that any number may read.
//
// A row's place on disk is its number times its size, so rows that are in memory leave a hole there and can follow.
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "data/store/course.h"
#include "data/store/row_memory.h"
#include "data/store/store_options.h"

namespace stoker::data {

class StoredRows {
 public:
  StoredRows(size_t stride, const StoreOptions& options) : stride_(stride), options_(options) {}

  /// Makes sure of the disk for so many rows in all, where they do not fit into memory; there, `index_bytes` as for
  /// finish(). Whether they do not. Throws Error(world) that says what was missing.
  bool reserve(int64_t count, size_t index_bytes);
  /// Where the next `count` rows may be written before keep().
  std::byte* room(int64_t count);
  void keep(int64_t count);
  /// Forgets all rows from number `rows` on.
  void rewind(int64_t rows);
  /// No more rows come. On disk, `index_bytes` of the budget are needed elsewhere.
  void finish(size_t index_bytes);

  int64_t count() const { return count_; }
  size_t stride() const { return stride_; }
  bool on_disk() const { return file_ != nullptr; }
  uint64_t disk_bytes() const { return file_ ? file_->bytes() : 0; }
  /// REQUIRES: not on_disk().
  const std::byte* data() const { return memory_.data(); }
  /// Copies rows in the order given, stride() apart. Ends early, with some rows missing, once it is stopped.
  void copy(const uint32_t* rows, int64_t count, std::byte* out, Course& course) const;
  /// All rows one after the other, in pieces: f(number of the first, their bytes).
  void each(const std::function<void(int64_t, std::span<const std::byte>)>& f, Course& course) const;

 private:
  bool fits(int64_t count) const;
  int64_t beside_index(size_t index_bytes) const;
  std::unique_ptr<SpillFile> new_file() const;
  void begin_spill();
  void move_to_disk(int64_t resident);
  struct Run;
  static Run run_from(const std::vector<uint64_t>& wanted, size_t begin, size_t stride);
  void copy_from_disk(const std::vector<uint64_t>& wanted, std::byte* out, Course& course) const;
  bool read_run(const std::vector<uint64_t>& wanted, const Run& run, bool wait, std::vector<std::byte>& buffer,
                std::byte* out) const;

  size_t stride_;
  StoreOptions options_;
  int64_t count_ = 0;
  int64_t resident_ = 0;  // rows that are in memory, the first ones; all of them without a file
  RowMemory memory_;
  std::unique_ptr<SpillFile> file_;
  std::unique_ptr<SpillFile> reserved_;  // what will be that
  std::vector<std::byte> block_;         // on its way to disk
};

}  // namespace stoker::data
