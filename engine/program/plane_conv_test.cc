#include "program/plane_conv.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "base/level.h"
#include "program/executor.h"
#include "program/test_programs.h"

namespace stoker::program {
namespace {

using Lies = at::MemoryFormat;

struct Case {
  ConvShape shape;
  int64_t images;
  Lies lies;
};

std::vector<Case> cases() {
  std::vector<Case> found;
  for (const auto lies : {Lies::Contiguous, Lies::ChannelsLast})
    for (const int64_t images : {0, 1, 3})
      for (const auto& shape : {ConvShape{1, 4, 28, 28, 3, 3, 0, 0}, ConvShape{4, 8, 26, 26, 3, 3, 1, 1},
                                ConvShape{8, 12, 24, 24, 3, 3, 0, 0}, ConvShape{16, 16, 17, 40, 5, 3, 2, 1},
                                ConvShape{3, 1, 20, 19, 2, 3, 0, 2}, ConvShape{2, 15, 16, 16, 1, 1, 0, 0},
                                ConvShape{5, 7, 3, 90, 3, 7, 1, 0}, ConvShape{4, 5, 16, 17, 1, 1, 1, 2},
                                ConvShape{5, 4, 15, 16, 2, 2, 3, 3}, ConvShape{4, 4, 1, 1, 1, 1, 8, 8}})
        found.push_back({shape, images, lies});
  return found;
}

Strides strides_of(const at::Tensor& x) { return {x.stride(0), x.stride(1), x.stride(2), x.stride(3)}; }
Images images(const at::Tensor& x) { return {x.const_data_ptr<float>(), strides_of(x)}; }
ImagesOut images_out(const at::Tensor& x) { return {x.mutable_data_ptr<float>(), strides_of(x)}; }

struct Values {
  at::Tensor x, w, bias, d;

