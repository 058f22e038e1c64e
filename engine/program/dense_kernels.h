#pragma once
// Which of dense.h's kernels go with libtorch's.
#include "program/dense.h"

namespace stoker::program {

/// Those of libtorch's instruction-set level; none where there are none, or where this thread's operators run on
/// several intra-op threads: that calls for libtorch's kernels.
const DenseKernels* usable_dense_kernels();

}  // namespace stoker::program
