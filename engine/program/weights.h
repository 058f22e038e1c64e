#pragma once
// Tensors out of a safetensors file.
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "program/safetensors.h"

namespace stoker::program {

/// A view over the file's bytes where they are aligned for the dtype, else a copy. Throws Error(user) when the tensor
/// is missing or is of another dtype or shape.
at::Tensor view_tensor(const SafeTensors& file, const std::string& name, const std::string& dtype,
                       const std::vector<int64_t>& shape);

}  // namespace stoker::program
