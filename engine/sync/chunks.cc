#include "sync/chunks.h"

#include "base/clones.h"

namespace stoker::sync {
namespace {

STOKER_CLONES void add(const float* part, float share, float* sum, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] += share * part[i];
}

}  // namespace

void add_share(optim::Extent range, const float* part, float share, float* sum) {
  in_chunks(range, [&](optim::Extent e) { add(part + e.begin, share, sum + e.begin, e.size()); });
}

}  // namespace stoker::sync
