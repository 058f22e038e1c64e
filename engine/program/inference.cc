#include "program/inference.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "base/error.h"
#include "program/dtypes.h"
#include "program/memory.h"
#include "program/weights.h"

namespace stoker::program {

Inference::Inference(const std::string& program, ByteView weights)
    : program_(parse_program(program)), plan_(program_), weights_(program_.slots) {
  if (program_.train) fail_user("this program is for training, not for inference");
  keep_freed_memory();
  const c10::InferenceMode mode;
  const SafeTensors file(weights, "the weights");
  for (const auto& p : program_.parameters) weights_[p.slot] = view_tensor(file, p.name, "float32", p.shape);
  for (const auto& b : program_.buffers) weights_[b.slot] = view_tensor(file, b.name, b.dtype, b.shape);
  for (const auto& c : program_.constants) weights_[c.slot] = view_tensor(file, c.name, c.dtype, c.shape);
}

std::vector<at::Tensor> Inference::run(const std::vector<at::Tensor>& inputs) const {
  if (inputs.size() != program_.inputs.size()) {
    fail_user("the program has ", program_.inputs.size(), " inputs, and ", inputs.size(), " are given");
  }
  const c10::InferenceMode mode;
  auto slots = weights_;
  for (size_t i = 0; i < inputs.size(); ++i) {
    check_input(program_.inputs[i], inputs[i]);
    slots[program_.inputs[i].slot] = inputs[i];
  }
  std::atomic<uint64_t> operators_run{0};
  plan_.run(slots, RandomKey{}, operators_run);
  std::vector<at::Tensor> outputs;
  for (const auto& output : program_.outputs) outputs.push_back(slots[output.slot].toTensor());
  return outputs;
}

void Inference::check_input(const Input& input, const at::Tensor& tensor) const {
  if (tensor.scalar_type() != scalar_type(input.dtype)) {
    fail_user("input ", input.name, " is ", dtype_name(tensor.scalar_type()), ", and the program wants ", input.dtype);
  }
  if (tensor.dim() == 0 || tensor.sizes().slice(1) != at::IntArrayRef(input.shape)) {
    fail_user("input ", input.name, " has the shape ", tensor.sizes(), ", and the program wants rows of ",
              at::IntArrayRef(input.shape));
  }
}

}  // namespace stoker::program
