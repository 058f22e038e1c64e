#include "data/spec/decimal.h"

#include <array>
#include <charconv>
#include <cmath>

namespace stoker::data {
namespace {

constexpr Int128 kExact = Int128{1} << 53;  // integers up to here are doubles
constexpr int kPowers = 23;                 // so are powers of ten up to 10^22

double power_of_ten(int exponent) {
  static const auto powers = [] {
    std::array<double, kPowers> all{1};
    for (int i = 1; i < kPowers; ++i) all[i] = all[i - 1] * 10;
    return all;
  }();
  return powers[exponent];
}

bool is_small(const Decimal& d) {
  return d.unscaled < kExact && d.unscaled > -kExact && d.scale >= 0 && d.scale < kPowers;
}

Decimal without_trailing_zeros(Decimal d) {
  while (d.scale > 0 && d.unscaled % 10 == 0) d = {d.unscaled / 10, d.scale - 1};
  return d;
}

}  // namespace

double Decimal::value() const {
  if (is_small(*this)) return static_cast<double>(unscaled) / power_of_ten(scale);  // one rounding
  const std::string digits = text();
  double result = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), result);
  return result;
}

bool Decimal::whole() const { return without_trailing_zeros(*this).scale <= 0; }

std::string Decimal::text() const {
  std::string digits;
  Int128 rest = unscaled;
  for (; rest != 0; rest /= 10) digits.insert(digits.begin(), static_cast<char>('0' + std::abs(int(rest % 10))));
  while (static_cast<int>(digits.size()) <= scale) digits.insert(digits.begin(), '0');
  if (scale > 0) digits.insert(digits.size() - scale, 1, '.');
  if (scale < 0) digits.append(-scale, '0');
  return (unscaled < 0 ? "-" : "") + digits;
}

bool keeps_digits(Decimal decimal, double stored) {
  const Decimal d = without_trailing_zeros(decimal);
  if (!is_small(d)) return false;
  return std::fabs(stored * power_of_ten(d.scale) - static_cast<double>(d.unscaled)) < 0.5;
}

std::optional<int64_t> whole_number(Decimal decimal, int64_t least, int64_t most) {
  Decimal d = without_trailing_zeros(decimal);
  const auto between = [&] { return d.unscaled >= least && d.unscaled <= most; };
  for (; d.scale < 0 && d.unscaled != 0 && between(); ++d.scale) d.unscaled *= 10;
  if (d.scale > 0 || !between()) return std::nullopt;
  return static_cast<int64_t>(d.unscaled);
}

}  // namespace stoker::data
