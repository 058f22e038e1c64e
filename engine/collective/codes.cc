#include "collective/codes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/clones.h"
#include "base/error.h"
#include "base/pieces.h"

namespace stoker::collective {
namespace {

constexpr int64_t kMostBlock = 1024;
constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: what is added to it is rounded to whole numbers, half to even
constexpr float kLeast = 1e-30F;       // a block below it is zero: its scale has an inverse

int largest(Code code) { return code.bits == 8 ? 127 : 7; }
size_t block_bytes(Code code) { return sizeof(float) + static_cast<size_t>(code.block() * code.bits / 8); }

/// By their bits, which are in the order of the magnitudes, and above them of what is not finite.
STOKER_CLONES uint32_t largest_bits(const float* in, int64_t n) {
  uint32_t most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, std::bit_cast<uint32_t>(in[i]) & 0x7fffffffU);
  return most;
}

float largest_of(const float* in, int64_t n) {
  const auto most = std::bit_cast<float>(largest_bits(in, n));
  return std::isfinite(most) ? most : std::numeric_limits<float>::quiet_NaN();
}

STOKER_CLONES void round_all(const float* in, float inverse, int8_t* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    out[i] = static_cast<int8_t>(static_cast<int32_t>((in[i] * inverse + kRound) - kRound));
}

STOKER_CLONES void scale_all(const int8_t* in, float scale, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(in[i]) * scale;
}

/// Two codes of 4 bits a byte.
STOKER_CLONES void pack(const int8_t* in, std::byte* out, int64_t n) {
  for (int64_t i = 0; i < n / 2; ++i)
    out[i] =
        static_cast<std::byte>((in[2 * i] & 15) | static_cast<int>(static_cast<unsigned>(in[2 * i + 1]) << 4 & 240));
}

STOKER_CLONES void unpack(const std::byte* in, int8_t* out, int64_t n) {
  for (int64_t i = 0; i < n / 2; ++i) {
    const auto both = static_cast<uint8_t>(in[i]);
    out[2 * i] = static_cast<int8_t>(static_cast<int8_t>(both << 4) >> 4);
    out[2 * i + 1] = static_cast<int8_t>(static_cast<int8_t>(both) >> 4);
  }
}

void encode_block(Code code, const float* in, std::byte* out) {
  const float most = largest_of(in, code.block());
  float scale = most < kLeast ? 0 : most / static_cast<float>(largest(code));
  if (std::isinf(scale * static_cast<float>(largest(code)))) scale = std::nextafter(scale, 0.0F);
  std::memcpy(out, &scale, sizeof scale);
  int8_t codes[kMostBlock] = {};
  if (scale > 0) round_all(in, static_cast<float>(largest(code)) / most, codes, code.block());
  if (code.bits == 8)
    std::memcpy(out + sizeof scale, codes, static_cast<size_t>(code.block()));
  else
    pack(codes, out + sizeof scale, code.block());
}

void decode_block(Code code, const std::byte* in, float* out) {
  float scale;
  std::memcpy(&scale, in, sizeof scale);
  int8_t codes[kMostBlock];
  if (code.bits == 8)
    std::memcpy(codes, in + sizeof scale, static_cast<size_t>(code.block()));
  else
    unpack(in + sizeof scale, codes, code.block());
  scale_all(codes, scale, out, code.block());
}

/// f(block, its place in a code).
template <typename F>
void each_block(Code code, int64_t floats, F f) {
  STOKER_CHECK(floats % code.block() == 0);
  const auto blocks = static_cast<size_t>(floats / code.block());
  in_pieces(blocks, kPieceBytes / block_bytes(code), [&](size_t begin, size_t n) {
    for (size_t b = begin; b < begin + n; ++b) f(static_cast<int64_t>(b) * code.block(), b * block_bytes(code));
  });
}

}  // namespace

size_t Code::bytes(int64_t floats) const { return static_cast<size_t>(floats / block()) * block_bytes(*this); }

void encode(Code code, const float* in, int64_t floats, std::byte* out) {
  each_block(code, floats, [&](int64_t at, size_t place) { encode_block(code, in + at, out + place); });
}

void decode(Code code, const std::byte* in, int64_t floats, float* out) {
  each_block(code, floats, [&](int64_t at, size_t place) { decode_block(code, in + place, out + at); });
}

}  // namespace stoker::collective
