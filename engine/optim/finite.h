#pragma once
// Whether numbers are finite. A pure function.
#include <cstdint>

namespace stoker::optim {

bool all_finite(const float* values, int64_t count);

}  // namespace stoker::optim
