#include "program/executor.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/engine.h>

#include <cstring>

#include "base/error.h"
#include "program/dtypes.h"
#include "program/landing.h"
#include "program/linear.h"
#include "program/memory.h"
#include "program/plan.h"
#include "program/scalars.h"
#include "program/weights.h"

namespace stoker::program {
namespace {

using c10::IValue;

class Executor final : public Step {
 public:
  Executor(const Program& program, const optim::Arena& arena, const SafeTensors& constants);

  void bind(int set, float* weights, float* buffers, int64_t* counts) override;
  StepScalars run(int set, const std::vector<at::Tensor>& inputs, float* gradient, float* buffers_out,
                  const RandomKey& key) override;
  uint64_t operators_run() const override { return operators_run_.load(std::memory_order_relaxed); }

 private:
  struct Set {
    std::vector<IValue> leaves = {};
    const float* buffers = nullptr;
    const int64_t* counts = nullptr;
  };

  void fill_inputs(const std::vector<at::Tensor>& inputs);
  void fill_buffers(const Set& set, float* buffers_out);
  StepScalars scalars(int64_t rows) const;
  void backward();

  const Program program_;
  const optim::Arena& arena_;
  const optim::Arena buffers_;
  Landing landing_;
  const Plan plan_;
  std::vector<IValue> constants_;
  Set sets_[2];
  std::vector<int64_t> counts_;  // this run's own
  const at::Tensor one_ = at::ones({});
  Slots slots_;
  std::atomic<uint64_t> operators_run_{0};
};

Executor::Executor(const Program& program, const optim::Arena& arena, const SafeTensors& constants)
    : program_(program),
      arena_(arena),
      buffers_(buffer_arena(program)),
      landing_(arena),
      plan_(program, [this](const Node& node) { return linear_call(program_, node, landing_); }),
      counts_(count_numbers(program)),
      slots_(program.slots) {
  if (!program.train) fail_user("this program is not for training");
  STOKER_CHECK(arena.parameters().size() == program.parameters.size());
  for (const auto& c : program.constants) {
    constants_.emplace_back(view_tensor(constants, c.name, c.dtype, c.shape).clone());
  }
}

void Executor::bind(int set, float* weights, float* buffers, int64_t* counts) {
  sets_[set] = {.buffers = buffers, .counts = counts};
  for (size_t i = 0; i < program_.parameters.size(); ++i) sets_[set].leaves.emplace_back(landing_.leaf(i, weights));
}

StepScalars Executor::run(int set, const std::vector<at::Tensor>& inputs, float* gradient, float* buffers_out,
                          const RandomKey& key) {
  const at::AutoGradMode with_gradients(true);
  const at::DisableRecordFunctionGuard no_profiler;
  fill_inputs(inputs);
  for (size_t i = 0; i < program_.parameters.size(); ++i) slots_[program_.parameters[i].slot] = sets_[set].leaves[i];
  for (size_t i = 0; i < constants_.size(); ++i) slots_[program_.constants[i].slot] = constants_[i];
  fill_buffers(sets_[set], buffers_out);
  plan_.run(slots_, key, operators_run_);
  const auto result = scalars(inputs.empty() ? 0 : inputs.front().size(0));
  landing_.begin(gradient);
  backward();
  landing_.finish();
  std::fill(slots_.begin(), slots_.end(), IValue());
  return result;
}

void Executor::fill_inputs(const std::vector<at::Tensor>& inputs) {
  if (inputs.size() != program_.inputs.size()) {
    fail_user("the program has ", program_.inputs.size(), " inputs, and ", inputs.size(), " are given");
  }
  for (size_t i = 0; i < inputs.size(); ++i) slots_[program_.inputs[i].slot] = inputs[i];
}

void Executor::fill_buffers(const Set& set, float* buffers_out) {
  if (buffers_.floats()) std::memcpy(buffers_out, set.buffers, buffers_.floats() * sizeof(float));
  if (!counts_.empty()) std::memcpy(counts_.data(), set.counts, counts_.size() * sizeof(int64_t));
  int floating = 0;
  auto* count = counts_.data();
  for (const auto& b : program_.buffers) {
    if (b.rule == BufferRule::mean) {
      slots_[b.slot] = at::from_blob(buffers_out + buffers_.extent(floating++).begin, b.shape, at::kFloat);
    } else {
      slots_[b.slot] = at::from_blob(count, b.shape, at::kLong);
      count += elements(b.shape);
    }
  }
}

StepScalars Executor::scalars(int64_t rows) const try {
  const auto& loss = program_.loss;
  StepScalars out;
  out.numerator = single_number(slots_[loss.numerator]);
  out.denominator =
      loss.denominator == -1 ? static_cast<double>(rows) * loss.per_row : single_number(slots_[loss.denominator]);
  if (const auto& m = program_.metric) {
    const auto* weight = m->weight == -1 ? nullptr : &slots_[m->weight].toTensor();
    const auto sums = measure(m->kind, slots_[m->output].toTensor(), slots_[m->label].toTensor(), weight);
    out.correct = sums.correct;
    out.counted = sums.counted;
  }
  return out;
} catch (...) {
  rethrow_as_error("loss and metric");
}

void Executor::backward() try {
  const auto& loss = slots_[program_.loss.numerator].toTensor();
  if (!loss.requires_grad()) return;
  torch::autograd::Engine::get_default_engine().execute({torch::autograd::impl::gradient_edge(loss)},
                                                        {loss.dim() ? at::ones_like(loss) : one_}, /*keep_graph=*/false,
                                                        /*create_graph=*/false, /*accumulate_grad=*/true);
} catch (...) {
  rethrow_as_error("the backward pass");
}

}  // namespace

optim::Arena weight_arena(const Program& program, const std::vector<int>& groups) {
  if (!groups.empty() && groups.size() != program.parameters.size()) {
    fail_user("the program has ", program.parameters.size(), " parameters, and ", groups.size(), " groups are given");
  }
  std::vector<optim::ParameterSpec> specs;
  for (const auto& p : program.parameters) {
    specs.push_back({p.name, p.shape, groups.empty() ? 0 : groups[specs.size()]});
  }
  return optim::Arena(std::move(specs));
}

optim::Arena buffer_arena(const Program& program) {
  std::vector<optim::ParameterSpec> specs;
  for (const auto& b : program.buffers) {
    if (b.rule == BufferRule::mean) specs.push_back({b.name, b.shape, 0});
  }
  return optim::Arena(std::move(specs));
}

int64_t count_numbers(const Program& program) {
  int64_t n = 0;
  for (const auto& b : program.buffers) n += b.rule == BufferRule::count ? elements(b.shape) : 0;
  return n;
}

std::unique_ptr<Step> make_executor(const Program& program, const optim::Arena& arena, const SafeTensors& constants) {
  keep_freed_memory();
  return std::make_unique<Executor>(program, arena, constants);
}

}  // namespace stoker::program
