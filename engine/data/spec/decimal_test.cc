#include "data/spec/decimal.h"

#include <gtest/gtest.h>

namespace stoker::data {
namespace {

Int128 power(int exponent) {
  Int128 value = 1;
  for (int i = 0; i < exponent; ++i) value *= 10;
  return value;
}

TEST(Decimal, TextPutsThePointWhereTheScaleSays) {
  EXPECT_EQ((Decimal{12345, 2}).text(), "123.45");
  EXPECT_EQ((Decimal{-5, 3}).text(), "-0.005");
  EXPECT_EQ((Decimal{0, 0}).text(), "0");
  EXPECT_EQ((Decimal{7, -2}).text(), "700");
}

TEST(Decimal, ValueIsTheNearestDouble) {
  EXPECT_EQ((Decimal{1, 1}).value(), 0.1);
  EXPECT_EQ((Decimal{-314, 2}).value(), -3.14);
  EXPECT_EQ((Decimal{power(37), 0}).value(), 1e37);      // beyond 2^53
  EXPECT_EQ((Decimal{power(20) + 1, 20}).value(), 1.0);  // 1.00000000000000000001
  EXPECT_EQ((Decimal{123456789012345678, 17}).value(), 1.23456789012345678);
}

TEST(Decimal, DigitsAreKeptOrTold) {
  EXPECT_TRUE(keeps_digits({1234567, 2}, 12345.67f));
  EXPECT_FALSE(keeps_digits({1234567891, 2}, 12345678.91f));
  EXPECT_TRUE(keeps_digits({1234567891, 2}, 12345678.91));
  EXPECT_TRUE(keeps_digits({power(30), 28}, 100.0));  // zeros at the end are no digits
  EXPECT_FALSE(keeps_digits({power(20) + 1, 20}, 1.0));
}

TEST(Decimal, WholeNumbersAreKeptBeyondWhatDoublesHold) {
  constexpr int64_t kLeast = INT64_MIN, kMost = INT64_MAX;
  EXPECT_EQ(whole_number({(Int128{1} << 53) + 1, 0}, kLeast, kMost), (int64_t{1} << 53) + 1);
  EXPECT_EQ(whole_number({-1200, 2}, kLeast, kMost), -12);
  EXPECT_EQ(whole_number({12, -3}, kLeast, kMost), 12'000);
  EXPECT_EQ(whole_number({0, -30}, kLeast, kMost), 0);
  EXPECT_EQ(whole_number({kMost, 0}, kLeast, kMost), kMost);
  EXPECT_EQ(whole_number({Int128{kMost} + 1, 0}, kLeast, kMost), std::nullopt);
  EXPECT_EQ(whole_number({9, -37}, kLeast, kMost), std::nullopt);
  EXPECT_EQ(whole_number({power(20) + 1, 20}, kLeast, kMost), std::nullopt);  // the nearest double is 1
  EXPECT_EQ(whole_number({256, 0}, 0, 255), std::nullopt);
}

}  // namespace
}  // namespace stoker::data
