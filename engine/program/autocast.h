#pragma once
// Nodes of mixed precision: matrix products, convolutions and attention take and give bfloat16, as operators do under
// torch.autocast("cpu", torch.bfloat16), whose lists say which. What they read in float32 is cast anew each time
// (cache_enabled=False there), so a weight that is read twice has its gradient added up in float32.
#include <ATen/core/dispatch/Dispatcher.h>

#include "program/plan.h"

namespace stoker::program {

/// Whether this process, at its instruction-set level, multiplies bfloat16 faster than float32. Where it does not,
/// products are of float32 numbers that are rounded to bfloat16: as good, and about as fast as float32 ones;
/// recurrent layers are in float32.
bool has_bf16();

/// The call of `op` under autocast.
Call autocast_call(const c10::OperatorHandle& op);

/// One linear layer of bfloat16 numbers, without gradients.
at::Tensor bf16_linear(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias);
/// One matrix product of bfloat16 numbers, without gradients.
at::Tensor bf16_mm(const at::Tensor& a, const at::Tensor& b);

}  // namespace stoker::program
