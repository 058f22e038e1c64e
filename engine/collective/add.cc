#include "collective/add.h"

#include "base/clones.h"

namespace stoker::collective {
namespace {

/// 64 bytes of floats; the compiler cuts them into what the instruction set has.
using Lanes [[gnu::vector_size(64), gnu::may_alias]] = float;
constexpr int64_t kLanes = 16;

}  // namespace

#define STOKER_LANES(name, i) (*reinterpret_cast<const Lanes*>((name) + (i)))
#define STOKER_OUT(i) (*reinterpret_cast<Lanes*>(out + (i)))

STOKER_CLONES void add_2(float* out, const float* a, const float* b, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) STOKER_OUT(i) = STOKER_LANES(a, i) + STOKER_LANES(b, i);
}

STOKER_CLONES void add_chain_3(float* out, const float* a, const float* b, const float* c, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes)
    STOKER_OUT(i) = (STOKER_LANES(a, i) + STOKER_LANES(b, i)) + STOKER_LANES(c, i);
}

STOKER_CLONES void add_chain_4(float* out, const float* a, const float* b, const float* c, const float* d, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes)
    STOKER_OUT(i) = ((STOKER_LANES(a, i) + STOKER_LANES(b, i)) + STOKER_LANES(c, i)) + STOKER_LANES(d, i);
}

STOKER_CLONES void add_pairs_4(float* out, const float* a, const float* b, const float* c, const float* d, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes)
    STOKER_OUT(i) = (STOKER_LANES(a, i) + STOKER_LANES(b, i)) + (STOKER_LANES(c, i) + STOKER_LANES(d, i));
}

}  // namespace stoker::collective
