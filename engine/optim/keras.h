#pragma once
// Keras 3's optimizers by their own formulas, where these are not torch.optim's: eps beside the uncorrected root (Adam)
// or under it (RMSprop, Adagrad), the rate inside SGD's velocity, decay that is always decoupled.
#include <memory>

#include "optim/optimizer.h"

namespace stoker::optim {

/// Null where it is none of these; keras_lamb is one of make_layered.
std::unique_ptr<Optimizer> make_keras(const OptimizerOptions& options, const Arena& arena, Isa isa);

}  // namespace stoker::optim
