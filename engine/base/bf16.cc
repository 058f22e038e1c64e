#include "base/bf16.h"

#include <bit>

#include "base/clones.h"

namespace stoker {
namespace {

constexpr uint32_t kMagnitude = 0x7fffffff, kInfinity = 0x7f800000, kNaN = 0x7fc00000;

inline float rounded(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t nearest = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000;
  return std::bit_cast<float>((bits & kMagnitude) > kInfinity ? kNaN : nearest);
}

}  // namespace

STOKER_CLONES void round_to_bf16(float* floats, int64_t n) {
  for (int64_t i = 0; i < n; ++i) floats[i] = rounded(floats[i]);
}

STOKER_CLONES void add_2_bf16(float* out, const float* a, const float* b, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) out[i] = rounded(a[i] + b[i]);
}

STOKER_CLONES void pack_bf16(const float* in, uint16_t* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(in[i]) >> 16);
}

STOKER_CLONES void unpack_bf16(const uint16_t* in, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = std::bit_cast<float>(static_cast<uint32_t>(in[i]) << 16);
}

}  // namespace stoker
