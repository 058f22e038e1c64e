#pragma once
// bfloat16 for tests, by another way than bf16.cc.
#include <bit>
#include <cmath>
#include <cstdint>

namespace stoker::testing {

/// The nearest number of 8 significant bits; of two that are as near the one whose last bit is 0. By distances, where
/// bf16.cc goes by bits.
inline float nearest_bf16(float x) {
  if (!std::isfinite(x)) return x;
  const auto bits = std::bit_cast<uint32_t>(x) & 0xffff0000;
  const double below = std::bit_cast<float>(bits), step = below - std::bit_cast<float>(bits ^ 0x10000);
  const double above = below + std::copysign(std::abs(step), below);  // past the largest one too, where all is infinite
  const double to_below = std::abs(x - below), to_above = std::abs(above - x);
  const bool up = to_above < to_below || (to_above == to_below && (bits & 0x10000) != 0);
  return std::bit_cast<float>(bits + (up ? 0x10000 : 0));
}

}  // namespace stoker::testing
