#pragma once
// Heads of a chain that are one cross entropy over classes: computed by dense.h's kernel instead of autograd.
#include <optional>

#include "program/trunk.h"

namespace stoker::program {

struct ClassHead {
  int label = 0;        // slot
  int loss = 0;         // slot of the sum
  int64_t ignored = 0;  // see ClassLoss
  Program rest;         // the head without the loss's node
};

/// None unless the numerator is the sum of a cross entropy of the chain's output, as it is, and whole numbers that are
/// an input, without weights or smoothing, and nothing else reads that sum.
std::optional<ClassHead> find_class_head(const Trunk& trunk);

}  // namespace stoker::program
