#include "data/faults.h"

#include "base/error.h"

namespace stoker::data {

void Faults::add(int64_t row, const std::string& column, const char* reason, const std::string& what,
                 const std::string& cure) {
  if (!skip_) {
    fail_user("column '", column, "', partition ", place_.partition, ", row ", place_.first_row + row, ": ", what,
              cure.empty() ? "" : "; ", cure, place_.row_cure);
  }
  bad_.resize(rows_);
  if (bad_[row]) return;
  bad_[row] = true;
  ++reasons_[cat("column '", column, "' ", reason)];
}

void Faults::fail_type(const std::string& column, const std::string& type, const std::string& expected) const {
  fail_user("column '", column, "', partition ", place_.partition, ": has type ", type, ", expected ", expected);
}

}  // namespace stoker::data
