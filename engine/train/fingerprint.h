#pragma once
// What a worker's arithmetic makes of one canned micro-batch: equal bits on two machines say that they may train one
// model together. Kernels, their libraries, the CPU and its caches decide about them, and no list of CPUs tells.
#include <ATen/core/Tensor.h>

#include <vector>

#include "gang/protocol.h"
#include "optim/arena.h"
#include "optim/optimizer.h"
#include "program/format.h"
#include "program/step.h"
#include "train/outer_program.h"

namespace stoker::train {

/// What the program is run with; `step` is bound to other memory afterwards.
struct Canned {
  const program::Program& program;
  const optim::Arena& weights;
  const optim::Arena& buffers;
  const optim::OptimizerOptions& optimizer;
  program::Step& step;
  const OuterSpec* outer = nullptr;  // a user's, whose kernels may be any
};

/// Rows that any model of such inputs takes, as far as the program tells: numbers from 0 to 1, and 0 and 1 where whole
/// ones are wanted, which are classes, rows of tables and truth values. The same everywhere.
std::vector<at::Tensor> canned_inputs(const program::Program& program, int64_t rows);

/// Runs the program forward and backward, from weights of its own, and updates a part of each, all on memory of its
/// own. A program that does not take the batch has a fingerprint too, which tells so. Throws Error(world) where memory
/// is lacking.
gang::Fingerprint fingerprint(const Canned& canned, int64_t rows);

/// In builds with faults (base/fault.h): the gradient of kernels that are a bit off, where "kernels" are left out, or
/// those of one level, like "kernels-AVX2".
void bend(float* gradient);

}  // namespace stoker::train
