#include "data/spec/exact_moments.h"

#include <bit>
#include <cmath>

namespace stoker::data {
namespace {

constexpr int kMantissaBits = 52;

void negate(std::span<int64_t> limbs) {
  for (int64_t& limb : limbs) limb = -limb;
}

/// Leaves 32 bits in each limb but the last, whose sign is that of the whole.
void carry_over(std::span<int64_t> limbs) {
  for (size_t i = 0; i + 1 < limbs.size(); ++i) {
    const int64_t over = limbs[i] >> 32;
    limbs[i] -= over << 32;
    limbs[i + 1] += over;
  }
}

}  // namespace

template <int kLimbs>
void ExactSum<kLimbs>::add(bool negative, Int128 magnitude, int shift) {
  if (room_-- == 0) carry();
  const int within = shift % 32;
  int64_t* limb = &limbs_[shift / 32];
  const auto put = [&](uint32_t part) { *limb++ += negative ? -int64_t{part} : int64_t{part}; };
  put(static_cast<uint32_t>(magnitude) << within);
  for (magnitude >>= 32 - within; magnitude != 0; magnitude >>= 32) put(static_cast<uint32_t>(magnitude));
}

template <int kLimbs>
void ExactSum<kLimbs>::carry() {
  carry_over(limbs_);
  room_ = kRoom;
}

template <int kLimbs>
BigSum ExactSum<kLimbs>::total() const {
  auto limbs = limbs_;
  carry_over(limbs);
  if (limbs.back() < 0) {
    negate(limbs);
    carry_over(limbs);
    negate(limbs);
  }
  auto first = limbs.begin(), end = limbs.end();
  while (first != end && *first == 0) ++first;
  while (end != first && end[-1] == 0) --end;
  return {first - limbs.begin(), {first, end}};
}

void ExactMoments::Sums::add(double value) {
  if (!std::isfinite(value)) return;
  ++count;
  const auto bits = std::bit_cast<uint64_t>(value);
  const int exponent = static_cast<int>(bits >> kMantissaBits & 0x7ff);
  const uint64_t fraction = bits & ((uint64_t{1} << kMantissaBits) - 1);
  const Int128 mantissa = exponent == 0 ? fraction : fraction | uint64_t{1} << kMantissaBits;
  const int shift = exponent == 0 ? 0 : exponent - 1;
  sum.add(std::signbit(value), mantissa, shift);
  squares.add(false, mantissa * mantissa, 2 * shift);
}

void ExactMoments::add(std::span<const double> values) {
  size_t column = 0;
  for (const double value : values) {
    columns_[column].add(value);
    if (++column == columns_.size()) column = 0;
  }
}

std::vector<ExactMoments::OfColumn> ExactMoments::totals() const {
  std::vector<OfColumn> all;
  for (const Sums& sums : columns_) all.push_back({sums.count, sums.sum.total(), sums.squares.total()});
  return all;
}

}  // namespace stoker::data
