#include "program/weights.h"

#include <ATen/ATen.h>

#include <cstring>

#include "base/error.h"
#include "program/dtypes.h"

namespace stoker::program {

at::Tensor view_tensor(const SafeTensors& file, const std::string& name, const std::string& dtype,
                       const std::vector<int64_t>& shape) {
  const auto* found = file.find(name);
  if (!found) fail_user("the weights have no tensor ", name);
  if (found->dtype != dtype) fail_user("tensor ", name, " is ", found->dtype, ", and the program wants ", dtype);
  if (found->shape != shape) {
    fail_user("tensor ", name, " has the shape ", at::IntArrayRef(found->shape), ", and the program wants ",
              at::IntArrayRef(shape));
  }
  auto* data = const_cast<std::byte*>(found->data.data());
  if (!found->data.empty() && reinterpret_cast<uintptr_t>(data) % item_size(dtype) == 0) {
    return at::from_blob(data, shape, scalar_type(dtype));
  }
  auto copy = at::empty(shape, scalar_type(dtype));
  if (!found->data.empty()) std::memcpy(copy.mutable_data_ptr(), data, found->data.size());
  return copy;
}

}  // namespace stoker::program
