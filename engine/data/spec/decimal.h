#pragma once
// Decimals (128 bits, as Arrow keeps them) to other numbers. Pure functions.
#include <cstdint>
#include <optional>
#include <string>

namespace stoker::data {

__extension__ using Int128 = __int128;

/// unscaled / 10^scale.
struct Decimal {
  Int128 unscaled = 0;
  int scale = 0;

  /// The nearest double.
  double value() const;
  bool whole() const;
  std::string text() const;
};

/// Whether `stored` keeps all digits: it is nearer to the decimal than half a unit of its last digit.
bool keeps_digits(Decimal decimal, double stored);
/// The same number where it is whole and lies between the bounds.
std::optional<int64_t> whole_number(Decimal decimal, int64_t least, int64_t most);

}  // namespace stoker::data
