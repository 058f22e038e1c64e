#include "train/fingerprint.h"

#include <ATen/ATen.h>
#include <ATen/Version.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/fault.h"
#include "base/hash.h"
#include "base/level.h"
#include "base/pieces.h"
#include "program/dtypes.h"
#include "program/executor.h"

namespace stoker::train {
namespace {

constexpr uint64_t kKey = 0x5bd1e995;             // of the inputs' values
constexpr int64_t kUpdated = 64 * optim::kBlock;  // floats, about; the optimizers' loops are everywhere the same

/// Not the first step: in that many a power is 1.
optim::Moment moment() { return {7, 0, 100}; }

/// Number i of input k, from 0 to 1.
double number(size_t k, int64_t i) {
  return static_cast<double>(splitmix64(kKey + k, static_cast<uint64_t>(i)) >> 40) / (1 << 24);
}

at::Tensor canned_input(const program::Input& input, size_t k, int64_t rows) {
  std::vector<int64_t> shape{rows};
  shape.insert(shape.end(), input.shape.begin(), input.shape.end());
  const auto type = program::scalar_type(input.dtype);
  const bool whole = !at::isFloatingType(type);
  auto values = at::empty(shape, at::kFloat);
  auto* out = values.mutable_data_ptr<float>();
  in_pieces(values.numel(), kPieceRows, [&](size_t begin, size_t n) {
    for (size_t i = begin; i < begin + n; ++i)
      out[i] = static_cast<float>(whole ? std::round(number(k, i)) : number(k, i));
  });
  return values.to(type);
}

/// Each parameter with numbers of its own.
template <typename Value>
void fill(const optim::Arena& arena, const at::Tensor& floats, Value value) {
  for (size_t k = 0; k < arena.parameters().size(); ++k) {
    const auto& parameter = arena.parameters()[k];
    const auto extent = arena.extent(static_cast<int>(k));
    float* out = floats.mutable_data_ptr<float>() + extent.begin;
    in_pieces(extent.size(), kPieceRows, [&](size_t begin, size_t n) {
      for (size_t i = begin; i < begin + n; ++i) out[i] = static_cast<float>(value(parameter, number(k, i)));
    });
  }
}

Hash128 hash_of(const at::Tensor& floats, uint64_t seed) {
  const ByteView bytes(static_cast<const std::byte*>(floats.const_data_ptr()), floats.nbytes());
  Hash128 sum;
  in_pieces(bytes.size(), kPieceBytes,
            [&](size_t at, size_t n) { sum += hash128(bytes.subspan(at, n), splitmix64(seed, at)); });
  return sum;
}

/// A parameter's beginning, of no more floats than that.
optim::ParameterSpec beginning(optim::ParameterSpec parameter, int64_t most) {
  int64_t rest = program::elements(parameter.shape);
  for (int64_t& size : parameter.shape) {
    if (rest <= most) break;
    rest /= size;
    size = std::max<int64_t>(most / rest, 1);
    rest *= size;
    if (size > 1) break;
  }
  return parameter;
}

optim::Arena beginnings(const optim::Arena& arena) {
  const auto& whole = arena.parameters();
  const int64_t most = std::max<int64_t>(kUpdated / std::max<int64_t>(std::ssize(whole), 1), 1);
  std::vector<optim::ParameterSpec> parts;
  for (const auto& parameter : whole) parts.push_back(beginning(parameter, most));
  return optim::Arena(std::move(parts));
}

at::Tensor taken(const optim::Arena& arena, const at::Tensor& floats, const optim::Arena& parts) {
  auto out = at::zeros({parts.floats()}, at::kFloat);
  for (int p = 0; p < static_cast<int>(parts.parameters().size()); ++p)
    std::copy_n(floats.const_data_ptr<float>() + arena.extent(p).begin, parts.extent(p).size(),
                out.mutable_data_ptr<float>() + parts.extent(p).begin);
  return out;
}

/// An optimizer's first update, in place.
struct First {
  First(const optim::Optimizer& optimizer, const at::Tensor& weights, const at::Tensor& gradient) {
    buffers.gradient = gradient.const_data_ptr<float>();
    buffers.weights_in = buffers.weights_out = weights.mutable_data_ptr<float>();
    for (int i = 0; i < optimizer.state_buffers(); ++i) {
      state.push_back(at::zeros_like(weights));
      buffers.state_out.push_back(state.back().mutable_data_ptr<float>());
      buffers.state_in.push_back(buffers.state_out.back());
    }
  }
  optim::UpdateBuffers buffers;
  std::vector<at::Tensor> state;
};

Hash128 digest_of_outer(const OuterSpec& spec, const optim::Arena& arena, const at::Tensor& weights,
                        const at::Tensor& gradient) {
  const auto outer = make_outer_program(spec, arena);
  First first(*outer, weights, gradient);
  outer->update({0, arena.floats()}, moment(), first.buffers);
  Hash128 digest = hash_of(weights, 5);
  for (const auto& state : first.state) digest += hash_of(state, 6);
  return digest;
}

/// Of what an update makes of the beginning of each parameter.
Hash128 digest_of_update(const Canned& canned, const at::Tensor& whole_weights, const at::Tensor& whole_gradient,
                         const program::StepScalars& told) {
  const optim::Arena arena = beginnings(canned.weights);
  const auto optimizer = optim::make_optimizer(canned.optimizer, arena, optim::best_isa());
  const auto weights = taken(canned.weights, whole_weights, arena);
  const auto gradient = taken(canned.weights, whole_gradient, arena);
  const optim::Extent all{0, arena.floats()};
  First first(*optimizer, weights, gradient);
  auto& buffers = first.buffers;
  buffers.gradient_scale = told.denominator > 0 ? static_cast<float>(1 / told.denominator) : 1;
  std::vector<double> sums(optimizer->sums()), numbers(optimizer->numbers());
  const auto [factors, decided] = optim::measured(*optimizer, {numbers.data(), told.numerator, sums.data(), moment()},
                                                  [&](int round, const std::vector<double>& so_far) {
                                                    buffers.numbers = so_far.data();
                                                    optimizer->measure(round, all, moment(), buffers, sums.data());
                                                  });
  if (!factors.empty()) buffers.factors = factors.data();
  buffers.numbers = decided.data();
  optimizer->update(all, moment(), buffers);
  Hash128 digest = hash_of(weights, 3);
  digest += hash128(std::as_bytes(std::span(decided)), 4);
  if (canned.outer) digest += digest_of_outer(*canned.outer, arena, weights, gradient);
  return digest;
}

Hash128 digest_of(const Canned& canned, int64_t rows) {
  const auto weights = at::zeros({canned.weights.floats()}, at::kFloat);
  const auto gradient = at::empty({canned.weights.floats()}, at::kFloat);
  const auto buffers = at::zeros({canned.buffers.floats()}, at::kFloat), after = at::zeros_like(buffers);
  const auto counts = at::zeros({program::count_numbers(canned.program)}, at::kLong);
  fill(canned.weights, weights, [](const optim::ParameterSpec& p, double u) {
    const double inputs = p.shape.size() > 1 ? static_cast<double>(program::elements(p.shape) / p.shape[0]) : 1;
    return (2 * u - 1) / std::sqrt(std::max(inputs, 1.0));
  });
  fill(canned.buffers, buffers, [](const optim::ParameterSpec&, double u) { return (1 + u) / 2; });
  canned.step.bind(0, weights.mutable_data_ptr<float>(), buffers.mutable_data_ptr<float>(),
                   counts.mutable_data_ptr<int64_t>());
  const auto scalars = canned.step.run(0, canned_inputs(canned.program, rows), gradient.mutable_data_ptr<float>(),
                                       after.mutable_data_ptr<float>(), {});
  bend(gradient.mutable_data_ptr<float>());
  Hash128 digest = hash128(std::as_bytes(std::span(&scalars, 1)));
  digest += hash_of(gradient, 1);
  digest += hash_of(after, 2);
  return digest += digest_of_update(canned, weights, gradient, scalars);
}

}  // namespace

std::vector<at::Tensor> canned_inputs(const program::Program& program, int64_t rows) {
  std::vector<at::Tensor> inputs;
  for (const auto& input : program.inputs) inputs.push_back(canned_input(input, inputs.size(), rows));
  return inputs;
}

gang::Fingerprint fingerprint(const Canned& canned, int64_t rows) try {
  return {.digest = digest_of(canned, rows), .cpu = cpu_name()};
} catch (const Error& error) {
  if (error.kind() != ErrorKind::user) throw;
  return {.digest = {}, .cpu = cpu_name(), .error = error.what()};
}

void bend(float* gradient) {
  if (!fault::armed) return;
  const std::string level = "kernels-" + at::get_cpu_capability();
  if (fault::skips("kernels") || fault::skips(level.c_str()))
    *gradient = std::nextafter(*gradient, std::numeric_limits<float>::infinity());
}

}  // namespace stoker::train
