#include "program/row_calls.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "program/dense_forward.h"
#include "program/dense_kernels.h"
#include "program/trunk.h"

namespace stoker::program {
namespace {

using Stack = std::vector<c10::IValue>;

// A multiple of what any instruction set's loops take at once.
constexpr int64_t kWholeVectors = 64;

using Json = nlohmann::json;

int slot_of(const Json& argument) {
  const auto slots = slots_in(argument);
  return argument.is_object() && slots.size() == 1 ? slots[0] : -1;
}

/// A weight's tensor; none where the argument is no weight of float32.
at::Tensor fixed_tensor(const Program& program, const Slots& weights, const Json& argument) {
  const auto is_it = [slot = slot_of(argument)](const auto& weight) { return weight.slot == slot; };
  if (std::ranges::none_of(program.parameters, is_it) && std::ranges::none_of(program.constants, is_it)) return {};
  const auto tensor = weights[slot_of(argument)].toTensor();
  return tensor.scalar_type() == at::kFloat ? tensor : at::Tensor();
}

/// The same for a matrix, also one that the program transposes.
at::Tensor fixed_matrix(const Program& program, const Slots& weights, const Json& argument) {
  auto matrix = fixed_tensor(program, weights, argument);
  if (!matrix.defined()) {
    const auto maker = std::ranges::find_if(program.nodes, [slot = slot_of(argument)](const Node& node) {
      return node.op == "aten.t.default" && node.out == std::vector{slot};
    });
    if (maker == program.nodes.end()) return {};
    matrix = fixed_tensor(program, weights, maker->args.at(0));
    if (matrix.defined() && matrix.dim() == 2) matrix = matrix.t();
  }
  return matrix.defined() && matrix.dim() == 2 ? matrix : at::Tensor();
}

at::Tensor run_linear(const DenseForward& layer, const at::Tensor& x, int64_t out) {
  const auto dense = x.contiguous();
  auto shape = x.sizes().vec();
  const auto in = std::exchange(shape.back(), out);
  auto y = at::empty(shape, at::kFloat);
  layer.run(dense.const_data_ptr<float>(), x.numel() / in, y.mutable_data_ptr<float>());
  return y;
}

struct Linear {
  at::Tensor weight, bias;  // the weight as [out, in]
};

/// A linear layer, or a product with a matrix, of fixed weights.
std::optional<Linear> find_linear(const Program& program, const Slots& weights, const Node& node) {
  const bool layer = node.op == "aten.linear.default";
  const bool product = node.op == "aten.matmul.default" || node.op == "aten.mm.default";
  if ((!layer && !product) || node.autocast || !node.kwargs.empty() || node.args.size() < 2) return std::nullopt;
  const auto matrix = fixed_matrix(program, weights, node.args[1]);
  const bool biased = node.args.size() > 2 && !node.args[2].is_null();
  const auto bias = biased ? fixed_tensor(program, weights, node.args[2]) : at::Tensor();
  if (!matrix.defined() || bias.defined() != biased) return std::nullopt;
  Linear found{(layer ? matrix : matrix.t()).contiguous(), bias};
  const int64_t out = found.weight.size(0), in = found.weight.size(1);
  const bool fits = !biased || (bias.is_contiguous() && bias.numel() == out);
  return fits && is_small_layer(in, out) ? std::optional(found) : std::nullopt;
}

Call linear_rows(const Program& program, const Slots& weights, const Node& node) {
  const auto* kernels = usable_dense_kernels();
  const auto linear = kernels ? find_linear(program, weights, node) : std::nullopt;
  if (!linear) return {};
  const auto& [weight, bias] = *linear;
  const int64_t out = weight.size(0), in = weight.size(1);
  FixedLayer layer{weight.const_data_ptr<float>(), bias.defined() ? bias.const_data_ptr<float>() : nullptr, in, out};
  const auto forward = std::make_shared<const DenseForward>(std::vector{layer}, *kernels);
  return [forward, linear = *linear, in, out](Stack& stack) {
    const auto x = stack[0].toTensor();
    const bool fits = x.scalar_type() == at::kFloat && x.dim() > 1 && x.size(-1) == in;
    auto y = fits ? run_linear(*forward, x, out) : at::linear(x, linear.weight, linear.bias);
    stack.assign(1, std::move(y));
  };
}

bool is_elementwise(const c10::OperatorHandle& op) {
  const auto& arguments = op.schema().arguments();
  const auto is_tensor = [](const c10::Argument& a) { return a.type()->isSubtypeOf(*c10::TensorType::get()); };
  return op.hasTag(at::Tag::pointwise) && !op.hasTag(at::Tag::nondeterministic_seeded) && !arguments.empty() &&
         is_tensor(arguments[0]) && std::ranges::count_if(arguments, is_tensor) == 1 &&
         op.schema().returns().size() == 1;
}

bool fills_vectors(const at::Tensor& x) {
  return x.numel() % kWholeVectors == 0 || !x.is_floating_point() || !x.is_non_overlapping_and_dense();
}

at::Tensor in_whole_vectors(const at::Tensor& x) {
  auto filled = at::zeros({(x.numel() / kWholeVectors + 1) * kWholeVectors}, x.options());
  filled.narrow(0, 0, x.numel()).copy_(x.as_strided({x.numel()}, {1}));
  return filled;
}

void run_elementwise(const c10::OperatorHandle& op, Stack& stack) {
  const auto x = stack[0].toTensor();
  if (fills_vectors(x)) return op.callBoxed(stack);
  stack[0] = in_whole_vectors(x);
  op.callBoxed(stack);
  const auto y = stack[0].toTensor().as_strided(x.sizes(), x.strides());
  stack[0] = op.schema().is_mutable() ? x.copy_(y) : y;
}

}  // namespace

Specialise row_calls(const Program& program, const Slots& weights) {
  return [&](const Node& node, const c10::OperatorHandle& op) -> Call {
    if (auto call = linear_rows(program, weights, node)) return call;
    if (node.autocast || !is_elementwise(op)) return {};
    return [op](Stack& stack) { run_elementwise(op, stack); };
  };
}

}  // namespace stoker::program
