#pragma once
// From the compact form in which a field is stored to the dtype of its tensor. Pure functions.
#include <cstdint>

#include "data/spec/columns.h"

namespace stoker::data {

/// Whether the tensor holds the field just as it is stored.
inline bool is_same(const FieldSpec& field, DType tensor) {
  return field.stored == tensor && field.unit == 1 && field.kind != FieldSpec::Kind::image;
}

/// For i < count: the field of row `rows[i]` (i where `rows` is null), which lies at `from + row * from_stride`, goes
/// to `to + i * to_stride`. Pictures are cropped and flipped as `draws` say; without them the middle is taken.
void widen(const FieldSpec& field, const std::byte* from, size_t from_stride, const uint32_t* rows, int64_t count,
           DType tensor, std::byte* to, size_t to_stride, const Draws* draws = nullptr);

}  // namespace stoker::data
