#pragma once
// Forward and backward through a chain of linear layers, several micro-batches at once. A row goes through the same
// arithmetic whichever micro-batches come with it; gradients are summed by micro-batch and then folded.
#include <span>
#include <vector>

#include "base/float_rows.h"
#include "optim/arena.h"
#include "program/dense.h"
#include "program/step.h"
#include "program/trunk.h"

namespace stoker::program {

/// A micro-batch: dense rows of the first layer's width.
struct FeatureRows {
  const float* x = nullptr;
  int64_t rows = 0;
};

/// Used by one thread.
class DenseLayers {
 public:
  DenseLayers(std::vector<DenseLayer> layers, const optim::Arena& arena, const DenseKernels& kernels);

  /// `weights` is an arena. Both stay as they are until backward().
  void forward(std::vector<FeatureRows> batches, const float* weights);
  /// The last layer's rows of a micro-batch.
  float* output(size_t batch) { return row_of(outputs_.back(), batch); }
  /// Where d loss / d output(batch) is to be put before backward().
  float* output_gradient(size_t batch) { return row_of(gradient_, batch); }
  /// Writes whole arenas, but for their padding.
  void backward(const GradientStack& to);

 private:
  float* row_of(FloatRows& rows, size_t batch) { return rows.data() + firsts_[batch] * layers_.back().out; }
  const float* weight(const DenseLayer& layer) const { return weights_ + arena_.extent(layer.weight).begin; }
  const float* bias(const DenseLayer& layer) const {
    return layer.bias == -1 ? nullptr : weights_ + arena_.extent(layer.bias).begin;
  }
  void multiply(size_t layer, const float* x, float* y, int64_t rows);
  void through_activation(size_t layer, float* gradient);
  void weight_gradient(size_t layer, const GradientStack& to);
  void input_gradient(size_t layer);
  void fold(FoldedProduct product, std::span<const FoldTerm> terms, std::span<float* const> outs);

  const std::vector<DenseLayer> layers_;
  const optim::Arena& arena_;
  const DenseKernels& kernels_;
  const float* weights_ = nullptr;
  std::vector<FeatureRows> batches_;
  std::vector<int64_t> firsts_;     // row of each micro-batch among all
  int64_t rows_ = 0;                // of all
  std::vector<FloatRows> outputs_;  // of each layer, all rows
  FloatRows gradient_, before_;     // of the loss, by a layer's outputs and by its inputs
  FloatRows turned_, scratch_;
};

}  // namespace stoker::program
