#include "data/spec/calendar.h"

#include <array>
#include <chrono>
#include <cstdio>

#include "base/error.h"

namespace stoker::data {
namespace {

using Kind = DatePart::Kind;

struct PartRule {
  const char* name;
  int64_t lowest, period;
};
constexpr std::array<PartRule, 8> kRules = {{{"year", 0, 0},
                                             {"month", 1, 12},
                                             {"day", 1, 31},
                                             {"weekday", 0, 7},
                                             {"yearday", 1, 366},
                                             {"hour", 0, 24},
                                             {"minute", 0, 60},
                                             {"second", 0, 60}}};

const PartRule& rule(Kind kind) { return kRules[static_cast<size_t>(kind)]; }

std::chrono::year_month_day civil(int64_t days) { return std::chrono::sys_days(std::chrono::days(days)); }

int64_t day_of_year(const Moment& moment) {
  const auto new_year = std::chrono::sys_days(std::chrono::year(moment.year) / 1 / 1);
  return moment.day - new_year.time_since_epoch().count() + 1;
}

}  // namespace

Kind parse_part(const std::string& name) {
  for (size_t i = 0; i < kRules.size(); ++i) {
    if (name == kRules[i].name) return static_cast<Kind>(i);
  }
  fail_bug("unknown part of a date '", name, "'");
}

int64_t lowest(Kind kind) { return rule(kind).lowest; }
int64_t period(Kind kind) { return rule(kind).period; }

Moment moment_of(int64_t days, int64_t micros_of_day) {
  Moment moment;
  moment.day = days;
  moment.micros = micros_of_day;
  const auto date = civil(days);
  moment.year = static_cast<int>(date.year());
  moment.month = static_cast<int>(static_cast<unsigned>(date.month()));
  moment.day_of_month = static_cast<int>(static_cast<unsigned>(date.day()));
  return moment;
}

int64_t part_of(const Moment& moment, Kind kind) {
  switch (kind) {
    case Kind::year:
      return moment.year;
    case Kind::month:
      return moment.month;
    case Kind::day:
      return moment.day_of_month;
    case Kind::weekday:
      return ((moment.day + 3) % 7 + 7) % 7;  // 1970-01-01 was a Thursday
    case Kind::yearday:
      return day_of_year(moment);
    case Kind::hour:
      return moment.micros / 3'600'000'000;
    case Kind::minute:
      return moment.micros / 60'000'000 % 60;
    case Kind::second:
      return moment.micros / 1'000'000 % 60;
  }
  fail_bug("unknown part of a date");
}

std::string date_text(int64_t days) {
  constexpr int64_t kReach = 11'000'000;  // days that chrono's 16-bit years reach
  if (days < -kReach || days > kReach) return cat("day ", days, " since 1970-01-01");
  const Moment moment = moment_of(days, 0);
  char text[32];
  std::snprintf(text, sizeof text, "%04d-%02d-%02d", moment.year, moment.month, moment.day_of_month);
  return text;
}

}  // namespace stoker::data
