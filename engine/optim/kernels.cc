#include "optim/kernels.h"

namespace stoker::optim {

#ifdef __x86_64__
const Kernels& kernels(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return kAvx512Kernels;
    case Isa::avx2:
      return kAvx2Kernels;
    case Isa::portable:
      break;
  }
  return kPortableKernels;
}

Isa best_isa() {
  __builtin_cpu_init();
  const auto has512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  if (has512) return Isa::avx512;
  return __builtin_cpu_supports("avx2") ? Isa::avx2 : Isa::portable;
}
#else
const Kernels& kernels(Isa) { return kPortableKernels; }
Isa best_isa() { return Isa::portable; }
#endif

}  // namespace stoker::optim