  explicit Values(const Case& c) {
    const auto& s = c.shape;
    x = at::randn({c.images, s.in, s.height, s.width}).contiguous(c.lies);
    w = at::randn({s.out, s.in, s.kernel_height, s.kernel_width});
    bias = at::randn({s.out});
    d = at::randn({c.images, s.out, s.out_height(), s.out_width()}).contiguous(c.lies);
  }
};

bool near(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() == 0 || (a - b).abs().max().item<float>() <= 2e-6F * (1 + b.abs().max().item<float>());
}

void check(const Case& c, const DenseKernels& kernels) {
  const Values v(c);
  const auto& s = c.shape;
  PlaneConv conv(s, kernels);
  const auto y = at::empty_like(v.d), dx = at::empty_like(v.x), dw = at::empty_like(v.w);
  conv.forward(images(v.x), c.images, v.w.const_data_ptr<float>(), v.bias.const_data_ptr<float>(), images_out(y));
  conv.backward(images(v.x), images(v.d), c.images, v.w.const_data_ptr<float>(), dw.mutable_data_ptr<float>(),
                images_out(dx));
  const std::vector<int64_t> padding{s.pad_height, s.pad_width};
  EXPECT_TRUE(near(y, at::conv2d(v.x.to(at::kDouble), v.w.to(at::kDouble), v.bias.to(at::kDouble), {1, 1}, padding)));
  const auto [by_x, by_w, by_bias] =
      at::convolution_backward(v.d.to(at::kDouble), v.x.to(at::kDouble), v.w.to(at::kDouble), at::IntArrayRef({s.out}),
                               {1, 1}, padding, {1, 1}, false, {0, 0}, 1, {true, true, false});
  EXPECT_TRUE(near(dx, by_x));
  EXPECT_TRUE(near(dw, by_w));
}

TEST(PlaneConv, IsTheConvolutionAndItsGradients) {
  at::manual_seed(1);
  for (int level = 1; level <= static_cast<int>(best_level()); ++level)
    for (const auto& c : cases()) {
      SCOPED_TRACE(testing::Message() << "level " << level << ", " << c.shape.in << " to " << c.shape.out << ", "
                                      << c.images << " images");
      check(c, *dense_kernels(level));
    }
}

TEST(PlaneConv, AnImageDoesNotSeeTheOthers) {
  at::manual_seed(1);
  const auto* kernels = dense_kernels(static_cast<int>(best_level()));
  if (!kernels) GTEST_SKIP() << "no kernels for this machine";
  const Case three{{8, 12, 24, 24, 3, 3, 1, 1}, 3, Lies::ChannelsLast};
  const Values v(three);
  PlaneConv conv(three.shape, *kernels);
  const auto run = [&](const at::Tensor& x) {
    const auto y = at::empty({x.size(0), 12, 24, 24});
    conv.forward(images(x), x.size(0), v.w.const_data_ptr<float>(), nullptr, images_out(y));
    return y;
  };
  EXPECT_TRUE(at::equal(run(v.x)[2], run(v.x.slice(0, 2, 3))[0]));
}

TEST(PlaneConv, GradientsThatNobodyWantsAreNotMadeAndThoseThatLieAnyhowAreRead) {
  at::manual_seed(1);
  const auto* kernels = dense_kernels(static_cast<int>(best_level()));
  if (!kernels) GTEST_SKIP() << "no kernels for this machine";
  const Case c{{4, 8, 17, 18, 3, 3, 1, 1}, 2, Lies::Contiguous};
  const Values v(c);
  const auto d = at::full({1}, 0.5F).expand({2, 8, 17, 18});
  PlaneConv conv(c.shape, *kernels);
  const auto grad = [&](const at::Tensor& of, const at::Tensor& dw, const at::Tensor& dx) {
    conv.backward(images(v.x), images(of), 2, v.w.const_data_ptr<float>(),
                  dw.defined() ? dw.mutable_data_ptr<float>() : nullptr, dx.defined() ? images_out(dx) : ImagesOut());
  };
  const auto dw = at::empty_like(v.w), dx = at::empty_like(v.x), alone_w = at::empty_like(v.w),
             alone_x = at::empty_like(v.x);
  grad(d.contiguous(), dw, dx);
  grad(d, {}, alone_x);
  grad(d, alone_w, {});
  EXPECT_TRUE(at::equal(dw, alone_w));
  EXPECT_TRUE(at::equal(dx, alone_x));
}

/// A view whose sign is a bit of the tensor and not in its memory, before the convolution and, for its gradient,
/// behind.
TEST(PlaneConv, ASignThatIsNotInMemoryCounts) {
  at::set_num_threads(1);
  at::manual_seed(3);
  Writer w;
  const int x = w.input("x", "feature", {1, 20, 20}), a = w.parameter("a", {4, 1, 3, 3});
  const auto conv = [&](int of) { return w.node("aten.conv2d.default", {slot(of), slot(a), nullptr, {1, 1}, {0, 0}}); };
  const auto minus = [&](int of) {
    const int both = w.node("aten.complex.default", {slot(of), slot(of)});
    return w.node("aten.imag.default", {slot(w.node("aten.conj.default", {slot(both)}))});
  };
  const int before = conv(minus(x)), behind = minus(conv(x));
  const int sum = w.node("aten.add.Tensor", {slot(w.node("aten.exp.default", {slot(before)})), slot(behind)});
  const auto rows = at::randn({2, 1, 20, 20});
  auto weight = 0.1 * at::randn({4, 1, 3, 3});
  Bench bench(w.train(w.node("aten.sum.default", {slot(sum)})), {{"a", weight}});
  const auto found = bench.run({rows});
  weight.requires_grad_();
  const auto loss = (at::conv2d(-rows, weight).exp() - at::conv2d(rows, weight)).sum();
  EXPECT_NEAR(found.numerator, loss.item<float>(), 1e-2);
  EXPECT_TRUE(at::allclose(bench.gradient_of("a"), torch::autograd::grad({loss}, {weight})[0], 1e-4, 1e-3));
}

/// Two convolutions, of which `stride` is the second's.
Json two_convolutions(int stride) {
  Writer w;
  const int x = w.input("x", "feature", {1, 20, 20});
  const int a = w.parameter("a", {4, 1, 3, 3}), b = w.parameter("b", {4}), c = w.parameter("c", {6, 4, 3, 3});
  const int y = w.node("aten.conv2d.padding", {slot(x), slot(a), slot(b), {1, 1}, "same"});
  const int z = w.node("aten.conv2d.default",
                       {slot(w.node("aten.tanh.default", {slot(y)})), slot(c), nullptr, {stride, stride}, {0, 0}});
  return w.train(w.node("aten.sum.default", {slot(w.node("aten.tanh.default", {slot(z)}))}));
}

TEST(PlaneConv, StandsForTorchsInAProgram) {
  at::set_num_threads(1);
  at::manual_seed(2);
  const auto x = at::randn({5, 1, 20, 20});
  for (const int stride : {1, 2}) {
    std::vector<at::Tensor> weights{at::randn({4, 1, 3, 3}), at::randn({4}), at::randn({6, 4, 3, 3})};
    Bench bench(two_convolutions(stride), {{"a", weights[0]}, {"b", weights[1]}, {"c", weights[2]}});
    const auto found = bench.run({x});
    for (auto& weight : weights) weight.requires_grad_();
    const auto y = at::conv2d(x, weights[0], weights[1], {1, 1}, "same").tanh();
    const auto loss = at::conv2d(y, weights[2], {}, {stride, stride}).tanh().sum();
    EXPECT_NEAR(found.numerator, loss.item<float>(), 1e-3);
    const auto gradients = torch::autograd::grad({loss}, weights);
    for (int i = 0; i < 3; ++i)
      EXPECT_TRUE(at::allclose(bench.gradient_of(std::string(1, "abc"[i])), gradients[i], 1e-4, 1e-4)) << i;
  }
}

}  // namespace
}  // namespace stoker::program
