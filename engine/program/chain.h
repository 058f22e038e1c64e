#pragma once
// Runs a program that is a chain of linear layers and then anything: the chain by the kernels of dense.h, all
// micro-batches together and without autograd; the rest, loss and metric, as the executor does.
#include <memory>

#include "optim/arena.h"
#include "program/safetensors.h"
#include "program/step.h"
#include "program/trunk.h"

namespace stoker::program {

/// A Step for such a program, which find_trunk() tells; none where the instruction sets or the intra-op threads of this
/// thread call for libtorch's kernels. Arguments as for make_executor().
std::unique_ptr<Step> make_chain(const Program& program, const optim::Arena& arena, const SafeTensors& constants);

}  // namespace stoker::program
