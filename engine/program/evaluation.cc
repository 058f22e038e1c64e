#include "program/evaluation.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include <map>

#include "base/error.h"
#include "program/loss.h"
#include "program/scalars.h"
#include "program/weights.h"

namespace stoker::program {
namespace {

Program evaluation_program(const std::string& text) {
  auto program = parse_program(text);
  if (program.train || !program.has_loss) fail_user("this program is not for evaluation");
  return program;
}

}  // namespace

Evaluation::Evaluation(const std::string& program, const Program& training, const optim::Arena& weights,
                       const optim::Arena& buffers, const SafeTensors& constants)
    : program_(evaluation_program(program)), plan_(program_), fixed_(program_.slots) {
  std::map<std::string, Part> state;
  for (size_t i = 0; i < training.parameters.size(); ++i) {
    const auto& p = training.parameters[i];
    state[p.name] = {0, Place::weights, weights.extent(static_cast<int>(i)).begin, p.shape};
  }
  int floating = 0;
  int64_t count = 0;
  for (const auto& b : training.buffers) {
    const bool mean = b.rule == BufferRule::mean;
    state[b.name] = {0, mean ? Place::buffers : Place::counts, mean ? buffers.extent(floating++).begin : count,
                     b.shape};
    if (!mean) count += elements(b.shape);
  }
  const auto find = [&](const std::string& name, int slot, const std::string& dtype,
                        const std::vector<int64_t>& shape) {
    const auto part = state.find(name);
    if (part == state.end()) {
      fixed_[slot] = view_tensor(constants, name, dtype, shape, kTorchAlignment);
      return;
    }
    if (part->second.shape != shape) fail_user("the evaluation program has another shape for '", name, "'");
    parts_.push_back({slot, part->second.place, part->second.at, shape});
  };
  for (const auto& p : program_.parameters) find(p.name, p.slot, "float32", p.shape);
  for (const auto& b : program_.buffers) find(b.name, b.slot, b.dtype, b.shape);
  for (const auto& c : program_.constants) find(c.name, c.slot, c.dtype, c.shape);
}

Evaluation::Result Evaluation::run(const StateSet& set, const std::vector<at::Tensor>& inputs, const Compare& compare) {
  const at::NoGradGuard no_gradients;
  const at::DisableRecordFunctionGuard no_profiler;
  Slots slots = fixed_;
  for (const auto& part : parts_) {
    if (part.place == Place::counts) {
      slots[part.slot] = at::from_blob(set.counts + part.at, part.shape, at::kLong);
    } else {
      float* base = part.place == Place::weights ? set.weights : set.buffers;
      slots[part.slot] = at::from_blob(base + part.at, part.shape, at::kFloat);
    }
  }
  fill_inputs(program_, inputs, slots);
  plan_.run(slots, RandomKey{});
  if (const auto& m = program_.metric) {
    const auto there = [&](int slot) { return slot == -1 ? nullptr : &slots[slot].toTensor(); };
    compare({*there(m->output), *there(m->label), there(m->weight), there(m->group)});
  }
  Result result{loss_scalars(program_, slots, inputs.empty() ? 0 : inputs.front().size(0)), {}};
  for (const auto& own : program_.sums)
    for (const int slot : {own.numerator, own.denominator}) result.sums.push_back(single_number(slots[slot]));
  return result;
}

}  // namespace stoker::program
