#pragma once
// The two ends of a program's run that do not depend on how its layers are computed: inputs into slots; loss, metric
// and the start of the backward pass out of them.
#include <torch/csrc/autograd/function.h>

#include <vector>

#include "program/arguments.h"
#include "program/format.h"
#include "program/step.h"

namespace stoker::program {

/// Throws Error(user) where their number is another.
void fill_inputs(const Program& program, const std::vector<at::Tensor>& inputs, Slots& slots);

/// `rows` of the micro-batch.
StepScalars loss_scalars(const Program& program, const Slots& slots, int64_t rows);

/// Runs autograd from the loss's numerator to the ends of the graph, or to `to` only, whose gradients are returned.
torch::autograd::variable_list backward(const Program& program, const Slots& slots,
                                        const torch::autograd::edge_list& to = {});

}  // namespace stoker::program
