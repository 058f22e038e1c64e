#pragma once
// The part of a program that is a plain chain of linear layers, from a feature input on. Multi-layer
// perceptrons and autoencoders are little else.
#include <optional>
#include <string>
#include <vector>

#include "program/dense.h"
#include "program/format.h"

namespace stoker::program {

struct DenseLayer {
  int weight = -1;  // slots, in DenseLayers parameter numbers; bias -1 where there is none
  int bias = -1;
  int64_t in = 0;
  int64_t out = 0;
  Activation activation = Activation::none;  // after it
};

struct Trunk {
  int input = 0;      // its number among the program's inputs
  std::string where;  // the first layer's place in the user's model
  std::vector<DenseLayer> layers;
  int output = 0;  // slot
  /// The program without the chain's nodes and parameters; it reads `output`.
  Program head;
};

/// Slots that a node reads, each as often as it does.
std::vector<int> slots_of(const Node& node);
/// The slot that argument `i` is; -1 where it is none, or left out.
int slot_argument(const Node& node, size_t i);
/// Whether the kernels of dense.h are made for a linear layer of this size.
bool is_small_layer(int64_t in, int64_t out);

/// None unless nothing else reads the chain's weights and what lies inside of it, and its layers are small enough for
/// the kernels of dense.h. A training program's chain must hold every parameter and nothing that is fixed, and the
/// program have no buffers.
std::optional<Trunk> find_trunk(const Program& program);

}  // namespace stoker::program
