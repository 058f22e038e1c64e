#include "program/batch_norm.h"

#include <gtest/gtest.h>

#include "program/test_programs.h"

namespace stoker::program {
namespace {

constexpr int kChannels = 3;

/// A loss of what is normalised with weights and running statistics.
Json normalised(const std::vector<int64_t>& shape) {
  Writer w;
  const int x = w.input("x", "feature", shape), scale = w.parameter("scale", {kChannels});
  const int slope = w.parameter("slope", {kChannels}), shift = w.parameter("shift", {kChannels});
  const int mean = w.buffer("mean", {kChannels}, "mean"), variance = w.buffer("variance", {kChannels}, "mean");
  const Json wide = shape.size() == 1 ? Json({1, kChannels}) : Json({1, kChannels, 1});
  const int factor = w.node("aten.view.default", {slot(scale), wide});
  const int wave = w.node("aten.mul.Tensor", {slot(w.node("aten.sin.default", {slot(x)})), slot(factor)});
  const int scaled = w.node("aten.add.Tensor", {slot(x), slot(wave)});
  const int y = w.node("aten.batch_norm.default",
                       {slot(scaled), slot(slope), slot(shift), slot(mean), slot(variance), true, 0.1, 1e-5, false});
  const int weighted = w.node("aten.mul.Tensor", {slot(y), slot(x)});
  return w.train(w.node("aten.sum.default", {slot(w.node("aten.mul.Tensor", {slot(weighted), slot(y)}))}));
}

const Tensors kTensors = {{"scale", floats({1, -2, 0.5})},
                          {"slope", floats({2, 0.25, -1})},
                          {"shift", floats({0.1, 0.2, 0.3})},
                          {"mean", floats({5, 6, 7})},
                          {"variance", floats({1, 2, 3})}};

/// As if another micro-batch had the same rows.
std::unique_ptr<Step> twice(const Program& program, const optim::Arena& arena, const SafeTensors& constants) {
  return make_whole_batch_executor(program, arena, constants, [](int place, std::span<double> sums) {
    EXPECT_NE(place, 0);
    for (double& sum : sums) sum *= 2;
  });
}

std::unique_ptr<Step> alone(const Program& program, const optim::Arena& arena, const SafeTensors& constants) {
  return make_whole_batch_executor(program, arena, constants, [](int, std::span<double>) {});
}

at::Tensor rows(const std::vector<int64_t>& shape) {
  std::vector<int64_t> all{5};
  all.insert(all.end(), shape.begin(), shape.end());
  return at::arange(c10::multiply_integers(all), at::kFloat).view(all).sin() * 3 + 2;
}

void expect_close(const at::Tensor& found, const at::Tensor& wanted, const std::string& what) {
  EXPECT_TRUE(at::allclose(found, wanted, 1e-5, 1e-5)) << what << ": " << found << wanted;
}

}  // namespace

TEST(BatchNorm, HalfOfABatchHasWhatTheWholeHas) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{kChannels}, {kChannels, 11}}) {
    const auto x = rows(shape);
    Bench half(normalised(shape), kTensors, twice), whole(normalised(shape), kTensors);
    const auto of_half = half.run({x}), of_whole = whole.run({at::cat({x, x})});
    EXPECT_NEAR(2 * of_half.numerator, of_whole.numerator, 1e-4 * of_whole.numerator);
    for (const char* name : {"scale", "slope", "shift"})
      expect_close(2 * half.gradient_of(name), whole.gradient_of(name), name);
    for (const char* name : {"mean", "variance"}) expect_close(half.buffer_after(name), whole.buffer_after(name), name);
  }
}

TEST(BatchNorm, AMicroBatchThatIsTheBatchGoesByItself) {
  const auto x = rows({kChannels});
  Bench by_sums(normalised({kChannels}), kTensors, alone), by_torch(normalised({kChannels}), kTensors);
  EXPECT_NEAR(by_sums.run({x}).numerator, by_torch.run({x}).numerator, 1e-3);
  expect_close(by_sums.gradient, by_torch.gradient, "gradient");
}

TEST(BatchNorm, OneNumberOfAChannelIsTooFew) {
  Bench bench(normalised({kChannels}), kTensors, alone);
  EXPECT_TRUE(has(user_error([&] { bench.run({rows({kChannels}).narrow(0, 0, 1)}); }), "more than one number"));
}

TEST(BatchNorm, TheWidestSaysHowMuchRoomSumsTake) {
  EXPECT_EQ(batch_norm_channels(parse_program(normalised({kChannels}).dump())), kChannels);
  auto bare = normalised({kChannels});
  for (auto& node : bare["nodes"])
    if (node["op"] == "aten.batch_norm.default")
      for (int i = 1; i < 5; ++i) node["args"][i] = nullptr;
  EXPECT_TRUE(has(user_error([&] { batch_norm_channels(parse_program(bare.dump())); }), "how many channels"));
}

}  // namespace stoker::program
