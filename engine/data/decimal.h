#pragma once
// Decimals (128 bits, as Arrow keeps them) to floating point. Pure functions.
#include <cstdint>
#include <string>

namespace stoker::data {

__extension__ using Int128 = __int128;

/// unscaled / 10^scale.
struct Decimal {
  Int128 unscaled = 0;
  int scale = 0;

  /// The nearest double.
  double value() const;
  std::string text() const;
};

/// Whether `stored` keeps all digits: it is nearer to the decimal than half a unit of its last digit.
bool keeps_digits(Decimal decimal, double stored);

}  // namespace stoker::data
