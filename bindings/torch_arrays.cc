#include <ATen/ATen.h>

#include "base/error.h"
#include "bindings/torch_bindings.h"
#include "program/dtypes.h"

namespace nb = nanobind;

namespace stoker {
namespace {

struct DTypePair {
  nb::dlpack::dtype array;
  at::ScalarType tensor;
};
const DTypePair kDTypes[] = {{nb::dtype<float>(), at::kFloat},   {nb::dtype<double>(), at::kDouble},
                             {nb::dtype<int64_t>(), at::kLong},  {nb::dtype<int32_t>(), at::kInt},
                             {nb::dtype<int16_t>(), at::kShort}, {nb::dtype<int8_t>(), at::kChar},
                             {nb::dtype<uint8_t>(), at::kByte},  {nb::dtype<bool>(), at::kBool}};

at::ScalarType tensor_type(nb::dlpack::dtype dtype) {
  for (const auto& pair : kDTypes) {
    if (pair.array == dtype) return pair.tensor;
  }
  fail_user("arrays with elements of this type cannot be given to a program");
}

nb::dlpack::dtype array_type(at::ScalarType type) {
  for (const auto& pair : kDTypes) {
    if (pair.tensor == type) return pair.array;
  }
  fail_user("a tensor of ", program::dtype_name(type), " cannot be given to NumPy");
}

}  // namespace

at::Tensor to_tensor(const Array& array) {
  const std::vector<int64_t> shape(array.shape_ptr(), array.shape_ptr() + array.ndim());
  const auto type = tensor_type(array.dtype());
  if (array.size() == 0) return at::empty(shape, type);
  return at::from_blob(const_cast<void*>(array.data()), shape, type);
}

std::vector<at::Tensor> to_tensors(const std::vector<Array>& arrays) {
  std::vector<at::Tensor> tensors;
  for (const auto& array : arrays) tensors.push_back(to_tensor(array));
  return tensors;
}

nb::object to_array(const at::Tensor& tensor) {
  const auto type = array_type(tensor.scalar_type());
  auto* owned = new at::Tensor(tensor.contiguous());
  const nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<at::Tensor*>(p); });
  const std::vector<size_t> shape(owned->sizes().begin(), owned->sizes().end());
  return nb::cast(nb::ndarray<nb::numpy>(owned->mutable_data_ptr(), shape.size(), shape.data(), owner, nullptr, type));
}

}  // namespace stoker
