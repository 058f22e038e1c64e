#include "program/dense_layers.h"

#include <algorithm>

#include "base/pulse.h"
#include "program/dense_forward.h"

namespace stoker::program {
namespace {

// Sums of so few terms are faster along the outputs, over weights that were turned.
constexpr int64_t kFewTerms = 64;

}  // namespace

DenseLayers::DenseLayers(std::vector<DenseLayer> layers, const optim::Arena& arena, const DenseKernels& kernels)
    : layers_(std::move(layers)), arena_(arena), kernels_(kernels), outputs_(layers_.size()) {}

void DenseLayers::forward(std::vector<FeatureRows> batches, const float* weights) {
  batches_ = std::move(batches);
  weights_ = weights;
  firsts_.clear();
  rows_ = 0;
  for (const auto& batch : batches_) {
    firsts_.push_back(rows_);
    rows_ += batch.rows;
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& layer = layers_[i];
    outputs_[i].make_room(rows_ * layer.out);
    if (i > 0) multiply(i, outputs_[i - 1].data(), outputs_[i].data(), rows_);
    for (size_t b = 0; i == 0 && b < batches_.size(); ++b)
      multiply(i, batches_[b].x, outputs_[i].data() + firsts_[b] * layer.out, batches_[b].rows);
    kernels_.finish({outputs_[i].data(), bias(layer), rows_, layer.out, layer.activation});
    pulse::beat();
  }
  gradient_.make_room(rows_ * layers_.back().out);
}

void DenseLayers::multiply(size_t number, const float* x, float* y, int64_t rows) {
  const auto& layer = layers_[number];
  if (layer.in >= kFewTerms) return kernels_.product({x, weight(layer), y, rows, layer.in, layer.out});
  turned_.make_room(layer.in * layer.out);
  turn(weight(layer), layer.out, layer.in, turned_.data());
  const FoldTerm term{x, turned_.data(), layer.in, 0};
  fold({.rows = rows, .columns = layer.out, .a_row = layer.in, .a_step = 1, .b_row = layer.out}, {&term, 1}, {&y, 1});
}

void DenseLayers::fold(FoldedProduct product, std::span<const FoldTerm> terms, std::span<float* const> outs) {
  int64_t depth = 0;
  for (const auto& term : terms) depth += term.depth;
  scratch_.make_room((kFoldStrip + product.rows) * depth);
  product.terms = terms.data(), product.term_count = static_cast<int>(terms.size());
  product.outs = outs.data(), product.out_count = static_cast<int>(outs.size());
  product.out_row = product.columns;
  product.scratch = scratch_.data();
  kernels_.fold(product);
  pulse::beat();
}

void DenseLayers::backward(const GradientStack& to) {
  through_activation(layers_.size() - 1, gradient_.data());
  for (size_t i = layers_.size(); i-- > 0;) {
    weight_gradient(i, to);
    if (i > 0) input_gradient(i);
  }
}

void DenseLayers::through_activation(size_t number, float* gradient) {
  const auto& layer = layers_[number];
  if (layer.activation == Activation::none) return;
  kernels_.activation_backward(layer.activation, gradient, outputs_[number].data(), rows_ * layer.out);
}

void DenseLayers::weight_gradient(size_t number, const GradientStack& to) {
  static constexpr float kOne = 1;
  const auto& layer = layers_[number];
  std::vector<FoldTerm> weights, ones;
  for (size_t b = 0; b < batches_.size(); ++b) {
    const float* gradient = gradient_.data() + firsts_[b] * layer.out;
    const float* x = number == 0 ? batches_[b].x : outputs_[number - 1].data() + firsts_[b] * layer.in;
    weights.push_back({gradient, x, batches_[b].rows, to.merges[b]});
    ones.push_back({&kOne, gradient, batches_[b].rows, to.merges[b]});
  }
  const auto outs = [&](int parameter) {
    std::vector<float*> places;
    for (float* vector : to.vectors) places.push_back(vector + arena_.extent(parameter).begin);
    return places;
  };
  fold({.rows = layer.out, .columns = layer.in, .a_row = 1, .a_step = layer.out, .b_row = layer.in, .bf16 = to.bf16},
       weights, outs(layer.weight));
  if (layer.bias == -1) return;
  fold({.rows = 1, .columns = layer.out, .b_row = layer.out, .bf16 = to.bf16}, ones, outs(layer.bias));
}

void DenseLayers::input_gradient(size_t number) {
  const auto& layer = layers_[number];
  before_.make_room(rows_ * layer.in);
  const FoldTerm term{gradient_.data(), weight(layer), layer.out, 0};
  float* out = before_.data();
  fold({.rows = rows_, .columns = layer.in, .a_row = layer.out, .a_step = 1, .b_row = layer.in}, {&term, 1}, {&out, 1});
  through_activation(number - 1, out);
  std::swap(gradient_, before_);
}

}  // namespace stoker::program
