#pragma once
// bfloat16: the upper half of a float. Sums that are to travel in two bytes are rounded to it, in the memory of floats.
// Pure functions; whole numbers do the work, so every instruction set gives the same bits, denormals too.
//
// To the nearest, half to even; what is beyond the largest one becomes infinite, every NaN the same one.
#include <cstdint>

namespace stoker {

void round_to_bf16(float* floats, int64_t n);
/// a + b, rounded. REQUIRES: `out` is one of the terms or overlaps none.
void add_2_bf16(float* out, const float* a, const float* b, int64_t n);

/// The upper halves. REQUIRES: rounded floats.
void pack_bf16(const float* in, uint16_t* out, int64_t n);
void unpack_bf16(const uint16_t* in, float* out, int64_t n);

}  // namespace stoker
