#pragma once
// Runs an inference program. Immutable once made; any number of threads may call run() at once.
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "program/format.h"
#include "program/plan.h"
#include "program/safetensors.h"

namespace stoker::program {

class Inference {
 public:
  /// Weights are used where they lie in `weights` (see view_tensor), which must outlive this object.
  /// Throws Error(user) where program and weights do not fit.
  Inference(const std::string& program, ByteView weights);

  /// Outputs in the program's order for a batch of rows: inputs in the program's order, batch first.
  /// No gradients are kept. Throws Error(user) where an input does not fit.
  std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs) const;

  const Program& program() const { return program_; }

 private:
  void check_input(const Input& input, const at::Tensor& tensor) const;

  const Program program_;
  const Plan plan_;
  Slots weights_;  // a slot vector with parameters, buffers and constants in their places
};

}  // namespace stoker::program
