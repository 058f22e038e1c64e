#include "optim/kernels.h"

#include "base/level.h"
#include "optim/optimizer.h"

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

#else
const Kernels& kernels(Isa) { return kPortableKernels; }
#endif

Isa best_isa() {
  static const Level level = best_level();
  return level == Level::avx512 ? Isa::avx512 : level == Level::avx2 ? Isa::avx2 : Isa::portable;
}

}  // namespace stoker::optim
