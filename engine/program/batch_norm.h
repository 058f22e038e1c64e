#pragma once
// Batch norm by the statistics of rows that are elsewhere too: sums over the micro-batch are given away and come back
// as sums over the whole batch, once in the forward and once in the backward pass. The formulas are those of
// torch.nn.BatchNorm on the whole batch; sums are in double.
#include <functional>
#include <span>

#include "program/plan.h"

namespace stoker::program {

/// Puts sums over the whole batch in place of those over the micro-batch. `place` says which sums they are: the same
/// number on all micro-batches of a batch, never 0.
using AddUp = std::function<void(int place, std::span<double> sums)>;

/// Channels of the widest node that normalises by the batch's statistics; 0: there is none. Throws Error(user) where
/// one's are not known.
int64_t batch_norm_channels(const Program& program);
/// Numbers that AddUp is given at most, for batch norms of so many channels.
int batch_norm_sums(int64_t channels);

/// Of a node that normalises by the batch's statistics; empty for others. `place` is its own and no other's.
Call whole_batch_norm(const Node& node, int place, const AddUp& add_up);

}  // namespace stoker::program
