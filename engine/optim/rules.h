#pragma once
// Optimizers beside SGD and Adam whose update of an element needs that element only.
#include <memory>

#include "optim/optimizer.h"

namespace stoker::optim {

/// Null where it is none of these.
std::unique_ptr<Optimizer> make_rule(const OptimizerOptions& options, const Arena& arena, Isa isa);

}  // namespace stoker::optim
