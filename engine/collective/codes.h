#pragma once
// Vectors in fewer bits: blocks of whole numbers with a scale each. A block's largest magnitude is its largest code,
// and numbers go to the nearest code, even ones first: the error is at most that magnitude / 254 for 8 bits and / 14
// for 4. Pure functions; the same bits on every machine. A block with a number that is not finite says so: it decodes
// to NaN.
//
// A code of a vector: its blocks, one after the other, each the scale (float) and the codes (8 bits: one a byte; 4
// bits: two a byte, the lower half first).
#include <cstddef>
#include <cstdint>

namespace stoker::collective {

struct Code {
  int bits = 0;  // 8 or 4; 0: floats as they are

  explicit operator bool() const { return bits != 0; }
  int64_t block() const { return bits == 8 ? 1024 : 256; }  // floats
  /// Of so many floats. REQUIRES: whole blocks.
  size_t bytes(int64_t floats) const;
};

/// REQUIRES: whole blocks; `out` has room for code.bytes(floats).
void encode(Code code, const float* in, int64_t floats, std::byte* out);
void decode(Code code, const std::byte* in, int64_t floats, float* out);

}  // namespace stoker::collective
