#include "program/inference.h"

#include <gtest/gtest.h>

#include <thread>

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

TEST(Inference, InputsThatDoNotFit) {
  const auto weights = to_safetensors(kTensors);
  const Inference inference(model().dump(), weights);
  const auto error = [&](const std::vector<at::Tensor>& inputs) { return user_error([&] { inference.run(inputs); }); };
  EXPECT_TRUE(has(error({}), "the program has 1 inputs, and 0 are given"));
  EXPECT_TRUE(has(error({at::ones({2, 4})}), "input x has the shape [2, 4], and the program wants rows of [3]"));
  EXPECT_TRUE(has(error({at::ones({2, 3}, at::kDouble)}), "input x is float64, and the program wants float32"));
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
