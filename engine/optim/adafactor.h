#pragma once
// Adafactor, whose second moments are kept by row and by column: Shazeer and Stern, 2018, arXiv 1804.04235, as
// torch.optim and as Keras have it. Moments are numbers, in double, not buffers: a matrix has few.
#include <memory>

#include "optim/optimizer.h"

namespace stoker::optim {

std::unique_ptr<Optimizer> make_adafactor(const OptimizerOptions& options, const Arena& arena, Isa isa);

}  // namespace stoker::optim
