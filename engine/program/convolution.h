#pragma once
// Convolutions of few channels over large planes, by plane_conv.h instead of libtorch's.
#include "program/plan.h"

namespace stoker::program {

/// The call of `node` if it is a 2-d convolution, else an empty one, or where dense.h has no kernels. What plane_conv.h
/// is not made for is left to libtorch.
Call conv_call(const Node& node, const c10::OperatorHandle& op);

}  // namespace stoker::program
