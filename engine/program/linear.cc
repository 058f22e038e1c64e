#include "program/linear.h"

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include "program/autocast.h"

namespace stoker::program {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

// Parameter numbers; bias -1 where there is none.
struct Layer {
  int weight = -1;
  int bias = -1;
  bool bf16 = false;  // it is computed in bfloat16
};

int parameter_of(const Program& program, const nlohmann::json& value) {
  const auto slots = slots_in(value);
  for (size_t i = 0; i < program.parameters.size() && slots.size() == 1; ++i) {
    if (program.parameters[i].slot == slots[0]) return static_cast<int>(i);
  }
  return -1;
}

struct LinearBackward : torch::autograd::Node {
  LinearBackward(Landing& landing, Layer layer, const at::Tensor& input, const at::Tensor& weight, at::ScalarType dtype)
      : landing_(landing), layer_(layer), input_(input, /*is_output=*/false), weight_(weight), dtype_(dtype) {}

  variable_list apply(variable_list&& gradients) override {
    if (!gradients[0].defined()) return variable_list(num_outputs());
    const auto input = input_.unpack();
    const auto rows = c10::multiply_integers(input.sizes().slice(0, input.dim() - 1));
    const auto out = gradients[0].reshape({rows, weight_.size(0)});
    land_weight(out, input.reshape({rows, weight_.size(1)}));
    if (layer_.bias != -1) land_bias(out);
    if (num_outputs() == 0 || !task_should_compute_output(0)) return variable_list(num_outputs());
    return {product(out, weight_).view(input.sizes()).to(dtype_)};
  }
  void release_variables() override { input_.reset_data(); }

 private:
  at::Tensor product(const at::Tensor& a, const at::Tensor& b) const { return layer_.bf16 ? bf16_mm(a, b) : a.mm(b); }
  void land_weight(const at::Tensor& out, const at::Tensor& input) {
    if (layer_.bf16) return landing_.land(layer_.weight, bf16_mm(out.t(), input));
    bool first = false;
    auto place = landing_.place(layer_.weight, first);
    first ? at::mm_out(place, out.t(), input) : place.addmm_(out.t(), input);
  }
  void land_bias(const at::Tensor& out) {
    if (layer_.bf16) return landing_.land(layer_.bias, out.sum(0));
    bool first = false;
    auto place = landing_.place(layer_.bias, first);
    first ? at::sum_out(place, out, 0) : place.add_(out.sum(0));
  }

  Landing& landing_;
  Layer layer_;
  SavedVariable input_;
  at::Tensor weight_;
  at::ScalarType dtype_;  // of the input's gradient
};

/// What the layer computes with.
struct Operands {
  at::Tensor input, weight, bias;
};

Operands operands(Layer layer, const std::vector<c10::IValue>& stack) {
  const auto bias = stack[2].toOptional<at::Tensor>().value_or(at::Tensor());
  Operands found{stack[0].toTensor(), stack[1].toTensor(), bias};
  if (!layer.bf16) return found;
  for (auto* tensor : {&found.input, &found.weight, &found.bias})
    if (tensor->defined()) *tensor = tensor->detach().to(at::kBFloat16);
  return found;
}

at::Tensor forward(Layer layer, const Operands& x) {
  const at::AutoDispatchBelowADInplaceOrView plain;
  return layer.bf16 ? bf16_linear(x.input, x.weight, x.bias) : at::linear(x.input, x.weight, x.bias);
}

void run(Landing& landing, Layer layer, std::vector<c10::IValue>& stack) {
  const auto input = stack[0].toTensor();
  const auto with = operands(layer, stack);
  auto out = forward(layer, with);
  auto node = c10::make_intrusive<LinearBackward>(landing, layer, with.input, with.weight, input.scalar_type());
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
  layer.bf16 = node.autocast;
  return [&landing, layer](std::vector<c10::IValue>& stack) { run(landing, layer, stack); };
}

}  // namespace stoker::program
