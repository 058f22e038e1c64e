#include "program/dense.h"

#include "base/level.h"

namespace stoker::program {

const DenseKernels* dense_kernels(int level) {
#ifdef __x86_64__
  if (level == static_cast<int>(Level::avx512)) return &kAvx512Dense;
  if (level == static_cast<int>(Level::avx2)) return &kAvx2Dense;
#endif
  return nullptr;
}

}  // namespace stoker::program
