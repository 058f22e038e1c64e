#include "program/batch_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <cmath>

#include "base/error.h"

namespace stoker::program {
namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;
using Numbers = std::vector<double>;  // by channel

constexpr size_t kTraining = 5;  // argument of aten::batch_norm
constexpr int64_t kGrain = 1 << 15;

/// A contiguous tensor of [outer, channels, inner] float numbers.
struct Shape {
  int64_t outer, channels, inner;

  explicit Shape(const at::Tensor& x)
      : outer(x.size(0)), channels(x.size(1)), inner(outer * channels == 0 ? 0 : x.numel() / (outer * channels)) {}
  double count() const { return static_cast<double>(outer * inner); }  // of a channel

  /// body(channel, first, end) for each run of one channel's numbers, those of a channel in their order.
  template <typename Body>
  void for_each_run(const Body& body) const {
    const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, outer * inner));
    at::parallel_for(0, channels, grain, [&](int64_t begin, int64_t end) {
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t c = begin; c < end; ++c) body(c, (o * channels + c) * inner, (o * channels + c + 1) * inner);
    });
  }
};

/// Adds term(i) over a run to `sum`, in an order that is the run's own.
template <typename Term>
void add_run(int64_t first, int64_t end, double& sum, const Term& term) {
  constexpr int kLanes = 8;
  double lanes[kLanes] = {};
  int64_t i = first;
  for (; i + kLanes <= end; i += kLanes)
    for (int k = 0; k < kLanes; ++k) lanes[k] += term(i + k);
  for (int k = 0; i < end; ++i, ++k) lanes[k] += term(i);
  for (int k = kLanes / 2; k > 0; k /= 2)
    for (int j = 0; j < k; ++j) lanes[j] += lanes[j + k];
  sum += lanes[0];
}

void check(const at::Tensor& input) {
  if (input.scalar_type() != at::kFloat || input.dim() < 2)
    fail_user("batchNorm='batch' normalises float32 rows with channels, and this is ", input.sizes(), " of ",
              input.scalar_type());
}

/// What the whole batch has by channel.
struct Statistics {
  double count = 0;
  Numbers mean, variance;  // biased

  Numbers scale(double eps) const {
    Numbers scale;
    for (const double v : variance) scale.push_back(1 / std::sqrt(v + eps));
    return scale;
  }
};

/// Squares of float32 numbers are exact in double, so what is lost where the mean is subtracted from their sum is far
/// below what float32 can hold of numbers that lie so far from 0.
Statistics statistics(const at::Tensor& x, int place, const AddUp& add_up) {
  const Shape shape(x);
  const auto* values = x.const_data_ptr<float>();
  const auto n = static_cast<size_t>(shape.channels);
  Numbers sums(1 + 2 * n);
  sums[0] = shape.count();
  shape.for_each_run([&](int64_t c, int64_t first, int64_t end) {
    const auto number = [&](int64_t i) { return static_cast<double>(values[i]); };
    add_run(first, end, sums[1 + c], number);
    add_run(first, end, sums[1 + n + c], [&](int64_t i) { return number(i) * number(i); });
  });
  add_up(place, sums);
  Statistics found{sums[0], {}, {}};
  if (!(found.count > 1)) fail_user("batch norm needs more than one number of a channel, and the batch has one");
  for (size_t c = 0; c < n; ++c) {
    const double mean = sums[1 + c] / found.count;
    found.mean.push_back(mean);
    found.variance.push_back(std::max(0.0, sums[1 + n + c] / found.count - mean * mean));
  }
  return found;
}

at::Tensor as_tensor(const Numbers& numbers) {
  auto tensor = at::empty({static_cast<int64_t>(numbers.size())}, at::kFloat);
  std::copy(numbers.begin(), numbers.end(), tensor.mutable_data_ptr<float>());
  return tensor;
}

struct WholeBatchNormBackward : torch::autograd::Node {
  WholeBatchNormBackward(int place, AddUp add_up, double count, const at::Tensor& input, const at::Tensor& weight)
      : place(place),
        add_up(std::move(add_up)),
        count(count),
        input(input, /*is_output=*/false),
        weight(weight.defined() ? weight.detach().contiguous() : weight) {}

  variable_list apply(variable_list&& gradients) override {
    if (!gradients[0].defined()) return variable_list(num_outputs());
    const auto x = input.unpack().contiguous(), dy = gradients[0].to(at::kFloat).contiguous();
    const auto n = static_cast<size_t>(x.size(1));
    Numbers sums = sums_of(x, dy);
    Numbers of_weight(n), of_bias(sums.begin(), sums.begin() + static_cast<int64_t>(n));
    for (size_t c = 0; c < n; ++c) of_weight[c] = sums[n + c] * scale[c];
    add_up(-place, sums);
    variable_list out(num_outputs());
    if (wants(0)) out[0] = of_input(x, dy, sums);
    if (wants(1)) out[1] = as_tensor(of_weight);
    if (wants(2)) out[2] = as_tensor(of_bias);
    return out;
  }
  void release_variables() override { input.reset_data(); }

  const int place;
  const AddUp add_up;
  const double count;
  SavedVariable input;
  const at::Tensor weight;
  Numbers mean, scale;  // scale: 1 / the square root of the variance and eps

 private:
  bool wants(size_t i) { return i < num_outputs() && task_should_compute_output(i); }

