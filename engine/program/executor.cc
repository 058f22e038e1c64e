#include "program/executor.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include <cstring>

#include "base/error.h"
#include "base/freed_memory.h"
#include "base/pulse.h"
#include "program/chain.h"
#include "program/convolution.h"
#include "program/dtypes.h"
#include "program/landing.h"
#include "program/linear.h"
#include "program/loss.h"
#include "program/plan.h"
#include "program/weights.h"

namespace stoker::program {
namespace {

using c10::IValue;

class Executor final : public Step {
 public:
  Executor(const Program& program, const optim::Arena& arena, const SafeTensors& constants, const AddUp& add_up);

  void bind(int set, float* weights, float* buffers, int64_t* counts) override;
  StepScalars run(int set, const std::vector<at::Tensor>& inputs, float* gradient, float* buffers_out,
                  const RandomKey& key) override;

 private:
  struct Set {
    std::vector<IValue> leaves = {};
    const float* buffers = nullptr;
    const int64_t* counts = nullptr;
  };

  void fill_buffers(const Set& set, float* buffers_out);

  const Program program_;
  const optim::Arena& arena_;
  const optim::Arena buffers_;
  Landing landing_;
  const Plan plan_;
  std::vector<IValue> constants_;
  std::vector<Set> sets_;
  std::vector<int64_t> counts_;  // this run's own
  Slots slots_;
};

Executor::Executor(const Program& program, const optim::Arena& arena, const SafeTensors& constants, const AddUp& add_up)
    : program_(program),
      arena_(arena),
      buffers_(buffer_arena(program)),
      landing_(arena),
      plan_(program,
            [&, norms = 0](const Node& node, const c10::OperatorHandle& op) mutable {
              if (auto norm = add_up ? whole_batch_norm(node, norms + 1, add_up) : Call()) return ++norms, norm;
              if (auto conv = conv_call(node, op)) return conv;
              return linear_call(program_, node, landing_);
            }),
      counts_(count_numbers(program)),
      slots_(program.slots) {
  if (!program.train) fail_user("this program is not for training");
  STOKER_CHECK(arena.parameters().size() == program.parameters.size());
  for (const auto& c : program.constants) {
    constants_.emplace_back(view_tensor(constants, c.name, c.dtype, c.shape, kTorchAlignment));
    pulse::beat();
  }
}

void Executor::bind(int set, float* weights, float* buffers, int64_t* counts) {
  if (static_cast<size_t>(set) >= sets_.size()) sets_.resize(set + 1);
  sets_[set] = {.buffers = buffers, .counts = counts};
  for (size_t i = 0; i < program_.parameters.size(); ++i) sets_[set].leaves.emplace_back(landing_.leaf(i, weights));
}

StepScalars Executor::run(int set, const std::vector<at::Tensor>& inputs, float* gradient, float* buffers_out,
                          const RandomKey& key) {
  const at::AutoGradMode with_gradients(true);
  const at::DisableRecordFunctionGuard no_profiler;
  fill_inputs(program_, inputs, slots_);
  for (size_t i = 0; i < program_.parameters.size(); ++i) slots_[program_.parameters[i].slot] = sets_[set].leaves[i];
  for (size_t i = 0; i < constants_.size(); ++i) slots_[program_.constants[i].slot] = constants_[i];
  fill_buffers(sets_[set], buffers_out);
  plan_.run(slots_, key);
  const auto result = loss_scalars(program_, slots_, inputs.empty() ? 0 : inputs.front().size(0));
  landing_.begin(gradient);
  backward(program_, slots_);
  landing_.finish();
  std::fill(slots_.begin(), slots_.end(), IValue());
  return result;
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

}  // namespace

optim::Arena weight_arena(const Program& program, const std::vector<int>& groups) {
  if (!groups.empty() && groups.size() != program.parameters.size()) {
    fail_user("the program has ", program.parameters.size(), " parameters, and ", groups.size(), " groups are given");
  }
  std::vector<optim::ParameterSpec> specs;
  for (const auto& p : program.parameters) {
    specs.push_back({p.name, p.shape, groups.empty() ? 0 : groups[specs.size()], p.layout});
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
  return std::make_unique<Executor>(program, arena, constants, AddUp());
}

std::unique_ptr<Step> make_whole_batch_executor(const Program& program, const optim::Arena& arena,
                                                const SafeTensors& constants, const AddUp& add_up) {
  keep_freed_memory();
  return std::make_unique<Executor>(program, arena, constants, add_up);
}

std::unique_ptr<Step> make_step(const Program& program, const optim::Arena& arena, const SafeTensors& constants) {
  keep_freed_memory();
  auto chain = make_chain(program, arena, constants);
  return chain ? std::move(chain) : make_executor(program, arena, constants);
}

}  // namespace stoker::program
