#include "program/loss.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/engine.h>

#include "base/error.h"
#include "program/plan.h"
#include "program/scalars.h"

namespace stoker::program {

void fill_inputs(const Program& program, const std::vector<at::Tensor>& inputs, Slots& slots) {
  if (inputs.size() != program.inputs.size()) {
    fail_user("the program has ", program.inputs.size(), " inputs, and ", inputs.size(), " are given");
  }
  for (size_t i = 0; i < inputs.size(); ++i) slots[program.inputs[i].slot] = inputs[i];
}

StepScalars loss_scalars(const Program& program, const Slots& slots, int64_t rows) try {
  const auto& loss = program.loss;
  StepScalars out;
  out.numerator = single_number(slots[loss.numerator]);
  out.denominator =
      loss.denominator == -1 ? static_cast<double>(rows) * loss.per_row : single_number(slots[loss.denominator]);
  if (const auto& m = program.metric; m && m->kind != MetricKind::values) {
    const auto* weight = m->weight == -1 ? nullptr : &slots[m->weight].toTensor();
    const auto sums = measure(m->kind, slots[m->output].toTensor(), slots[m->label].toTensor(), weight);
    out.correct = sums.correct;
    out.counted = sums.counted;
  }
  return out;
} catch (...) {
  rethrow_as_error("loss and metric");
}

torch::autograd::variable_list backward(const Program& program, const Slots& slots,
                                        const torch::autograd::edge_list& to) try {
  static const at::Tensor one = at::ones({});
  const auto& loss = slots[program.loss.numerator].toTensor();
  if (!loss.requires_grad()) return torch::autograd::variable_list(to.size());
  return torch::autograd::Engine::get_default_engine().execute({torch::autograd::impl::gradient_edge(loss)},
                                                               {loss.dim() ? at::ones_like(loss) : one},
                                                               /*keep_graph=*/false, /*create_graph=*/false,
                                                               /*accumulate_grad=*/to.empty(), to);
} catch (...) {
  rethrow_as_error("the backward pass");
}

}  // namespace stoker::program
