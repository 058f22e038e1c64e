#pragma once
// Where gradients land: straight in the arena, one copy from where the backward pass made them.
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function.h>

#include <map>
#include <vector>

#include "optim/arena.h"

namespace stoker::program {

/// The ends of the backward graph, one per leaf. Used by one thread; must outlive its leaves.
class Landing {
 public:
  explicit Landing(const optim::Arena& arena);

  /// A leaf tensor over `weights`, whose gradient lands here.
  at::Tensor leaf(int parameter, float* weights);
  /// REQUIRES: `gradient` is arena-shaped; the backward pass runs between begin() and finish().
  void begin(float* gradient);
  /// A part of the parameter's gradient that autograd made; several add up.
  void land(int parameter, const at::Tensor& gradient);
  /// Where the parameter's gradient goes, for who computes it in place; `first` tells whether to overwrite or to add.
  const at::Tensor& place(int parameter, bool& first);
  /// Parameters that got no gradient, and the padding, become zero.
  void finish();

 private:
  struct End;
  /// Leaves hold their ends weakly.
  struct Held {
    using Leaf = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;
    c10::intrusive_ptr<torch::autograd::Node> end;
    Leaf leaf;
  };

  const optim::Arena& arena_;
  const std::vector<optim::Extent> padding_;
  std::map<float*, std::vector<at::Tensor>> places_;  // by the few addresses that gradients have
  const std::vector<at::Tensor>* current_ = nullptr;
  float* gradient_ = nullptr;
  std::vector<bool> landed_;
  std::vector<Held> ends_;
};

}  // namespace stoker::program
