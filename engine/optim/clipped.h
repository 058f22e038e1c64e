#pragma once
// Gradients shortened by the norm of each tensor, or of all, by Keras' formulas (clipnorm, global_clipnorm).
#include <memory>

#include "optim/optimizer.h"

namespace stoker::optim {

/// `inner`'s updates with gradients that are no longer than told. REQUIRES: `inner` has no sums of its own.
std::unique_ptr<Optimizer> make_clipped(std::unique_ptr<Optimizer> inner, const ClipOptions& options,
                                        const Arena& arena);

}  // namespace stoker::optim
