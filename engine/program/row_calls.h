#pragma once
// An inference program's nodes in ways that give a row the same bits in every place of a chunk.
#include "program/plan.h"

namespace stoker::program {

/// Linear layers and products with a matrix, of fixed small weights, where this thread's operators allow it (see
/// usable_dense_kernels), run on the kernels of dense.h: libtorch's product of a few columns treats the last rows in
/// another way. Elementwise functions run on whole vectors: libtorch's treat what is left over at the end in another
/// way. `weights` must outlive the calls.
Specialise row_calls(const Program& program, const Slots& weights);

}  // namespace stoker::program
