#pragma once
// Times the real step on fixed inputs, for `make bench-step`.
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "base/codec.h"

namespace stoker::train {

/// Median seconds of a step of the slowest of some ranks, threads of one host that have the same inputs and one shard
/// each. `spec` is a TrainSpec's JSON. `in_place` updates the state where it lies, as nobody could who may die: what
/// the transaction costs is the difference.
double bench_steps(const std::string& spec, ByteView weights, const std::vector<at::Tensor>& inputs, int64_t steps,
                   int ranks = 1, bool in_place = false);

}  // namespace stoker::train
