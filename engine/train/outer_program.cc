#include "train/outer_program.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "base/base64.h"
#include "base/error.h"
#include "program/plan.h"
#include "program/safetensors.h"
#include "program/weights.h"

namespace stoker::train {

namespace {

using optim::Extent;
using optim::kBlock;

at::Tensor block_of(const float* from) { return at::from_blob(const_cast<float*>(from), {kBlock}, at::kFloat).clone(); }

void write_block(const c10::IValue& value, float* to) {
  const auto& tensor = value.toTensor();
  if (tensor.scalar_type() != at::kFloat || tensor.dim() != 1 || tensor.size(0) != kBlock)
    fail_user("the strategy's outer gave ", tensor.scalar_type(), " of shape ", tensor.sizes(), " for ", kBlock,
              " floats");
  at::from_blob(to, {kBlock}, at::kFloat).copy_(tensor);
}

class OuterProgram final : public optim::Optimizer {
 public:
  OuterProgram(const OuterSpec& spec, const optim::Arena& arena)
      : names_(spec.state),
        constants_(decode_base64(spec.constants)),
        program_(program::parse_program(spec.program)),
        plan_(program_),
        padding_(arena.padding()),
        fixed_(program_.slots) {
    check();
    const program::SafeTensors file(as_bytes(constants_), "the constants of the strategy's outer");
    for (const auto& c : program_.constants)
      fixed_[c.slot] = program::view_tensor(file, c.name, c.dtype, c.shape, program::kTorchAlignment);
  }

  int state_buffers() const override { return static_cast<int>(names_.size()); }
  std::vector<std::string> state_names() const override { return names_; }

  void update(Extent range, const optim::Moment&, const optim::UpdateBuffers& buffers) const override {
    STOKER_CHECK(range.begin % kBlock == 0 && range.size() % kBlock == 0);
    const c10::InferenceMode no_gradients;
    const at::DisableRecordFunctionGuard no_profiler;
    for (int64_t at = range.begin; at < range.end; at += kBlock) update_block(at, buffers);
    for (const Extent& each : padding_) clear(optim::overlap(each, range), buffers);
  }

 private:
  void check() const {
    const bool fits = !program_.train && program_.parameters.empty() && program_.buffers.empty() &&
                      program_.inputs.size() == names_.size() + 2 && program_.outputs.size() == names_.size() + 1;
    if (!fits) fail_user("the strategy's outer is no program of center, delta and ", names_.size(), " states");
    if (plan_.is_random()) fail_user("the strategy's outer draws random numbers");
  }

  void update_block(int64_t at, const optim::UpdateBuffers& buffers) const {
    auto slots = fixed_;
    const auto give = [&](size_t input, at::Tensor values) { slots[program_.inputs[input].slot] = std::move(values); };
    give(0, block_of(buffers.weights_in + at));
    give(1, block_of(buffers.gradient + at).mul_(-buffers.gradient_scale));
    for (size_t k = 0; k < names_.size(); ++k) give(2 + k, block_of(buffers.state_in[k] + at));
    plan_.run(slots, {});
    write_block(slots[program_.outputs[0].slot], buffers.weights_out + at);
    for (size_t k = 0; k < names_.size(); ++k)
      write_block(slots[program_.outputs[1 + k].slot], buffers.state_out[k] + at);
  }

  /// Padding stays zero, whatever the function makes of zeros.
  static void clear(Extent part, const optim::UpdateBuffers& buffers) {
    if (part.size() <= 0) return;
    std::fill(buffers.weights_out + part.begin, buffers.weights_out + part.end, 0.0F);
    for (float* state : buffers.state_out) std::fill(state + part.begin, state + part.end, 0.0F);
  }

  const std::vector<std::string> names_;
  const std::string constants_;  // that tensors may be views of
  const program::Program program_;
  const program::Plan plan_;
  const std::vector<Extent> padding_;
  program::Slots fixed_;  // with the constants in their places
};

}  // namespace

OuterSpec parse_outer_program(const nlohmann::json& in) {
  return {in.at("state"), in.at("program").dump(), in.at("constants")};
}

std::unique_ptr<optim::Optimizer> make_outer_program(const OuterSpec& spec, const optim::Arena& arena) {
  return std::make_unique<OuterProgram>(spec, arena);
}

}  // namespace stoker::train
