#include "program/convolution.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "program/dense_kernels.h"
#include "program/plane_conv.h"

namespace stoker::program {
namespace {

using c10::IValue;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;
using Stack = std::vector<IValue>;

// More channels fill libtorch's vectors; fewer pixels fill none of ours; more floats of an image leave the caches.
constexpr int64_t kMostChannels = 16;
constexpr int64_t kFewestPixels = 256;
constexpr int64_t kMostFloats = 128 * 1024;

Strides strides_of(const at::Tensor& x) { return {x.stride(0), x.stride(1), x.stride(2), x.stride(3)}; }
Images images(const at::Tensor& x) { return {x.const_data_ptr<float>(), strides_of(x)}; }
ImagesOut images_out(const at::Tensor& x) { return {x.mutable_data_ptr<float>(), strides_of(x)}; }

at::Tensor empty_as(const at::Tensor& x, at::IntArrayRef sizes) {
  return at::empty(sizes, x.options().requires_grad(false).memory_format(x.suggest_memory_format()));
}

/// Of an argument for each dimension; none for anything else.
std::vector<int64_t> sizes_of(const IValue& value) {
  if (value.isInt()) return {value.toInt()};
  return value.isIntList() ? value.toIntVector() : std::vector<int64_t>();
}

bool all_are_one(const IValue& value) {
  const auto sizes = sizes_of(value);
  return !sizes.empty() && std::ranges::all_of(sizes, [](int64_t each) { return each == 1; });
}

/// Height and width; none where they are not the same before and behind.
std::optional<std::pair<int64_t, int64_t>> padding_of(const IValue& value, const at::Tensor& w) {
  if (!value.isString()) {
    const auto sizes = sizes_of(value);
    return sizes.empty() ? std::nullopt : std::optional(std::pair(sizes.front(), sizes.back()));
  }
  if (value.toStringRef() == "valid") return std::pair<int64_t, int64_t>(0, 0);
  if (w.size(2) % 2 == 0 || w.size(3) % 2 == 0) return std::nullopt;
  return std::pair(w.size(2) / 2, w.size(3) / 2);
}

bool is_small(const ConvShape& s) {
  return s.in <= kMostChannels && s.out <= kMostChannels && s.taps() > 0 && s.out_height() > 0 && s.out_width() > 0 &&
         s.out_height() * s.out_width() >= kFewestPixels &&
         (s.in + s.out) * s.framed_height() * s.framed_width() <= kMostFloats;
}

/// Of conv2d(x, weight, bias, stride, padding, dilation, groups), or convolution(..., dilation, transposed,
/// output_padding, groups), where plane_conv.h is made for it.
std::optional<ConvShape> shape_of(const Stack& stack) {
  const auto x = stack[0].toTensor(), w = stack[1].toTensor();
  const auto bias = stack[2].toOptional<at::Tensor>().value_or(at::Tensor());
  const auto is_float = [](const at::Tensor& t) { return t.scalar_type() == at::kFloat && !t.is_neg(); };
  if (x.dim() != 4 || w.dim() != 4 || !is_float(x) || !is_float(w)) return std::nullopt;
  if (x.size(1) != w.size(1) || stack.back().toInt() != 1) return std::nullopt;
  if (bias.defined() && (!is_float(bias) || bias.dim() != 1 || bias.size(0) != w.size(0))) return std::nullopt;
  if (!all_are_one(stack[3]) || !all_are_one(stack[5])) return std::nullopt;
  if (stack.size() > 7 && stack[6].toBool()) return std::nullopt;
  const auto padding = padding_of(stack[4], w);
  if (!padding || std::min(padding->first, padding->second) < 0) return std::nullopt;
  const ConvShape shape{x.size(1), w.size(0), x.size(2),      x.size(3),
                        w.size(2), w.size(3), padding->first, padding->second};
  return is_small(shape) ? std::optional(shape) : std::nullopt;
}

struct ConvBackward : torch::autograd::Node {
  ConvBackward(std::shared_ptr<PlaneConv> conv, const at::Tensor& x, const at::Tensor& w)
      : conv_(std::move(conv)), x_(x, /*is_output=*/false), w_(w, /*is_output=*/false) {}

  variable_list apply(variable_list&& gradients) override {
    if (!gradients[0].defined()) return variable_list(num_outputs());
    const auto d = gradients[0].resolve_neg();
    const auto x = x_.unpack(), w = w_.unpack().contiguous();
    const auto dw = task_should_compute_output(1) ? at::empty_like(w) : at::Tensor();
    const auto dx = task_should_compute_output(0) ? empty_as(x, x.sizes()) : at::Tensor();
    conv_->backward(images(x), images(d), x.size(0), w.const_data_ptr<float>(),
                    dw.defined() ? dw.mutable_data_ptr<float>() : nullptr, dx.defined() ? images_out(dx) : ImagesOut());
    return {dx, dw, task_should_compute_output(2) ? d.sum({0, 2, 3}) : at::Tensor()};
  }
  void release_variables() override {
    x_.reset_data();
    w_.reset_data();
  }

 private:
  const std::shared_ptr<PlaneConv> conv_;
  SavedVariable x_, w_;
};

void run(const std::shared_ptr<PlaneConv>& conv, Stack& stack) {
  const auto x = stack[0].toTensor(), w = stack[1].toTensor();
  const auto bias = stack[2].toOptional<at::Tensor>().value_or(at::Tensor());
  const auto& shape = conv->shape();
  auto y = empty_as(x, {x.size(0), shape.out, shape.out_height(), shape.out_width()});
  const auto weights = w.detach().contiguous(), biases = bias.defined() ? bias.detach().contiguous() : at::Tensor();
  conv->forward(images(x), x.size(0), weights.const_data_ptr<float>(),
                biases.defined() ? biases.const_data_ptr<float>() : nullptr, images_out(y));
  auto edges = torch::autograd::collect_next_edges(x, w, bias);
  if (std::ranges::any_of(edges, [](const auto& edge) { return edge.is_valid(); })) {
    auto node = c10::make_intrusive<ConvBackward>(conv, x, w);
    node->set_next_edges(std::move(edges));
    torch::autograd::set_history(y, node);
  }
  stack.assign(1, std::move(y));
}

}  // namespace

Call conv_call(const Node& node, const c10::OperatorHandle& op) {
  const bool is_conv =
      node.op == "aten.conv2d.default" || node.op == "aten.conv2d.padding" || node.op == "aten.convolution.default";
  const auto* kernels = usable_dense_kernels();
  if (!is_conv || node.autocast || !kernels) return {};
  return [op, kernels, conv = std::shared_ptr<PlaneConv>()](Stack& stack) mutable {
    const auto shape = shape_of(stack);
    if (!shape) return op.callBoxed(stack);
    if (!conv || conv->shape() != *shape) conv = std::make_shared<PlaneConv>(*shape, *kernels);
    run(conv, stack);
  };
}

}  // namespace stoker::program
