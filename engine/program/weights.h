#pragma once
// Tensors out of a safetensors file.
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "program/safetensors.h"

namespace stoker::program {

/// Where torch's own memory begins, so kernels take a tensor there as they take a copy of it.
inline constexpr size_t kTorchAlignment = 64;

/// A view over the file's bytes where they lie at a multiple of `alignment` (0: what the dtype needs), else a copy.
/// Throws Error(user) when the tensor is missing or is of another dtype or shape.
at::Tensor view_tensor(const SafeTensors& file, const std::string& name, const std::string& dtype,
                       const std::vector<int64_t>& shape, size_t alignment = 0);

/// Whether it is memory of such a view, which nobody may write into.
bool is_view_of_file(const at::Tensor& tensor);

}  // namespace stoker::program
