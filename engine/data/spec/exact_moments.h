#pragma once
// Sums of numbers and of their squares without any rounding, so that neither order nor cuts of the rows show: every
// double is a whole number of units of 2^-1074, every square one of 2^-2148.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "data/spec/decimal.h"

namespace stoker::data {

/// A whole number as the sum of limbs[i] * 2^(32 * (first + i)), all limbs of its sign.
struct BigSum {
  int64_t first = 0;
  std::vector<int64_t> limbs;
};

/// A sum of whole numbers of up to 32 * kLimbs bits. Not thread-safe.
template <int kLimbs>
class ExactSum {
 public:
  /// Adds magnitude * 2^shift. REQUIRES: magnitude < 2^127.
  void add(bool negative, Int128 magnitude, int shift);
  BigSum total() const;

 private:
  void carry();

  std::array<int64_t, kLimbs> limbs_{};
  int64_t room_ = kRoom;  // numbers that can still be added before a limb overflows
  static constexpr int64_t kRoom = int64_t{1} << 30;
};

/// Count, sum and sum of squares of each column of a table. NaN and infinities are left out. Not thread-safe.
class ExactMoments {
 public:
  struct OfColumn {
    int64_t count = 0;
    BigSum sum, squares;
  };
  explicit ExactMoments(int64_t columns) : columns_(columns) {}
  /// Rows in row-major order.
  void add(std::span<const double> values);
  std::vector<OfColumn> totals() const;

 private:
  struct Sums {
    int64_t count = 0;
    ExactSum<69> sum;       // (2046 + 53 + 63) / 32 bits and one to spare
    ExactSum<135> squares;  // (4092 + 106 + 63) / 32
    void add(double value);
  };
  std::vector<Sums> columns_;
};

}  // namespace stoker::data
