#include "program/executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "base/pulse.h"
#include "program/test_programs.h"
#include "program/weights.h"

namespace stoker::program {
namespace {

// y = x w^T + b, loss = sum of y times what the caller wants.
struct Linear {
  Writer w;
  int x = w.input("x", "feature", {3});
  int weight = w.parameter("weight", {2, 3});
  int bias = w.parameter("bias", {2});
  int y = w.node("aten.linear.default", {slot(x), slot(weight), slot(bias)});
};

Tensors linear_tensors() { return {{"weight", at::arange(6, at::kFloat).view({2, 3})}, {"bias", floats({0.5, -0.5})}}; }

TEST(Executor, GradientsOfALinearLayer) {
  Linear m;
  Bench bench(m.w.train(m.w.node("aten.sum.default", {slot(m.y)})), linear_tensors());
  const auto x = at::tensor(std::vector<float>{1, 2, 3, 4, 5, 6}).view({2, 3});
  const auto scalars = bench.run({x});
  EXPECT_EQ(scalars.numerator, 8 + 26 + 17 + 62 + 0.0);
  EXPECT_EQ(scalars.denominator, 2);
  EXPECT_TRUE(at::equal(bench.gradient_of("weight"), at::tensor(std::vector<float>{5, 7, 9, 5, 7, 9}).view({2, 3})));
  EXPECT_TRUE(at::equal(bench.gradient_of("bias"), floats({2, 2})));
}

TEST(Executor, HiddenLayerStopsGradientsWhereReluIsOff) {
  Writer w;
  const int x = w.input("x", "feature", {1});
  const int a = w.parameter("a", {2, 1});
  const int b = w.parameter("b", {1, 2});
  const int hidden = w.node("aten.relu.default", {slot(w.node("aten.linear.default", {slot(x), slot(a)}))});
  const int y = w.node("aten.linear.default", {slot(hidden), slot(b)});
  Bench bench(w.train(w.node("aten.sum.default", {slot(y)})),
              {{"a", at::tensor(std::vector<float>{2, -3}).view({2, 1})},
               {"b", at::tensor(std::vector<float>{5, 7}).view({1, 2})}});
  EXPECT_EQ(bench.run({at::full({1, 1}, 4.0F)}).numerator, 40);
  EXPECT_TRUE(at::equal(bench.gradient_of("a").flatten(), floats({20, 0})));
  EXPECT_TRUE(at::equal(bench.gradient_of("b").flatten(), floats({8, 0})));
}

TEST(Executor, BeatsAtEachOperatorForwardAndBackward) {
  Writer w;
  int y = w.node("aten.linear.default", {slot(w.input("x", "feature", {3})), slot(w.parameter("w", {3, 3}))});
  for (int i = 0; i < 5; ++i) y = w.node("aten.tanh.default", {slot(y)});
  Bench bench(w.train(w.node("aten.sum.default", {slot(y)})), {{"w", at::ones({3, 3})}});
  pulse::Pulse pulse;
  const pulse::Work work(pulse);
  const uint64_t before = pulse.read().beats;
  bench.run({at::ones({4, 3})});
  EXPECT_EQ(pulse.read().beats - before, 2u * 7u);
}

TEST(Executor, EveryFloatOfTheGradientIsWritten) {
  Linear m;
  Bench bench(m.w.train(m.w.node("aten.sum.default", {slot(m.y)})), linear_tensors());
  bench.run({at::ones({4, 3})});
  auto rest = bench.gradient.clone();
  for (int i = 0; i < 2; ++i) rest.slice(0, bench.arena().extent(i).begin, bench.arena().extent(i).end).zero_();
  EXPECT_EQ(at::count_nonzero(rest).item().toLong(), 0);
  const auto first = bench.gradient.clone();
  bench.run({at::ones({4, 3})});
  EXPECT_TRUE(at::equal(bench.gradient, first));
}

TEST(Executor, TiedParameterAddsUp) {
  Writer w;
  const int x = w.input("x", "feature", {2});
  const int tied = w.parameter("tied", {2, 2});
  const int once = w.node("aten.linear.default", {slot(x), slot(tied)});
  const int twice = w.node("aten.linear.default", {slot(once), slot(tied)});
  const auto weight = at::tensor(std::vector<float>{1, 2, 3, 4}).view({2, 2});
  Bench bench(w.train(w.node("aten.sum.default", {slot(twice)})), {{"tied", weight}});
  const auto row = at::tensor(std::vector<float>{1, 10}).view({1, 2});
  EXPECT_EQ(bench.run({row}).numerator, 21 * 4 + 43 * 6);
  // d/dW of 1^T W W x = 1 (W x)^T + (W^T 1) x^T
  EXPECT_TRUE(at::equal(bench.gradient_of("tied").flatten(), floats({21 + 4, 43 + 40, 21 + 6, 43 + 60})));
}

TEST(Executor, UnusedParameterGetsZero) {
  Linear m;
  m.w.parameter("unused", {5});
  auto tensors = linear_tensors();
  tensors["unused"] = at::ones(5);
  Bench bench(m.w.train(m.w.node("aten.sum.default", {slot(m.y)})), tensors);
  bench.run({at::ones({2, 3})});
  EXPECT_TRUE(at::equal(bench.gradient_of("unused"), at::zeros(5)));
}

TEST(Executor, GradientThatIsNotContiguous) {
  Writer w;
  w.input("x", "feature", {3});
  const int p = w.parameter("p", {2, 3});
  const int turned = w.node("aten.t.default", {slot(p)});
  const int scaled = w.node("aten.mul.Tensor", {slot(turned), slot(w.constant("c", {3, 2}))});
  const auto c = at::arange(6, at::kFloat).view({3, 2});
  Bench bench(w.train(w.node("aten.sum.default", {slot(scaled)})), {{"p", at::ones({2, 3})}, {"c", c}});
  bench.run({at::ones({2, 3})});
  EXPECT_TRUE(at::equal(bench.gradient_of("p"), c.t()));
}

TEST(Executor, NoRowsNoGradient) {
  Linear m;
  Bench bench(m.w.train(m.w.node("aten.sum.default", {slot(m.y)})), linear_tensors());
  const auto scalars = bench.run({at::empty({0, 3})});
  EXPECT_EQ(scalars.numerator, 0);
  EXPECT_EQ(scalars.denominator, 0);
  EXPECT_EQ(at::count_nonzero(bench.gradient).item().toLong(), 0);
}

TEST(Executor, LinearLayerOverSequencesEqualsAutograd) {
  const auto x = at::rand({3, 4, 2});
  const auto weight = at::rand({5, 2}).requires_grad_();
  const auto bias = at::rand({5}).requires_grad_();
  for (const bool biased : {true, false}) {
    Writer w;
    const int in = w.input("x", "feature", {4, 2});
    Arguments args = {slot(in), slot(w.parameter("weight", {5, 2}))};
    if (biased) args.push_back(slot(w.parameter("bias", {5})));
    const int y = w.node("aten.tanh.default", {slot(w.node("aten.linear.default", args))});
    Bench bench(w.train(w.node("aten.sum.default", {slot(y)})), {{"weight", weight}, {"bias", bias}});
    bench.run({x});
    const auto wanted = biased ? at::linear(x, weight, bias) : at::linear(x, weight);
    const auto gradients = torch::autograd::grad({wanted.tanh().sum()}, {weight, bias}, {}, {}, false, true);
    EXPECT_TRUE(at::allclose(bench.gradient_of("weight"), gradients[0]));
    if (biased) {
      EXPECT_TRUE(at::allclose(bench.gradient_of("bias"), gradients[1]));
    }
  }
}

TEST(Executor, LayersWithoutWidth) {
  for (const auto& [in, out] : {std::pair{0, 2}, {3, 0}}) {
    Writer w;
    const int x = w.input("x", "feature", {in});
    const int y =
        w.node("aten.linear.default", {slot(x), slot(w.parameter("a", {out, in})), slot(w.parameter("b", {out}))});
    Bench bench(w.train(w.node("aten.sum.default", {slot(y)})), {{"a", at::ones({out, in})}, {"b", at::ones(out)}});
    EXPECT_EQ(bench.run({at::ones({4, in})}).numerator, 4.0 * out * (in + 1));
    EXPECT_TRUE(at::equal(bench.gradient_of("b"), at::full(out, 4.0F)));
  }
}

TEST(Executor, InputChangedAfterALinearLayerIsAnError) {
  Linear m;
  const int hidden = m.w.node("aten.linear.default", {slot(m.y), slot(m.w.parameter("top", {2, 2}))});
  m.w.node("aten.mul_.Tensor", {slot(m.y), 2.0});
  auto tensors = linear_tensors();
  tensors["top"] = at::ones({2, 2});
  Bench bench(m.w.train(m.w.node("aten.sum.default", {slot(hidden)})), tensors);
  EXPECT_TRUE(has(user_error([&] {
                    bench.run({at::ones({2, 3})});
                  }),
                  "the backward pass: one of the variables needed"));
}

TEST(Executor, ParameterUsedByLinearLayersAndOthersAddsUp) {
  Writer w;
  const int x = w.input("x", "feature", {2});
  const int tied = w.parameter("tied", {3, 2});
  const int scaled = w.node("aten.mul.Tensor", {slot(tied), 10.0});
  const int y = w.node("aten.linear.default", {slot(x), slot(tied)});
  const int sum = w.node("aten.sum.default", {slot(y)});
  const int rest = w.node("aten.sum.default", {slot(scaled)});
  Bench bench(w.train(w.node("aten.add.Tensor", {slot(sum), slot(rest)})), {{"tied", at::ones({3, 2})}});
  bench.run({at::ones({5, 2})});
  EXPECT_TRUE(at::equal(bench.gradient_of("tied"), at::full({3, 2}, 15.0F)));
}

TEST(Executor, EachSetHasItsOwnWeights) {
  Linear m;
  Bench bench(m.w.train(m.w.node("aten.sum.default", {slot(m.y)})), linear_tensors());
  auto other = at::zeros_like(bench.weights);
  bench.step().bind(1, other.mutable_data_ptr<float>(), bench.buffers.mutable_data_ptr<float>(), bench.counts.data());
  const auto run = [&](int set) {
    return bench.step()
        .run(set, {at::ones({1, 3})}, bench.gradient.mutable_data_ptr<float>(),
             bench.buffers_out.mutable_data_ptr<float>(), {})
        .numerator;
  };
  EXPECT_EQ(run(0), 15);
  EXPECT_EQ(run(1), 0);
  other.fill_(1);
  EXPECT_EQ(run(1), 8);
  EXPECT_EQ(run(0), 15);
}

TEST(Executor, DenominatorFromTheProgram) {
  Linear m;
  const int numerator = m.w.node("aten.sum.default", {slot(m.y)});
  const int rows = m.w.node("sym.size", {slot(m.x), 0});
  Bench counted(m.w.train(numerator, slot(rows)), linear_tensors());
  EXPECT_EQ(counted.run({at::ones({7, 3})}).denominator, 7);
  Bench scaled(m.w.train(numerator, {{"rows", 2.5}}), linear_tensors());
  EXPECT_EQ(scaled.run({at::ones({4, 3})}).denominator, 10);
}

struct Normed {
  Writer w;
  int x = w.input("x", "feature", {2});
  int weight = w.parameter("weight", {2});
  int mean = w.buffer("mean", {2}, "mean");
  int tracked = w.buffer("tracked", {}, "count");
  int var = w.buffer("var", {2}, "mean");
  Json program() {
    w.node("aten.add_.Tensor", {slot(tracked), 1});
    const int y = w.node("aten.batch_norm.default",
                         {slot(x), slot(weight), nullptr, slot(mean), slot(var), true, 0.5, 1e-5, false});
    return w.train(w.node("aten.sum.default", {slot(y)}));
  }
};

TEST(Executor, BuffersAreWrittenBesideTheBoundOnes) {
  Bench bench(Normed().program(), {{"weight", at::ones(2)}, {"mean", at::zeros(2)}, {"var", at::ones(2)}});
  bench.counts[0] = 41;
  const auto bound = bench.buffers.clone();
  const auto x = at::tensor(std::vector<float>{0, 10, 2, 30}).view({2, 2});
  for (int i = 0; i < 2; ++i) {  // every run starts from the bound ones
    bench.run({x});
    EXPECT_TRUE(at::equal(bench.buffer_after("mean"), floats({0.5, 10})));
    EXPECT_TRUE(at::equal(bench.buffer_after("var"), floats({1.5, 100.5})));
  }
  EXPECT_TRUE(at::equal(bench.buffers, bound));
  EXPECT_EQ(bench.counts[0], 41);
}

TEST(Executor, TorchErrorsNameThePlace) {
  Linear m;
  Bench bench(m.w.train(m.w.node("aten.sum.default", {slot(m.y)})), linear_tensors());
  const auto text = user_error([&] { bench.run({at::ones({2, 4})}); });
  EXPECT_TRUE(has(text, "layer0 (aten.linear.default): mat1 and mat2 shapes cannot be multiplied")) << text;
  EXPECT_TRUE(has(user_error([&] { bench.run({}); }), "the program has 1 inputs, and 0 are given"));
  EXPECT_EQ(bench.run({at::ones({2, 3})}).denominator, 2) << "a failed run must not spoil the next";
}

TEST(Executor, LossThatIsNoSingleNumber) {
  Linear m;
  Bench bench(m.w.train(m.y), linear_tensors());
  EXPECT_TRUE(has(user_error([&] { bench.run({at::ones({2, 3})}); }), "loss and metric: the loss must be one number"));
}

TEST(Executor, ConstantsMustFit) {
  Linear m;
  m.w.constant("frozen", {2});
  const auto program = m.w.train(m.w.node("aten.sum.default", {slot(m.y)}));
  auto tensors = linear_tensors();
  EXPECT_TRUE(has(user_error([&] { Bench(program, tensors); }), "no tensor frozen"));
  tensors["frozen"] = at::ones(3);
  EXPECT_TRUE(has(user_error([&] { Bench(program, tensors); }), "frozen has the shape [3], and the program wants [2]"));
  tensors["frozen"] = at::ones(2, at::kLong);
  EXPECT_TRUE(has(user_error([&] { Bench(program, tensors); }), "frozen is int64, and the program wants float32"));
}

// Memory that holds a file so that its tensor "c" begins `past` bytes after a multiple of kTorchAlignment.
struct Laid {
  Laid(const Bytes& file, size_t past) : room(file.size() + 2 * kTorchAlignment) {
    const size_t begins = SafeTensors(file, "file").find("c")->data.data() - file.data();
    size_t at = past;
    while ((reinterpret_cast<uintptr_t>(room.data()) + at + begins - past) % kTorchAlignment != 0) ++at;
    std::ranges::copy(file, room.begin() + static_cast<std::ptrdiff_t>(at));
    bytes = ByteView(room).subspan(at, file.size());
  }
  Bytes room;
  ByteView bytes;
};

double numerator_of(const Json& json, const Laid& constants, const std::function<void()>& before) {
  const auto program = parse_program(json.dump());
  const auto arena = weight_arena(program);
  const auto step = make_executor(program, arena, SafeTensors(constants.bytes, "constants"));
  auto weights = at::zeros({arena.floats()}), gradient = at::zeros({arena.floats()});
  step->bind(0, weights.mutable_data_ptr<float>(), nullptr, nullptr);
  before();
  return step->run(0, {at::ones({1, 3})}, gradient.mutable_data_ptr<float>(), nullptr, {}).numerator;
}

TEST(Executor, ConstantsAreUsedWhereTheyLieIfKernelsTakeThemThere) {
  Linear m;
  const int c = m.w.constant("c", {16});
  const int sum = m.w.node("aten.add.Tensor", {slot(m.w.node("aten.sum.default", {slot(m.y)})),
                                               slot(m.w.node("aten.sum.default", {slot(c)}))});
  for (const size_t past : {0, 8}) {
    Laid laid(to_safetensors({{"c", at::ones({16})}}), past);
    EXPECT_EQ(numerator_of(m.w.train(sum), laid, [] {}), 16);
    const auto wipe = [&] {
      const auto view = SafeTensors(laid.bytes, "file").find("c")->data;
      std::memset(const_cast<std::byte*>(view.data()), 0, view.size());
    };
    EXPECT_EQ(numerator_of(m.w.train(sum), laid, wipe), past == 0 ? 0 : 16);
  }
}

TEST(Executor, NobodyWritesIntoAConstantThatOthersShare) {
  for (const bool through_view : {false, true}) {
    Linear m;
    const int c = m.w.constant("c", {16});
    m.w.node("aten.add_.Tensor", {slot(through_view ? m.w.node("aten.view.default", {slot(c), {4, 4}}) : c), 1.0});
    const Laid laid(to_safetensors({{"c", at::ones({16})}}), 0);
    const Json json = m.w.train(m.w.node("aten.sum.default", {slot(m.y)}));
    EXPECT_TRUE(has(user_error([&] { numerator_of(json, laid, [] {}); }), "which must stay as it is"));
  }
}

}  // namespace
}  // namespace stoker::program