  /// By channel: of the gradients, then of their products with what lies around the mean.
  Numbers sums_of(const at::Tensor& x, const at::Tensor& dy) const {
    const Shape shape(x);
    const auto *values = x.const_data_ptr<float>(), *gradients = dy.const_data_ptr<float>();
    const auto n = static_cast<size_t>(shape.channels);
    Numbers sums(2 * n);
    shape.for_each_run([&](int64_t c, int64_t first, int64_t end) {
      const double middle = mean[c];
      add_run(first, end, sums[c], [&](int64_t i) { return static_cast<double>(gradients[i]); });
      add_run(first, end, sums[n + c],
              [&](int64_t i) { return static_cast<double>(gradients[i]) * (static_cast<double>(values[i]) - middle); });
    });
    return sums;
  }

  at::Tensor of_input(const at::Tensor& x, const at::Tensor& dy, const Numbers& sums) const {
    const Shape shape(x);
    const auto *values = x.const_data_ptr<float>(), *gradients = dy.const_data_ptr<float>();
    const auto* weights = weight.defined() ? weight.const_data_ptr<float>() : nullptr;
    auto out = at::empty_like(x);
    auto* to = out.mutable_data_ptr<float>();
    shape.for_each_run([&](int64_t c, int64_t first, int64_t end) {
      const auto middle = static_cast<float>(mean[c]), shift = static_cast<float>(sums[c] / count);
      const auto slope = static_cast<float>(sums[shape.channels + c] * scale[c] * scale[c] / count);
      const auto factor = static_cast<float>(scale[c]) * (weights ? weights[c] : 1.0F);
      for (int64_t i = first; i < end; ++i) to[i] = (gradients[i] - shift - (values[i] - middle) * slope) * factor;
    });
    return out;
  }
};

/// As torch moves them on, by the unbiased variance.
void move_on(const at::Tensor& running, const Numbers& numbers, double factor, double momentum) {
  auto* to = running.mutable_data_ptr<float>();
  for (size_t c = 0; c < numbers.size(); ++c)
    to[c] = static_cast<float>(momentum * (numbers[c] * factor) + (1 - momentum) * static_cast<double>(to[c]));
}

at::Tensor normalised(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Statistics& found,
                      double eps) {
  const at::AutoDispatchBelowADInplaceOrView plain;
  return at::batch_norm(x, weight, bias, as_tensor(found.mean), as_tensor(found.variance), /*training=*/false, 0, eps,
                        /*cudnn_enabled=*/false);
}

at::Tensor tensor_or_none(const c10::IValue& value) { return value.isNone() ? at::Tensor() : value.toTensor(); }

/// Whether it is a node of these operators, which have the same arguments but the last; the second one gives the mean
/// and the scale too.
bool is_batch_norm(const Node& node) {
  const bool known = node.op == "aten.batch_norm.default" || node.op == "aten.native_batch_norm.default";
  if (!known || !node.kwargs.empty() || node.args.size() <= kTraining) return false;
  return node.args[kTraining].is_boolean() && node.args[kTraining].get<bool>();
}

/// Of a parameter, buffer or constant.
int64_t channels_in(const Program& program, const nlohmann::json& value) {
  const auto slots = slots_in(value);
  if (slots.size() != 1) return 0;
  const auto find = [&](const auto& tensors) {
    for (const auto& tensor : tensors)
      if (tensor.slot == slots[0]) return elements(tensor.shape);
    return int64_t{0};
  };
  return std::max({find(program.parameters), find(program.buffers), find(program.constants)});
}

void run(int place, const AddUp& add_up, std::vector<c10::IValue>& stack, bool native) {
  const auto dtype = stack[0].toTensor().scalar_type();
  const auto input = dtype == at::kBFloat16 ? stack[0].toTensor().to(at::kFloat) : stack[0].toTensor();
  check(input);
  const auto weight = tensor_or_none(stack[1]), bias = tensor_or_none(stack[2]);
  const auto running_mean = tensor_or_none(stack[3]), running_variance = tensor_or_none(stack[4]);
  const double momentum = stack[6].toDouble(), eps = stack[7].toDouble();
  const auto x = input.detach().contiguous();
  const Statistics found = statistics(x, place, add_up);
  if (running_mean.defined()) move_on(running_mean, found.mean, 1, momentum);
  if (running_variance.defined()) move_on(running_variance, found.variance, found.count / (found.count - 1), momentum);
  auto out = normalised(x, weight, bias, found, eps);
  if (torch::autograd::compute_requires_grad(input, weight, bias)) {
    auto node = c10::make_intrusive<WholeBatchNormBackward>(place, add_up, found.count, input, weight);
    node->mean = found.mean;
    node->scale = found.scale(eps);
    node->set_next_edges(torch::autograd::collect_next_edges(input, weight, bias));
    torch::autograd::set_history(out, node);
  }
  stack.assign(1, out.to(dtype));
  if (native) stack.insert(stack.end(), {as_tensor(found.mean), as_tensor(found.scale(eps))});
}

}  // namespace

int batch_norm_sums(int64_t channels) { return static_cast<int>(1 + 2 * channels); }

int64_t batch_norm_channels(const Program& program) {
  int64_t most = 0;
  for (const auto& node : program.nodes) {
    if (!is_batch_norm(node)) continue;
    int64_t channels = 0;
    for (size_t i = 1; i < kTraining; ++i) channels = std::max(channels, channels_in(program, node.args[i]));
    if (channels == 0)
      fail_user(node.where, ": batchNorm='batch' does not know how many channels a batch norm without weights and ",
                "running statistics has");
    most = std::max(most, channels);
  }
  return most;
}

Call whole_batch_norm(const Node& node, int place, const AddUp& add_up) {
  if (!is_batch_norm(node)) return {};
  const bool native = node.op == "aten.native_batch_norm.default";
  return [place, add_up, native](std::vector<c10::IValue>& stack) { run(place, add_up, stack, native); };
}

}  // namespace stoker::program
