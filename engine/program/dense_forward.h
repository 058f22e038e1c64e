#pragma once
// Forward through a chain of linear layers whose weights do not change. Immutable; any number of threads.
#include <vector>

#include "base/float_rows.h"
#include "program/dense.h"

namespace stoker::program {

/// Weights as a linear layer has them, [out, in]; no bias is nullptr. Both must outlive what uses them.
struct FixedLayer {
  const float* weight = nullptr;
  const float* bias = nullptr;
  int64_t in = 0;
  int64_t out = 0;
  Activation activation = Activation::none;
};

class DenseForward {
 public:
  DenseForward(std::vector<FixedLayer> layers, const DenseKernels& kernels);

  /// y = the last layer's rows for dense rows x. A row's bits do not depend on the others.
  void run(const float* x, int64_t rows, float* y) const;

 private:
  void multiply(size_t layer, const float* x, float* y, int64_t rows, FloatRows& scratch) const;

  const std::vector<FixedLayer> layers_;
  const DenseKernels& kernels_;
  std::vector<std::vector<float>> turned_;  // weights as [in, out], where that is faster; else empty
  int64_t widest_ = 1;
};

/// to = w(rows, columns), turned.
void turn(const float* w, int64_t rows, int64_t columns, float* to);

}  // namespace stoker::program
