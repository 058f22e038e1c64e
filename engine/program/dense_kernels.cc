#include "program/dense_kernels.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include "base/level.h"

namespace stoker::program {

const DenseKernels* usable_dense_kernels() {
  if (at::get_num_threads() > 1) return nullptr;
  const auto capability = at::get_cpu_capability();
  const auto level = capability == "AVX512" ? Level::avx512 : capability == "AVX2" ? Level::avx2 : Level::baseline;
  return dense_kernels(static_cast<int>(level));
}

}  // namespace stoker::program
