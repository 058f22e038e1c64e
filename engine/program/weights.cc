#include "program/weights.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "base/pieces.h"
#include "program/dtypes.h"

namespace stoker::program {
namespace {

constexpr char kMark = 0;  // its address is the context of every view's storage

}  // namespace

at::Tensor view_tensor(const SafeTensors& file, const std::string& name, const std::string& dtype,
                       const std::vector<int64_t>& shape, size_t alignment) {
  const auto* found = file.find(name);
  if (!found) fail_user("the weights have no tensor ", name);
  if (found->dtype != dtype) fail_user("tensor ", name, " is ", found->dtype, ", and the program wants ", dtype);
  if (found->shape != shape) {
    fail_user("tensor ", name, " has the shape ", at::IntArrayRef(found->shape), ", and the program wants ",
              at::IntArrayRef(shape));
  }
  auto* data = const_cast<std::byte*>(found->data.data());
  const size_t unit = alignment > 0 ? alignment : item_size(dtype);
  if (!found->data.empty() && reinterpret_cast<uintptr_t>(data) % unit == 0) {
    return at::for_blob(data, shape)
        .context(const_cast<char*>(&kMark), [](void*) {})
        .options(scalar_type(dtype))
        .make_tensor();
  }
  auto copy = at::empty(shape, scalar_type(dtype));
  if (!found->data.empty()) copy_bytes(found->data, static_cast<std::byte*>(copy.mutable_data_ptr()));
  return copy;
}

bool is_view_of_file(const at::Tensor& tensor) {
  return tensor.defined() && tensor.has_storage() && tensor.storage().data_ptr().get_context() == &kMark;
}

}  // namespace stoker::program
