#include "program/inference.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/level.h"
#include "program/test_programs.h"

namespace stoker::program {
namespace {

Json model() {
  Writer w;
  const int x = w.input("x", "feature", {3});
  const int weight = w.parameter("weight", {2, 3});
  const int shift = w.constant("shift", {2});
  const int y = w.node("aten.linear.default", {slot(x), slot(weight)});
  const int shifted = w.node("aten.add.Tensor", {slot(y), slot(shift)});
  return w.output(shifted).output(y).infer();
}

const Tensors kTensors = {{"weight", at::arange(6, at::kFloat).view({2, 3})}, {"shift", floats({100, 200})}};

TEST(Inference, OutputsInOrderForAnyNumberOfRows) {
  const auto weights = to_safetensors(kTensors);
  const Inference inference(model().dump(), weights);
  for (const int64_t rows : {0, 1, 5}) {
    const auto outputs = inference.run({at::ones({rows, 3})});
    ASSERT_EQ(outputs.size(), 2U);
    EXPECT_TRUE(at::equal(outputs[0], floats({103, 212}).expand({rows, 2})));
    EXPECT_TRUE(at::equal(outputs[1], floats({3, 12}).expand({rows, 2})));
    EXPECT_FALSE(outputs[0].requires_grad());
  }
}

TEST(Inference, AProgramThatWritesIntoItsWeightsIsRefusedAndTheyStay) {
  for (const bool through_a_view : {false, true}) {
    Writer w;
    const int x = w.input("x", "feature", {3});
    const int weight = w.parameter("weight", {2, 3});
    const int place = through_a_view ? w.node("aten.view.default", {slot(weight), {6}}) : weight;
    w.node("aten.add_.Tensor", {slot(place), 1});
    const int y = w.node("aten.linear.default", {slot(x), slot(weight)});
    const auto weights = to_safetensors({{"weight", at::ones({2, 3})}});
    const Inference inference(w.output(y).infer().dump(), weights);
    EXPECT_TRUE(has(user_error([&] { inference.run({at::ones({2, 3})}); }), "which must stay as it is"));
    EXPECT_EQ(weights, to_safetensors({{"weight", at::ones({2, 3})}}));
  }
}

TEST(Inference, WeightsThatLieCrookedAreCopied) {
  const auto file = to_safetensors(kTensors);
  Bytes crooked(file.size() + 1);
  std::copy(file.begin(), file.end(), crooked.begin() + 1);
  const Inference inference(model().dump(), ByteView(crooked).subspan(1));
  EXPECT_TRUE(at::equal(inference.run({at::ones({1, 3})})[1].flatten(), floats({3, 12})));
}

TEST(Inference, ManyThreadsAtOnce) {
  const auto weights = to_safetensors(kTensors);
  const Inference inference(model().dump(), weights);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const auto out = inference.run({at::full({2, 3}, static_cast<float>(t))})[1];
        wrong += !at::equal(out[1], floats({3, 12}) * t);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

/// Layers that the kernels of dense.h take, one that they do not, and a softmax.
Json mixed_model(bool with_head) {
  Writer w;
  const int x = w.input("x", "feature", {30});
  int y = w.node("aten.linear.default", {slot(x), slot(w.parameter("a", {70, 30})), slot(w.parameter("b", {70}))});
  y = w.node("aten.relu.default", {slot(y)});
  y = w.node("aten.linear.default", {slot(y), slot(w.parameter("c", {3, 70}))});
  if (!with_head) return w.output(y).infer();
  y = w.node("aten.linear.default", {slot(y), slot(w.parameter("wide", {700, 3}))});
  y = w.node("aten.tanh.default", {slot(y)});
  y = w.node("aten.linear.default", {slot(y), slot(w.parameter("back", {700, 700}))});
  return w.output(w.node("aten.softmax.int", {slot(y), 1})).infer();
}

Tensors mixed_tensors() {
  at::manual_seed(2);
  return {{"a", at::randn({70, 30})},
          {"b", at::randn({70})},
          {"c", at::randn({3, 70}) / 10},
          {"wide", at::randn({700, 3})},
          {"back", at::randn({700, 700}) / 30}};
}

at::Tensor expected(const Tensors& t, const at::Tensor& x, bool with_head) {
  const auto y = at::linear(at::relu(at::linear(x, t.at("a"), t.at("b"))), t.at("c"));
  return with_head ? at::softmax(at::linear(at::tanh(at::linear(y, t.at("wide"))), t.at("back")), 1) : y;
}

TEST(Inference, EqualsLibtorchForAnyNumberOfRows) {
  at::set_num_threads(1);
  const auto tensors = mixed_tensors();
  const auto weights = to_safetensors(tensors);
  for (const bool with_head : {false, true}) {
    const Inference inference(mixed_model(with_head).dump(), weights);
    for (const int64_t rows : {0, 1, 2, 255, 256, 257, 700}) {
      const auto x = at::randn({rows, 30});
      EXPECT_TRUE(at::allclose(inference.run({x})[0], expected(tensors, x, with_head), 1e-4, 1e-5)) << rows;
    }
  }
}

TEST(Inference, ARowHasTheSameBitsHoweverRowsAreCutAndOrdered) {
  at::set_num_threads(1);
  const auto weights = to_safetensors(mixed_tensors());
  for (const bool with_head : {false, true}) {
    const Inference inference(mixed_model(with_head).dump(), weights);
    const auto x = at::randn({601, 30});
    const auto whole = inference.run({x})[0];
    for (const int64_t rows : {1, 2, 7, 100, 256, 300}) {
      for (int64_t begin = 0; begin < 601; begin += rows) {
        const auto part = x.slice(0, begin, begin + rows);
        EXPECT_TRUE(at::equal(inference.run({part})[0], whole.slice(0, begin, begin + rows))) << begin << " " << rows;
      }
    }
    const auto order = at::randperm(601, at::kLong);
    EXPECT_TRUE(at::equal(inference.run({x.index_select(0, order)})[0], whole.index_select(0, order)));
  }
}

/// Products of a few columns and elementwise functions over sizes that are no whole vectors.
Json narrow_model(bool known_layers) {
  Writer w;
  const int x = w.input("x", "feature", {14});
  const auto layer = [&](int y, const char* name, const std::vector<int64_t>& shape) {
    const int weight = w.parameter(name, shape);
    if (known_layers) return w.node("aten.linear.default", {slot(y), slot(weight)});
    return w.node("aten.matmul.default", {slot(y), slot(w.node("aten.t.default", {slot(weight)}))});
  };
  int y = w.node("aten.gelu.default", {slot(x)});
  y = w.node("aten.tanh.default", {slot(layer(y, "a", {7, 14}))});
  y = w.node("aten.silu_.default", {slot(layer(y, "b", {3, 7}))});
  return w.output(y).infer();
}

TEST(Inference, NarrowLayersAndElementwiseFunctionsDoNotSeeARowsPlace) {
  at::set_num_threads(1);
  at::manual_seed(3);
  const Tensors tensors{{"a", at::randn({7, 14})}, {"b", at::randn({3, 7})}};
  const auto weights = to_safetensors(tensors);
  const auto x = at::randn({301, 14});
  const auto right = at::silu(at::linear(at::tanh(at::linear(at::gelu(x), tensors.at("a"))), tensors.at("b")));
  for (const bool known_layers : {true, false}) {
    for (const int64_t widest : {1, 1 << 18}) {
      auto json = narrow_model(known_layers);
      json["widest"] = widest;
      const Inference inference(json.dump(), weights);
      const auto whole = inference.run({x})[0];
      EXPECT_TRUE(at::allclose(whole, right, 1e-4, 1e-5));
      const auto order = at::randperm(301, at::kLong);
      EXPECT_TRUE(at::equal(inference.run({x.index_select(0, order)})[0], whole.index_select(0, order)));
      EXPECT_TRUE(at::equal(inference.run({x.slice(0, 100, 103)})[0], whole.slice(0, 100, 103)));
    }
  }
}

TEST(Inference, ACoupledProgramRunsOnAllRowsThatCome) {
  Writer w;
  const int x = w.input("x", "feature", {});
  auto json = w.output(w.node("aten.cumsum.default", {slot(x), 0})).infer();
  json["coupled"] = "Net (aten.cumsum.default)";
  const auto weights = to_safetensors({});
  const Inference inference(json.dump(), weights);
  EXPECT_EQ(inference.chunk_rows(), 0);
  EXPECT_TRUE(at::equal(inference.run({at::ones({600})})[0], at::arange(1, 601, at::kFloat)));
}

TEST(Inference, WideRowsRunFewAtOnceAndAPlainChainAllThatCome) {
  at::set_num_threads(1);
  const auto weights = to_safetensors(mixed_tensors());
  auto json = mixed_model(true);
  EXPECT_EQ(Inference(json.dump(), weights).chunk_rows(), 256);
  json["widest"] = 20000;
  EXPECT_EQ(Inference(json.dump(), weights).chunk_rows(), 32);
  json["widest"] = int64_t{1} << 40;
  EXPECT_EQ(Inference(json.dump(), weights).chunk_rows(), 4);
  if (dense_kernels(static_cast<int>(best_level()))) {
    EXPECT_EQ(Inference(mixed_model(false).dump(), weights).chunk_rows(), 0);
  }
}

TEST(Inference, AChainOfFrozenLayersIsOneToo) {
  at::set_num_threads(1);
  const auto weights = to_safetensors(mixed_tensors());
  auto json = mixed_model(false);
  const Inference trained(json.dump(), weights);
  for (auto& entry : json["parameters"])
    json["constants"].push_back(
        {{"dtype", "float32"}, {"name", entry["name"]}, {"slot", entry["slot"]}, {"shape", entry["shape"]}});
  json["parameters"] = Json::array();
  const Inference frozen(json.dump(), weights);
  EXPECT_EQ(frozen.chunk_rows(), trained.chunk_rows());
  const auto x = at::randn({300, 30});
  EXPECT_TRUE(at::equal(frozen.run({x})[0], trained.run({x})[0]));
}

TEST(Inference, SeveralThreadsPerOperatorGiveTheSameNumbers) {
  const auto tensors = mixed_tensors();
  const auto weights = to_safetensors(tensors);
  at::set_num_threads(2);
  const Inference inference(mixed_model(false).dump(), weights);
  at::set_num_threads(1);
  const auto x = at::randn({9, 30});
  EXPECT_TRUE(at::allclose(inference.run({x})[0], expected(tensors, x, false), 1e-5, 1e-5));
}

TEST(Inference, InputsThatDoNotFit) {
  const auto weights = to_safetensors(kTensors);
  const Inference inference(model().dump(), weights);
  const auto error = [&](const std::vector<at::Tensor>& inputs) { return user_error([&] { inference.run(inputs); }); };
  EXPECT_TRUE(has(error({}), "the program has 1 inputs, and 0 are given"));
  EXPECT_TRUE(has(error({at::ones({2, 4})}), "input x has the shape [2, 4], and the program wants rows of [3]"));
  EXPECT_TRUE(has(error({at::ones({2, 3}, at::kDouble)}), "input x is float64, and the program wants float32"));
}

TEST(Inference, InputsOfDifferentLengths) {
  Writer w;
  const int a = w.input("a", "feature", {}), b = w.input("b", "feature", {});
  const auto json = w.output(w.node("aten.add.Tensor", {slot(a), slot(b)})).infer();
  const auto weights = to_safetensors({});
  const Inference inference(json.dump(), weights);
  EXPECT_TRUE(at::equal(inference.run({at::ones({3}), at::ones({3})})[0], at::full({3}, 2.0F)));
  EXPECT_EQ(user_error([&] {
              inference.run({at::ones({3}), at::ones({2})});
            }),
            "input b has 2 rows, and input a has 3");
}

TEST(Inference, FilesThatDoNotFit) {
  const auto weights = to_safetensors({{"weight", at::zeros({2, 3})}});
  EXPECT_TRUE(has(user_error([&] { Inference(model().dump(), weights); }), "the weights have no tensor shift"));
  EXPECT_TRUE(has(user_error([&] { Inference(model().dump(), ByteView(weights).first(20)); }), "cut short"));
  EXPECT_TRUE(has(user_error([&] { Inference("{\"format\": \"stok", weights); }), "truncated"));
  Writer w;
  const int p = w.parameter("weight", {2, 3});
  const auto train = w.train(w.node("aten.sum.default", {slot(p)}));
  EXPECT_TRUE(has(user_error([&] { Inference(train.dump(), weights); }), "is for training"));
}

}  // namespace
}  // namespace stoker::program
