#pragma once
// Parts of dates and timestamps, in the proleptic Gregorian calendar that Spark uses. Pure functions.
#include <cstdint>
#include <string>
#include <vector>

namespace stoker::data {

/// One part of a date or timestamp and how its value is put into numbers.
struct DatePart {
  enum class Kind { year, month, day, weekday, yearday, hour, minute, second } kind = Kind::year;
  std::vector<std::vector<double>> table;  // row v - lowest(kind) holds the numbers for value v; empty: v itself

  int64_t width() const { return table.empty() ? 1 : static_cast<int64_t>(table.front().size()); }
};

DatePart::Kind parse_part(const std::string& name);
/// The smallest value that a part takes: 1 for month, day and yearday, else 0. Weekdays count from Monday, 0.
int64_t lowest(DatePart::Kind kind);
/// How many values a part takes; 0 for the year, which has no bound.
int64_t period(DatePart::Kind kind);

constexpr int64_t kMicrosPerDay = 86'400'000'000;
/// The years 1 to 9999 in days since 1970-01-01.
constexpr int64_t kFirstDay = -719'162;
constexpr int64_t kLastDay = 2'932'896;

/// A moment, taken apart once for all of its parts. Days lie between kFirstDay and kLastDay.
struct Moment {
  int64_t micros = 0;  // of the day
  int64_t day = 0;     // since 1970-01-01
  int year = 0, month = 0, day_of_month = 0;
};
Moment moment_of(int64_t days, int64_t micros_of_day);
int64_t part_of(const Moment& moment, DatePart::Kind kind);
/// As 2013-01-31, with years before 1 as astronomers count them: 0, -1, ...
std::string date_text(int64_t days);

}  // namespace stoker::data
