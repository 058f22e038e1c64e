#include "train/arithmetic.h"

#include <ATen/Parallel.h>
#include <xmmintrin.h>

namespace stoker::train {
namespace {

// Round to nearest, no traps, results and operands that are denormal count as zero.
constexpr unsigned kMode = 0x1f80 | 0x8000 | 0x0040;

void set_everywhere(unsigned mode) {
  _mm_setcsr(mode);
  at::parallel_for(0, at::get_num_threads(), 1, [mode](int64_t, int64_t) { _mm_setcsr(mode); });
}

}  // namespace

Arithmetic::Arithmetic(int threads) : mode_before_(_mm_getcsr()), threads_before_(at::get_num_threads()) {
  at::set_num_threads(threads);
  set_everywhere(kMode);
}

Arithmetic::~Arithmetic() {
  set_everywhere(mode_before_);
  at::set_num_threads(threads_before_);
}

}  // namespace stoker::train
