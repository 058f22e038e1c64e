#include "program/chain.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "program/class_head.h"
#include "program/test_programs.h"

namespace stoker::program {
namespace {

/// A perceptron with a loss that autograd takes care of.
struct Perceptron {
  explicit Perceptron(std::string op = "aten.relu.default") : activation(std::move(op)) {}
  std::string activation;
  Writer w;
  int x = w.input("x", "feature", {70});
  int label = w.input("label", "label", {}, "int64");
  int hidden = w.node(
      activation,
      {slot(w.node("aten.linear.default", {slot(x), slot(w.parameter("a", {9, 70})), slot(w.parameter("b", {9}))}))});
  int y = w.node("aten.linear.default", {slot(hidden), slot(w.parameter("c", {5, 9}))});
  int loss = w.node("aten.cross_entropy_loss.default", {slot(y), slot(label), nullptr, 2});
  Json json() { return w.metric("argmax", y, label).train(loss); }
};

Tensors perceptron_tensors() {
  at::manual_seed(1);
  return {{"a", at::randn({9, 70})}, {"b", at::randn({9})}, {"c", at::randn({5, 9})}};
}

std::vector<at::Tensor> rows(int64_t n) { return {at::randn({n, 70}), at::randint(0, 5, {n}, at::kLong)}; }

bool is_chain(const Json& json) { return find_trunk(parse_program(json.dump())).has_value(); }

class ChainWith : public testing::TestWithParam<const char*> {};

TEST_P(ChainWith, EqualsTheExecutor) {
  at::set_num_threads(1);
  Perceptron p(GetParam());
  Bench chain(p.json(), perceptron_tensors(), make_step);
  if (!chain.step().runs_together()) GTEST_SKIP() << "no kernels for this machine";
  Bench executor(p.json(), perceptron_tensors());
  for (const int64_t n : {1, 2, 21, 0}) {
    const auto inputs = rows(n);
    const auto ours = chain.run(inputs), theirs = executor.run(inputs);
    EXPECT_NEAR(ours.numerator, theirs.numerator, 1e-5 * (1 + theirs.numerator));
    EXPECT_EQ(ours.denominator, theirs.denominator);
    EXPECT_EQ(ours.correct, theirs.correct);
    EXPECT_EQ(ours.counted, theirs.counted);
    EXPECT_TRUE(at::allclose(chain.gradient, executor.gradient, 1e-5, 1e-5));
  }
}

INSTANTIATE_TEST_SUITE_P(Activations, ChainWith,
                         testing::Values("aten.relu.default", "aten.sigmoid.default", "aten.tanh.default"),
                         [](const auto& op) { return std::to_string(op.index); });

TEST(Chain, MicroBatchesTogetherHaveTheBitsOfEachApart) {
  at::set_num_threads(1);
  Perceptron p;
  Bench bench(p.json(), perceptron_tensors(), make_step);
  if (!bench.step().runs_together()) GTEST_SKIP() << "no kernels for this machine";
  std::vector<MicroBatch> batches;
  std::vector<StepScalars> apart;
  std::vector<at::Tensor> gradients;
  for (const int64_t n : {21, 20, 1, 7}) {
    batches.push_back({rows(n), {}});
    apart.push_back(bench.run(batches.back().inputs));
    gradients.push_back(bench.gradient.clone());
  }
  auto left = at::full_like(bench.gradient, 1e30), right = left.clone();
  const auto together = bench.step().run_together(
      0, batches, {{0, 1, 1, 0}, {left.mutable_data_ptr<float>(), right.mutable_data_ptr<float>()}});
  for (size_t i = 0; i < apart.size(); ++i) EXPECT_EQ(together[i].numerator, apart[i].numerator);
  EXPECT_TRUE(at::equal(left, (gradients[0] + gradients[1]) + gradients[2]));
  EXPECT_TRUE(at::equal(right, gradients[3]));
}

TEST(Chain, ReluAfterTheLastLayer) {
  at::set_num_threads(1);
  Writer w;
  const int x = w.input("x", "feature", {1});
  const int layer = w.node("aten.linear.default", {slot(x), slot(w.parameter("a", {2, 1}))});
  const int y = w.node("aten.relu.default", {slot(layer)});
  const auto json = w.train(w.node("aten.sum.default", {slot(y)}));
  EXPECT_TRUE(is_chain(json));
  Bench bench(json, {{"a", floats({2, -3}).view({2, 1})}}, make_step);
  EXPECT_EQ(bench.run({at::full({1, 1}, 4.0F)}).numerator, 8);
  EXPECT_TRUE(at::equal(bench.gradient_of("a").flatten(), floats({4, 0})));
}

TEST(Chain, RowsOfAnotherWidthAreTheUsersError) {
  at::set_num_threads(1);
  Perceptron p;
  Bench bench(p.json(), perceptron_tensors(), make_step);
  if (!bench.step().runs_together()) GTEST_SKIP() << "no kernels for this machine";
  const auto text = user_error([&] { bench.run({at::ones({2, 69}), at::zeros({2}, at::kLong)}); });
  EXPECT_EQ(text, "layer0 (aten.linear.default): input x needs rows of 70 float32, and is [2, 69] of Float");
}

TEST(Trunk, APerceptronIsAChainAndItsLossTheHead) {
  Perceptron p;
  const auto trunk = find_trunk(parse_program(p.json().dump()));
  ASSERT_TRUE(trunk);
  ASSERT_EQ(trunk->layers.size(), 2u);
  EXPECT_EQ(trunk->layers[0].activation, Activation::relu);
  EXPECT_EQ(trunk->layers[1].activation, Activation::none);
  EXPECT_EQ(trunk->output, p.y);
  EXPECT_EQ(trunk->head.nodes.size(), 1u);
  EXPECT_TRUE(trunk->head.parameters.empty());
}

TEST(ClassHead, OnlyAPlainSumOfCrossEntropies) {
  const auto is_found = [](std::vector<Json> more, int reads = 1) {
    Writer w;
    const int x = w.input("x", "feature", {4}), label = w.input("label", "label", {}, "int64");
    const int y = w.node("aten.linear.default", {slot(x), slot(w.parameter("a", {3, 4}))});
    std::vector<Json> arguments{slot(y), slot(label)};
    std::ranges::copy(more, std::back_inserter(arguments));
    int loss = w.node("aten.cross_entropy_loss.default", arguments);
    if (reads > 1) loss = w.node("aten.add.Tensor", {slot(loss), slot(loss)});
    const auto trunk = find_trunk(parse_program(w.train(loss).dump()));
    const auto found = find_class_head(trunk.value());
    if (found) {
      EXPECT_TRUE(found->rest.nodes.empty());
    }
    return found.has_value();
  };
  EXPECT_TRUE(is_found({nullptr, 2}));
  EXPECT_TRUE(is_found({nullptr, 2, 7, 0.0}));
  EXPECT_FALSE(is_found({}));
  EXPECT_FALSE(is_found({nullptr, 1}));
  EXPECT_FALSE(is_found({nullptr, 2, -100, 0.1}));
  EXPECT_FALSE(is_found({nullptr, 2}, 2));
}

/// As eager masks or shifts a class: the loss reads the slot that was written into through a view.
TEST(Chain, LogitsThatAreWrittenIntoInPlaceAreTheExecutors) {
  at::set_num_threads(1);
  for (const char* write : {"aten.fill_.Scalar", "aten.sub_.Scalar"}) {
    Perceptron p;
    p.w.node(write, {slot(p.w.node("aten.select.int", {slot(p.y), 1, 0})), 5});
    const int loss = p.w.node("aten.cross_entropy_loss.default", {slot(p.y), slot(p.label), nullptr, 2});
    const Json json = p.w.metric("argmax", p.y, p.label).train(loss);
    Bench chosen(json, perceptron_tensors(), make_step), executor(json, perceptron_tensors());
    EXPECT_FALSE(chosen.step().runs_together());
    const auto inputs = rows(21);
    EXPECT_EQ(chosen.run(inputs).numerator, executor.run(inputs).numerator);
    EXPECT_TRUE(at::equal(chosen.gradient, executor.gradient));
  }
}

TEST(ClassHead, IgnoredRowsAndALabelThatIsNoClass) {
  at::set_num_threads(1);
  Perceptron p;
  Bench chain(p.json(), perceptron_tensors(), make_step), executor(p.json(), perceptron_tensors());
  auto inputs = rows(40);
  inputs[1].slice(0, 0, 40, 3).fill_(-100);
  EXPECT_NEAR(chain.run(inputs).numerator, executor.run(inputs).numerator, 1e-4);
  EXPECT_TRUE(at::allclose(chain.gradient, executor.gradient, 1e-5, 1e-5));
  inputs[1][7] = 5;
  EXPECT_EQ(user_error([&] { chain.run(inputs); }), user_error([&] { executor.run(inputs); }));
}

TEST(Trunk, InferenceTakesWhatItCan) {
  Writer w;
  const int x = w.input("x", "feature", {4});
  const int y = w.node("aten.linear.default", {slot(x), slot(w.parameter("a", {3, 4}))});
  const int scaled = w.node("aten.mul.Tensor", {slot(y), slot(w.buffer("mean", {3}, "mean"))});
  const int last = w.node("aten.linear.default", {slot(scaled), slot(w.parameter("b", {2, 3}))});
  const auto trunk = find_trunk(parse_program(w.output(last).infer().dump()));
  ASSERT_TRUE(trunk);
  EXPECT_EQ(trunk->layers.size(), 1u);
  EXPECT_EQ(trunk->output, y);
  EXPECT_EQ(trunk->head.nodes.size(), 2u);
  ASSERT_EQ(trunk->head.parameters.size(), 1u);
  EXPECT_EQ(trunk->head.parameters[0].name, "b");
}

TEST(Trunk, NoneWhereItsInsideIsReadElsewhere) {
  Perceptron p;
  p.w.output(p.hidden);
  EXPECT_FALSE(is_chain(p.json()));
}

TEST(Trunk, NoneWhereAParameterIsTied) {
  Writer w;
  const int x = w.input("x", "feature", {2});
  const int tied = w.parameter("tied", {2, 2});
  const int once = w.node("aten.linear.default", {slot(x), slot(tied)});
  EXPECT_FALSE(is_chain(w.train(w.node("aten.linear.default", {slot(once), slot(tied)}))));
}

TEST(Trunk, NoneWhereAParameterIsTheHeads) {
  Perceptron p;
  const int scaled = p.w.node("aten.mul.Tensor", {slot(p.loss), slot(p.w.parameter("scale", {}))});
  EXPECT_FALSE(is_chain(p.w.train(scaled)));
}

TEST(Trunk, NoneWithBuffersOrLayersThatNoCacheHolds) {
  Perceptron p;
  p.w.buffer("mean", {9}, "mean");
  EXPECT_FALSE(is_chain(p.json()));
  Writer w;
  const int x = w.input("x", "feature", {1024});
  const int y = w.node("aten.linear.default", {slot(x), slot(w.parameter("large", {1024, 1024}))});
  EXPECT_FALSE(is_chain(w.train(w.node("aten.sum.default", {slot(y)}))));
}

}  // namespace
}  // namespace stoker::program
