#pragma once
// Runs a training program over ATen, operator by operator, with autograd for the backward pass.
#include <memory>
#include <vector>

#include "optim/arena.h"
#include "program/batch_norm.h"
#include "program/format.h"
#include "program/safetensors.h"
#include "program/step.h"

namespace stoker::program {

/// The program's parameters in its order. `groups` gives the optimizer group of each; empty: all are in group 0.
optim::Arena weight_arena(const Program& program, const std::vector<int>& groups = {});
/// The float buffers (rule "mean") in the program's order, laid out as an arena of their own.
optim::Arena buffer_arena(const Program& program);
/// How many int64 the buffers of rule "count" take. They lie one after the other in the program's order.
int64_t count_numbers(const Program& program);

/// A Step that interprets the program; see step.h. `arena` is weight_arena() of the same program and must outlive the
/// step. `constants` are used where they lie, if that is at multiples of kTorchAlignment
/// (weights.h), else copied: their bytes outlive the step. The caller's thread decides the number of intra-op threads.
/// Throws Error(user) where the program or a constant does not fit.
std::unique_ptr<Step> make_executor(const Program& program, const optim::Arena& arena, const SafeTensors& constants);

/// The same, where batch norms go by the statistics of the whole batch, which `add_up` knows, and not by the
/// micro-batch's.
std::unique_ptr<Step> make_whole_batch_executor(const Program& program, const optim::Arena& arena,
                                                const SafeTensors& constants, const AddUp& add_up);

/// The fastest Step for the program: make_chain() where that fits, else make_executor().
std::unique_ptr<Step> make_step(const Program& program, const optim::Arena& arena, const SafeTensors& constants);

}  // namespace stoker::program
