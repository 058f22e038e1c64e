#pragma once
// The largest numbers of a vector, and where they are. Pure.
#include <cstdint>
#include <span>
#include <vector>

#include "optim/arena.h"

namespace stoker::sync {

struct Entry {
  uint32_t at = 0;
  float value = 0;
};

/// Takes as many as there is room for out of a vector, those of the largest magnitude, of equal ones the first; where
/// they were are zeros. In ascending order of places. What is not finite counts as largest. REQUIRES: the vector is no
/// shorter, and of less than 2^32 floats.
void take_largest(float* vector, int64_t floats, std::span<Entry> out, std::vector<float>& room);

/// Adds those entries that lie in a part, to a pointer to the vector's base.
void add_entries(std::span<const Entry> entries, optim::Extent part, float* vector);

}  // namespace stoker::sync
