#pragma once
// What the module _torch_<minor> is made of: one function for each header that Python uses, each in a file of its own;
// and NumPy arrays as tensors and back, without a copy.
#include <ATen/core/Tensor.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <vector>

namespace stoker {

using Array = nanobind::ndarray<nanobind::ro, nanobind::c_contig, nanobind::device::cpu>;

/// Views; the arrays must outlive them. Nothing may write to them.
at::Tensor to_tensor(const Array& array);
std::vector<at::Tensor> to_tensors(const std::vector<Array>& arrays);
/// An array that owns the tensor (made contiguous).
nanobind::object to_array(const at::Tensor& tensor);

void bind_program(nanobind::module_& m);
void bind_train(nanobind::module_& m);

}  // namespace stoker
