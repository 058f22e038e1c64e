#pragma once
// From stored pictures to tensors: the crop, the flip and the numbers. Pure functions.
#include <cstdint>

#include "data/spec/columns.h"

namespace stoker::data {

/// What of a stored picture becomes the tensor.
struct Cut {
  int top = 0;
  int left = 0;
  bool flipped = false;
};

/// The middle without draws, else what a row draws: the same for all pictures of the row that are declared alike.
Cut cut_of(const ImageSpec& spec, const Draws* draws, int64_t row);

/// widen() of an image: see data/read/widen.h.
void widen_images(const FieldSpec& field, const std::byte* from, size_t from_stride, const uint32_t* rows,
                  int64_t count, DType tensor, std::byte* to, size_t to_stride, const Draws* draws);

}  // namespace stoker::data
