#ifdef __x86_64__
#include <immintrin.h>

#include "program/dense.h"

namespace stoker::program {
namespace {

struct V {
  using T = __m256;
  using Mask = __m256i;
  static constexpr int kLanes = 8;
  static constexpr int kFoldRows = 6, kFoldVectors = 2;
  static constexpr int kProductRows = 4, kProductColumns = 3;

  static T zero() { return _mm256_setzero_ps(); }
  static T all_of(float x) { return _mm256_set1_ps(x); }
  static T add(T a, T b) { return _mm256_add_ps(a, b); }
  static T sub(T a, T b) { return _mm256_sub_ps(a, b); }
  static T mul(T a, T b) { return _mm256_mul_ps(a, b); }
  static T div(T a, T b) { return _mm256_div_ps(a, b); }
  /// The second where one is NaN.
  static T min(T a, T b) { return _mm256_min_ps(a, b); }
  static T max(T a, T b) { return _mm256_max_ps(a, b); }
  static T nearest(T x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  /// 2^n of whole numbers -126 <= n <= 127.
  static T power_of_two(T n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
  static T fma(T a, T b, T c) { return _mm256_fmadd_ps(a, b, c); }
  static T bf16(T x) {
    const __m256i bits = _mm256_castps_si256(x),
                  odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i nearest = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    const T upper = _mm256_and_ps(_mm256_castsi256_ps(nearest), _mm256_castsi256_ps(_mm256_set1_epi32(~0xffff)));
    return _mm256_blendv_ps(upper, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)),
                            _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  }
  static T positive(T x) { return _mm256_max_ps(zero(), x); }
  static T where_positive(T x, T value) { return _mm256_and_ps(_mm256_cmp_ps(x, zero(), _CMP_NLE_UQ), value); }
  static Mask first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static T load(const float* at) { return _mm256_loadu_ps(at); }
  static T load(const float* at, Mask mask) { return _mm256_maskload_ps(at, mask); }
  static void store(float* at, T x) { _mm256_storeu_ps(at, x); }
  static void store(float* at, T x, Mask mask) { _mm256_maskstore_ps(at, mask, x); }

  template <int kCount>
  static void sum_each(const T* x, float* out) {
    const T ab = _mm256_hadd_ps(x[0], x[kCount > 1 ? 1 : 0]);
    const T cd = _mm256_hadd_ps(x[kCount > 2 ? 2 : 0], x[kCount > 3 ? 3 : 0]);
    const T halves = _mm256_hadd_ps(ab, cd);
    alignas(16) float sums[4];
    _mm_store_ps(sums, _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1)));
    for (int i = 0; i < kCount; ++i) out[i] = sums[i];
  }
};

}  // namespace
}  // namespace stoker::program

#define STOKER_DENSE kAvx2Dense
#include "program/dense.inc"
#endif
