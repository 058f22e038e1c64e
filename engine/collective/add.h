#pragma once
// The adding loops: float vectors, several terms in one pass. Pure functions. Each element sees the additions in the
// order that the name shows, and nothing else, so every instruction set gives the same bits.
//
// REQUIRES: all pointers are 64-byte aligned; n is a multiple of 16; `out` is one of the terms or overlaps none.
#include <cstdint>

namespace stoker::collective {

void add_2(float* out, const float* a, const float* b, int64_t n);                        ///< a + b
void add_chain_3(float* out, const float* a, const float* b, const float* c, int64_t n);  ///< (a + b) + c
void add_chain_4(float* out, const float* a, const float* b, const float* c, const float* d,
                 int64_t n);  ///< ((a + b) + c) + d
void add_pairs_4(float* out, const float* a, const float* b, const float* c, const float* d,
                 int64_t n);  ///< (a + b) + (c + d)

}  // namespace stoker::collective
