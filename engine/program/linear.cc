#include "program/linear.h"

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

namespace stoker::program {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

// Parameter numbers; bias -1 where there is none.
struct Layer {
  int weight = -1;
  int bias = -1;
};

int parameter_of(const Program& program, const nlohmann::json& value) {
  const auto slots = slots_in(value);
  for (size_t i = 0; i < program.parameters.size() && slots.size() == 1; ++i) {
    if (program.parameters[i].slot == slots[0]) return static_cast<int>(i);
  }
  return -1;
}

struct LinearBackward : torch::autograd::Node {
  LinearBackward(Landing& landing, Layer layer, const at::Tensor& input, const at::Tensor& weight)
      : landing_(landing), layer_(layer), input_(input, /*is_output=*/false), weight_(weight) {}

  variable_list apply(variable_list&& gradients) override {
    if (!gradients[0].defined()) return variable_list(num_outputs());
    const auto input = input_.unpack();
    const auto rows = c10::multiply_integers(input.sizes().slice(0, input.dim() - 1));
    const auto out = gradients[0].reshape({rows, weight_.size(0)});
    land_weight(out, input.reshape({rows, weight_.size(1)}));
    if (layer_.bias != -1) land_bias(out);
    if (num_outputs() == 0 || !task_should_compute_output(0)) return variable_list(num_outputs());
    return {out.mm(weight_).view(input.sizes())};
  }
  void release_variables() override { input_.reset_data(); }

 private:
  void land_weight(const at::Tensor& out, const at::Tensor& input) {
    bool first = false;
    auto place = landing_.place(layer_.weight, first);
    first ? at::mm_out(place, out.t(), input) : place.addmm_(out.t(), input);
  }
  void land_bias(const at::Tensor& out) {
    bool first = false;
    auto place = landing_.place(layer_.bias, first);
    first ? at::sum_out(place, out, 0) : place.add_(out.sum(0));
  }

  Landing& landing_;
  Layer layer_;
  SavedVariable input_;
  at::Tensor weight_;
};

at::Tensor forward(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  const at::AutoDispatchBelowADInplaceOrView plain;
  return at::linear(input, weight, bias);
}

void run(Landing& landing, Layer layer, std::vector<c10::IValue>& stack) {
  const auto input = stack[0].toTensor();
  const auto weight = stack[1].toTensor();
  auto out = forward(input, weight, stack[2].toOptional<at::Tensor>());
  auto node = c10::make_intrusive<LinearBackward>(landing, layer, input, weight);
  if (input.requires_grad()) node->set_next_edges(torch::autograd::collect_next_edges(input));
  torch::autograd::set_history(out, node);
  stack.assign(1, std::move(out));
}

}  // namespace

Call linear_call(const Program& program, const Node& node, Landing& landing) {
  if (node.op != "aten.linear.default" || !node.kwargs.empty() || node.args.size() < 2) return {};
  Layer layer{parameter_of(program, node.args[1])};
  const bool has_bias = node.args.size() > 2 && !node.args[2].is_null();
  if (has_bias) layer.bias = parameter_of(program, node.args[2]);
  if (layer.weight == -1 || (has_bias && layer.bias == -1)) return {};
  return [&landing, layer](std::vector<c10::IValue>& stack) { run(landing, layer, stack); };
}

}  // namespace stoker::program
