#pragma once
// What rows that cannot be stored come to: the first is an error, or all are counted by reason and left out.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace stoker::data {

/// Where a batch lies, for messages.
struct BatchPlace {
  int partition = 0;
  int64_t first_row = 0;      // counted from the partition's start
  const char* row_cure = "";  // what else a user can do about one bad row
};

/// Error(user) "column 'x', partition 3, row 7: <what>[<the place's cure>]"; `row` counts within the batch.
[[noreturn]] void fail_row(const BatchPlace& place, int64_t row, const std::string& column, const std::string& what);
/// The column as a whole does not fit, which no skipping of rows cures.
[[noreturn]] void fail_type(const BatchPlace& place, const std::string& column, const std::string& type,
                            const std::string& expected);
/// Where the hand-over of a column is spoilt as a whole.
[[noreturn]] void fail_layout(int partition, const std::string& column, const std::string& what);
/// The reason of rows whose offsets, indices or sizes point to what is not there.
inline constexpr char kSpoilt[] = "is spoilt";

/// The faults of one batch. Not thread-safe.
class Faults {
 public:
  Faults(BatchPlace place, int64_t rows, bool skip) : place_(place), rows_(rows), skip_(skip) {}

  /// `row` of the batch has a fault: fail_row() with "<what>[; <cure>]", or one more row that is left out for `reason`.
  /// A row counts once.
  void add(int64_t row, const std::string& column, const char* reason, const std::string& what,
           const std::string& cure = "");

  bool skip() const { return skip_; }
  bool any() const { return !bad_.empty(); }
  bool bad(int64_t row) const { return any() && bad_[row]; }
  /// By "column 'x' <reason>".
  const std::map<std::string, int64_t>& reasons() const { return reasons_; }
  BatchPlace place() const { return place_; }

 private:
  BatchPlace place_;
  int64_t rows_;
  bool skip_;
  std::vector<bool> bad_;
  std::map<std::string, int64_t> reasons_;
};

}  // namespace stoker::data
