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
constexpr int64_t kUpdated = 64 * optim::kBlock;  // floats of the arena; the optimizers' loops are everywhere the same

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

/// In place, of the arena's beginning, which is returned.
at::Tensor update(const Canned& canned, const at::Tensor& weights, const at::Tensor& gradient,
                  const program::StepScalars& told) {
  const optim::Extent part{0, std::min(kUpdated, canned.weights.floats())};
  optim::UpdateBuffers buffers;
  buffers.gradient = gradient.const_data_ptr<float>();
  buffers.gradient_scale = told.denominator > 0 ? static_cast<float>(1 / told.denominator) : 1;
  buffers.weights_in = buffers.weights_out = weights.mutable_data_ptr<float>();
  std::vector<at::Tensor> state;
  for (int i = 0; i < canned.optimizer.state_buffers(); ++i) {
    state.push_back(at::zeros({part.end}, at::kFloat));
    buffers.state_out.push_back(state.back().mutable_data_ptr<float>());
    buffers.state_in.push_back(buffers.state_out.back());
  }
  std::vector<double> sums(canned.optimizer.sums()), numbers(canned.optimizer.numbers());
  const auto [factors, decided] = optim::measured(canned.optimizer, {numbers.data(), told.numerator, sums.data()},
                                                  [&](int round, const std::vector<double>& so_far) {
                                                    buffers.numbers = so_far.data();
                                                    canned.optimizer.measure(round, part, 1, buffers, sums.data());
                                                  });
  if (!factors.empty()) buffers.factors = factors.data();
  buffers.numbers = decided.data();
  canned.optimizer.update(part, 1, buffers);
  return weights.narrow(0, 0, part.end);
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
  const auto updated = update(canned, weights, gradient, scalars);
  Hash128 digest = hash128(std::as_bytes(std::span(&scalars, 1)));
  return ((digest += hash_of(gradient, 1)) += hash_of(after, 2)) += hash_of(updated, 3);
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
