#include "data/store/gather.h"

#include <ATen/ops/empty.h>

#include "base/error.h"

namespace stoker::data {

at::ScalarType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return at::kFloat;
    case DType::f64:
      return at::kDouble;
    case DType::i32:
      return at::kInt;
    case DType::i64:
      return at::kLong;
    case DType::u8:
      return at::kByte;
    case DType::u16:
      break;
  }
  fail_bug("no program takes ", name(dtype));
}

at::Tensor gather_batch(const ColumnStore& store, int column, const RowsAt& rows, const Draws* draws) {
  const ColumnSpec& spec = store.columns()[column];
  std::vector<int64_t> sizes{rows.count};
  sizes.insert(sizes.end(), spec.shape.begin(), spec.shape.end());
  at::Tensor batch = at::empty(sizes, scalar_type(spec.dtype));
  store.gather(column, rows, batch.mutable_data_ptr(), draws);
  return batch;
}

}  // namespace stoker::data
