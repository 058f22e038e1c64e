#pragma once
// Linear layers whose weights are parameters: one node of the backward graph instead of three, and their gradients are
// computed where they belong in the arena.
#include "program/landing.h"
#include "program/plan.h"

namespace stoker::program {

/// The call of `node` if it is such a layer, else an empty one. `landing` must outlive the call.
Call linear_call(const Program& program, const Node& node, Landing& landing);

}  // namespace stoker::program
