#ifdef __x86_64__
#include <immintrin.h>

#include "program/dense.h"

namespace stoker::program {
namespace {

struct V {
  using T = __m512;
  using Mask = __mmask16;
  static constexpr int kLanes = 16;
  static constexpr int kFoldRows = 14, kFoldVectors = 2;
  static constexpr int kProductRows = 6, kProductColumns = 4;

  static T zero() { return _mm512_setzero_ps(); }
  static T all_of(float x) { return _mm512_set1_ps(x); }
  static T add(T a, T b) { return _mm512_add_ps(a, b); }
  static T sub(T a, T b) { return _mm512_sub_ps(a, b); }
  static T mul(T a, T b) { return _mm512_mul_ps(a, b); }
  static T div(T a, T b) { return _mm512_div_ps(a, b); }
  /// The second where one is NaN.
  static T min(T a, T b) { return _mm512_min_ps(a, b); }
  static T max(T a, T b) { return _mm512_max_ps(a, b); }
  static T nearest(T x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  /// 2^n of whole numbers -126 <= n <= 127.
  static T power_of_two(T n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
  }
  static T fma(T a, T b, T c) { return _mm512_fmadd_ps(a, b, c); }
  static T bf16(T x) {
    const __m512i bits = _mm512_castps_si512(x),
                  odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i nearest = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const T upper = _mm512_castsi512_ps(_mm512_and_si512(nearest, _mm512_set1_epi32(~0xffff)));
    return _mm512_mask_mov_ps(upper, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q),
                              _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
  }
  static T positive(T x) { return _mm512_max_ps(zero(), x); }
  static T where_positive(T x, T value) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, zero(), _CMP_NLE_UQ), value);
  }
  static Mask first(int64_t n) { return static_cast<Mask>((1u << n) - 1); }
  static T load(const float* at) { return _mm512_loadu_ps(at); }
  static T load(const float* at, Mask mask) { return _mm512_maskz_loadu_ps(mask, at); }
  static void store(float* at, T x) { _mm512_storeu_ps(at, x); }
  static void store(float* at, T x, Mask mask) { _mm512_mask_storeu_ps(at, mask, x); }

  /// In each 128 bits: the sums over those of a, b, c and d.
  static T sum_quarters(T a, T b, T c, T d) {
    const T ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const T cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    return _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  }
  template <int kCount>
  static void sum_each(const T* x, float* out) {
    const T q = sum_quarters(x[0], x[kCount > 1 ? 1 : 0], x[kCount > 2 ? 2 : 0], x[kCount > 3 ? 3 : 0]);
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(q), _mm512_extractf32x8_ps(q, 1));
    const __m128 sums = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    alignas(16) float all[4];
    _mm_store_ps(all, sums);
    for (int i = 0; i < kCount; ++i) out[i] = all[i];
  }
};

}  // namespace
}  // namespace stoker::program

#define STOKER_DENSE kAvx512Dense
#include "program/dense.inc"
#endif
