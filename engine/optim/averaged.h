#pragma once
// An average of the weights beside them, as one more state: by torch.optim.swa_utils.AveragedModel's formulas.
#include <memory>

#include "optim/optimizer.h"

namespace stoker::optim {

/// `inner`'s updates, each followed by its share in the average.
std::unique_ptr<Optimizer> make_averaged(std::unique_ptr<Optimizer> inner, const AverageOptions& options);

}  // namespace stoker::optim
