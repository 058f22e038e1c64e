#include "optim/finite.h"

#include <algorithm>
#include <bit>

#include "base/clones.h"

namespace stoker::optim {

/// Infinities and NaNs are those whose bits, without the sign, are the largest.
STOKER_CLONES bool all_finite(const float* values, int64_t count) {
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::bit_cast<int32_t>(values[i]) & 0x7fffffff);
  return largest < 0x7f800000;
}

}  // namespace stoker::optim
