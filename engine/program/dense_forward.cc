#include "program/dense_forward.h"

#include <algorithm>

namespace stoker::program {
namespace {

// So many rows of every layer stay in the second-level cache.
constexpr int64_t kRows = 256;
// Fewer outputs do not fill a vector along them.
constexpr int64_t kFewOutputs = 8;

bool goes_along_outputs(const FixedLayer& layer) { return layer.out >= kFewOutputs; }

}  // namespace

void turn(const float* w, int64_t rows, int64_t columns, float* to) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to[c * rows + r] = w[r * columns + c];
}

DenseForward::DenseForward(std::vector<FixedLayer> layers, const DenseKernels& kernels)
    : layers_(std::move(layers)), kernels_(kernels), turned_(layers_.size()) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& layer = layers_[i];
    widest_ = std::max(widest_, layer.out);
    if (!goes_along_outputs(layer)) continue;
    turned_[i].resize(layer.in * layer.out);
    turn(layer.weight, layer.out, layer.in, turned_[i].data());
  }
}

void DenseForward::run(const float* x, int64_t rows, float* y) const {
  FloatRows work[2], scratch;
  for (auto& buffer : work) buffer.make_room(std::min(rows, kRows) * widest_);
  for (int64_t begin = 0; begin < rows; begin += kRows) {
    const int64_t count = std::min(rows - begin, kRows);
    const float* from = x + begin * layers_.front().in;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const bool last = i + 1 == layers_.size();
      float* to = last ? y + begin * layers_.back().out : work[i % 2].data();
      multiply(i, from, to, count, scratch);
      kernels_.finish({to, layers_[i].bias, count, layers_[i].out, layers_[i].activation});
      from = to;
    }
  }
}

void DenseForward::multiply(size_t number, const float* x, float* y, int64_t rows, FloatRows& scratch) const {
  const auto& layer = layers_[number];
  if (turned_[number].empty()) return kernels_.product({x, layer.weight, y, rows, layer.in, layer.out});
  const FoldTerm term{x, turned_[number].data(), layer.in, 0};
  scratch.make_room((kFoldStrip + rows) * layer.in);
  FoldedProduct product{.rows = rows, .columns = layer.out, .a_row = layer.in, .a_step = 1, .b_row = layer.out};
  product.out_row = layer.out;
  product.terms = &term, product.term_count = 1;
  product.outs = &y, product.out_count = 1;
  product.scratch = scratch.data();
  kernels_.fold(product);
}

}  // namespace stoker::program
