#pragma once
// Times the real step on fixed inputs, for `make bench-step`.
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "base/codec.h"

namespace stoker::train {

/// Median seconds of a step in a world of one. `spec` is a TrainSpec's JSON with S = 1.
/// `in_place` updates the state where it lies, as nobody could who may die: what the transaction costs is the
/// difference.
double bench_steps(const std::string& spec, ByteView weights, const std::vector<at::Tensor>& inputs, int64_t steps,
                   bool in_place = false);

}  // namespace stoker::train
