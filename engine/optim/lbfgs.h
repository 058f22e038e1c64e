#pragma once
// L-BFGS over full batches (Nocedal, "Updating Quasi-Newton Matrices with Limited Storage", 1980), equal to one call of
// torch.optim.LBFGS(line_search_fn="strong_wolfe").step(): each update follows one evaluation of all rows, and leaves
// the weights at the next point to be evaluated.
//
// The direction is a combination of the vectors of the state and the gradient, and its coefficients follow from their
// inner products alone (Chen et al., "Large-scale L-BFGS using MapReduce", 2014). So measure() tells products, block by
// block, decide() takes all decisions by numbers, and update() goes over the arena once.
#include <memory>

#include "optim/optimizer.h"

namespace stoker::optim {

/// REQUIRES: one parameter group.
std::unique_ptr<Optimizer> make_lbfgs(const OptimizerOptions& options, const Arena& arena);

}  // namespace stoker::optim
