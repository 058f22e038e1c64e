#pragma once
// From stored rows to a tensor: the only place of this folder that sees libtorch.
#include <ATen/core/Tensor.h>

#include <cstdint>

#include "data/column_store.h"

namespace stoker::data {

at::ScalarType scalar_type(DType dtype);

/// The rows' values of one column as [count, *shape], in the column's dtype. `reuse` may be the result of an earlier
/// call for the same column, which is then overwritten; nobody else may hold it. For `draws` see ColumnStore::gather.
at::Tensor gather_batch(const ColumnStore& store, int column, const uint32_t* rows, int64_t count,
                        at::Tensor reuse = {}, const Draws* draws = nullptr);

}  // namespace stoker::data
