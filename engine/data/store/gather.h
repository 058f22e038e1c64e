#pragma once
// From stored rows to a tensor: the only place of this folder that sees libtorch.
#include <ATen/core/Tensor.h>

#include "data/store/column_store.h"

namespace stoker::data {

at::ScalarType scalar_type(DType dtype);

/// The rows' values of one column as [count, *shape], in the column's dtype. For `draws` see ColumnStore::gather.
at::Tensor gather_batch(const ColumnStore& store, int column, const RowsAt& rows, const Draws* draws = nullptr);

}  // namespace stoker::data
