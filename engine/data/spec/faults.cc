#include "data/spec/faults.h"

#include "base/error.h"

namespace stoker::data {

void fail_row(const BatchPlace& place, int64_t row, const std::string& column, const std::string& what) {
  fail_user("column '", column, "', partition ", place.partition, ", row ", place.first_row + row, ": ", what,
            place.row_cure);
}

void fail_type(const BatchPlace& place, const std::string& column, const std::string& type,
               const std::string& expected) {
  fail_user("column '", column, "', partition ", place.partition, ": has type ", type, ", expected ", expected);
}

void fail_layout(int partition, const std::string& column, const std::string& what) {
  fail_user("column '", column, "', partition ", partition, ": its Arrow array is spoilt: ", what);
}

void Faults::add(int64_t row, const std::string& column, const char* reason, const std::string& what,
                 const std::string& cure) {
  if (!skip_) fail_row(place_, row, column, cat(what, cure.empty() ? "" : "; ", cure));
  bad_.resize(rows_);
  if (bad_[row]) return;
  bad_[row] = true;
  ++reasons_[cat("column '", column, "' ", reason)];
}

}  // namespace stoker::data
