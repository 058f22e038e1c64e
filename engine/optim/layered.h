#pragma once
// Optimizers whose rate differs from tensor to tensor by the norms of its weights and of what changes them: LARS, LAMB.
#include <memory>

#include "optim/optimizer.h"

namespace stoker::optim {

/// Null where it is none of these.
std::unique_ptr<Optimizer> make_layered(const OptimizerOptions& options, const Arena& arena, Isa isa);

}  // namespace stoker::optim
