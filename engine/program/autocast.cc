#include "program/autocast.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

#include <algorithm>
#include <string_view>

namespace stoker::program {
namespace {

using c10::IValue;
using Stack = std::vector<IValue>;

class Autocast {
 public:
  Autocast()
      : enabled_(at::autocast::is_autocast_enabled(at::kCPU)), cached_(at::autocast::is_autocast_cache_enabled()) {
    at::autocast::set_autocast_enabled(at::kCPU, true);
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~Autocast() {
    at::autocast::set_autocast_enabled(at::kCPU, enabled_);
    at::autocast::set_autocast_cache_enabled(cached_);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  const bool enabled_, cached_;
};

/// Those of torch's list that a program may name.
bool takes_bf16(const std::string& op) {
  static constexpr std::string_view kOperators[] = {"aten::conv1d",
                                                    "aten::conv2d",
                                                    "aten::conv3d",
                                                    "aten::conv_transpose1d",
                                                    "aten::conv_transpose2d",
                                                    "aten::conv_transpose3d",
                                                    "aten::conv_tbc",
                                                    "aten::bmm",
                                                    "aten::mm",
                                                    "aten::linalg_vecdot",
                                                    "aten::baddbmm",
                                                    "aten::addmm",
                                                    "aten::addbmm",
                                                    "aten::linear",
                                                    "aten::matmul",
                                                    "aten::scaled_dot_product_attention"};
  return std::ranges::find(kOperators, op) != std::end(kOperators);
}

at::Tensor rounded(const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  const auto type = tensor.scalar_type();
  if (type != at::kFloat && type != at::kBFloat16) return tensor;
  return tensor.to(at::kBFloat16).to(at::kFloat);
}

/// What is of bfloat16 numbers, done in float32.
void run_rounded(const c10::OperatorHandle& op, Stack& stack) {
  for (auto& value : stack)
    if (value.isTensor()) value = rounded(value.toTensor());
  op.callBoxed(stack);
  for (auto& value : stack)  // those of whole and double numbers stay
    if (value.isTensor() && value.toTensor().scalar_type() == at::kFloat) value = value.toTensor().to(at::kBFloat16);
}

bool is_recurrent(const std::string& op) {
  return op == "aten::lstm" || op == "aten::gru" || op == "aten::rnn_tanh" || op == "aten::rnn_relu";
}

/// oneDNN has recurrent layers of bfloat16 only where it has products of it.
void run_in_float(const c10::OperatorHandle& op, Stack& stack) {
  const auto widened = [](const at::Tensor& x) { return x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x; };
  for (auto& value : stack) {
    if (value.isTensor()) value = widened(value.toTensor());
    if (!value.isTensorList()) continue;
    auto tensors = value.toTensorVector();
    std::ranges::transform(tensors, tensors.begin(), widened);
    value = IValue(std::move(tensors));
  }
  op.callBoxed(stack);
}

bool find_bf16() {
#ifdef __x86_64__
  return at::get_cpu_capability() == "AVX512" && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

at::Tensor floats(const at::Tensor& tensor) { return tensor.defined() ? tensor.to(at::kFloat) : tensor; }

}  // namespace

bool has_bf16() {
  static const bool found = find_bf16();
  return found;
}

Call autocast_call(const c10::OperatorHandle& op) {
  if (!has_bf16() && takes_bf16(op.schema().name())) return [op](Stack& stack) { run_rounded(op, stack); };
  if (!has_bf16() && is_recurrent(op.schema().name())) return [op](Stack& stack) { run_in_float(op, stack); };
  return [op](Stack& stack) {
    const Autocast autocast;
    op.callBoxed(stack);
  };
}

at::Tensor bf16_linear(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  if (has_bf16()) return at::linear(input, weight, bias);
  return at::linear(floats(input), floats(weight), floats(bias)).to(at::kBFloat16);
}

at::Tensor bf16_mm(const at::Tensor& a, const at::Tensor& b) {
  return has_bf16() ? at::mm(a, b) : at::mm(floats(a), floats(b)).to(at::kBFloat16);
}

}  // namespace stoker::program
