#include "data/spec/calendar.h"

#include <gtest/gtest.h>

#include <chrono>

namespace stoker::data {
namespace {

using Kind = DatePart::Kind;

int64_t days(int year, unsigned month, unsigned day) {
  using namespace std::chrono;
  return sys_days(std::chrono::year(year) / month / day).time_since_epoch().count();
}

int64_t part(int64_t day, Kind kind) { return part_of(moment_of(day, 0), kind); }

TEST(Calendar, TheReachIsTheYearsOneToNineThousand) {
  EXPECT_EQ(kFirstDay, days(1, 1, 1));
  EXPECT_EQ(kLastDay, days(9999, 12, 31));
}

TEST(Calendar, DaysBeforeTheEpochHaveTheirParts) {
  EXPECT_EQ(part(days(1969, 12, 31), Kind::weekday), 2);  // a Wednesday
  EXPECT_EQ(part(kFirstDay, Kind::weekday), 0);           // a Monday
  EXPECT_EQ(part(kFirstDay, Kind::year), 1);
  EXPECT_EQ(part(kFirstDay, Kind::yearday), 1);
}

TEST(Calendar, LeapYearsHaveOneDayMore) {
  EXPECT_EQ(part(days(2020, 12, 31), Kind::yearday), 366);
  EXPECT_EQ(part(days(1900, 12, 31), Kind::yearday), 365);
  EXPECT_EQ(part(days(2000, 3, 1), Kind::yearday), 61);
  EXPECT_EQ(part(days(2020, 2, 29), Kind::day), 29);
}

TEST(Calendar, TheClockIsCutIntoParts) {
  const Moment moment = moment_of(0, kMicrosPerDay - 1);
  EXPECT_EQ(part_of(moment, Kind::hour), 23);
  EXPECT_EQ(part_of(moment, Kind::minute), 59);
  EXPECT_EQ(part_of(moment, Kind::second), 59);
}

TEST(Calendar, TextsTellDatesOutsideTheReach) {
  EXPECT_EQ(date_text(days(-44, 3, 15)), "-044-03-15");
  EXPECT_EQ(date_text(days(12345, 1, 2)), "12345-01-02");
  EXPECT_EQ(date_text(int64_t{1} << 30), "day 1073741824 since 1970-01-01");
}

}  // namespace
}  // namespace stoker::data
