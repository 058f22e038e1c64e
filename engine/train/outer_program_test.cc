#include "train/outer_program.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "program/test_programs.h"

namespace stoker::train {
namespace {

using optim::Extent;
using optim::kBlock;
using program::slot;

// safetensors of "half": [0.5], and of nothing
const std::string kHalf =
    "QAAAAAAAAAB7ImhhbGYiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzFdLCJkYXRhX29mZnNldHMiOlswLDRdfX0gICAgICAgAAAAPw==";
const std::string kNothing = "CAAAAAAAAAB7fSAgICAgIA==";

/// velocity = half * velocity + delta + 1; center + velocity.
program::Json momentum() {
  program::Writer w;
  const int center = w.input("center", "feature", {}), delta = w.input("delta", "feature", {});
  const int velocity = w.input("state.velocity", "feature", {}), half = w.constant("half", {1});
  const int kept = w.node("aten.mul.Tensor", {slot(velocity), slot(half)});
  const int more = w.node("aten.add.Tensor", {slot(delta), 1.0});
  const int after = w.node("aten.add.Tensor", {slot(kept), slot(more)});
  return w.output(w.node("aten.add.Tensor", {slot(center), slot(after)})).output(after).infer();
}

OuterSpec spec() { return {{"velocity"}, momentum().dump(), kHalf}; }

/// Three parameters, with padding between them and behind.
optim::Arena arena() { return optim::Arena({{"a", {1500}}, {"b", {3}}, {"c", {700}}}); }

struct Memory {
  explicit Memory(const optim::Arena& arena) : gradient(arena.floats()), weights(gradient), velocity(gradient) {
    for (int p = 0; p < 3; ++p)
      for (int64_t i = arena.extent(p).begin; i < arena.extent(p).end; ++i) {
        gradient[i] = 0.001F * static_cast<float>(i % 97) - 0.03F;
        weights[i] = 0.01F * static_cast<float>(i % 31);
        velocity[i] = 0.25F * static_cast<float>(i % 7);
      }
  }
  /// In place, range by range.
  void update(const optim::Optimizer& outer, const std::vector<Extent>& ranges, float scale = 1) {
    optim::UpdateBuffers buffers;
    buffers.gradient = gradient.data();
    buffers.gradient_scale = scale;
    buffers.weights_in = buffers.weights_out = weights.data();
    buffers.state_in = {velocity.data()};
    buffers.state_out = {velocity.data()};
    for (const auto& range : ranges) outer.update(range, 1, buffers);
  }
  std::vector<float> gradient, weights, velocity;
};

std::string refusal(const OuterSpec& spec) {
  try {
    make_outer_program(spec, arena());
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "none";
}

}  // namespace

TEST(OuterProgram, MakesWeightsAndStateOfTheNegativeGradient) {
  const auto all = arena();
  const auto outer = make_outer_program(spec(), all);
  EXPECT_EQ(outer->state_names(), std::vector<std::string>{"velocity"});
  Memory made(all);
  const Memory before = made;
  made.update(*outer, {{0, all.floats()}}, 0.5F);
  for (int p = 0; p < 3; ++p)
    for (int64_t i = all.extent(p).begin; i < all.extent(p).end; ++i) {
      const float velocity = before.velocity[i] * 0.5F + (before.gradient[i] * -0.5F + 1);
      EXPECT_EQ(made.velocity[i], velocity) << i;
      EXPECT_EQ(made.weights[i], before.weights[i] + velocity) << i;
    }
}

TEST(OuterProgram, PaddingStaysZeroWhateverTheFunctionMakesOfZeros) {
  const auto all = arena();
  Memory made(all);
  made.update(*make_outer_program(spec(), all), {{0, kBlock}, {kBlock, all.floats()}});
  for (const auto& part : all.padding())
    for (int64_t i = part.begin; i < part.end; ++i)
      EXPECT_EQ(std::tuple(made.weights[i], made.velocity[i]), std::tuple(0, 0)) << i;
}

TEST(OuterProgram, AnyCutIntoBlocksGivesTheSameBits) {
  const auto all = arena();
  ASSERT_EQ(all.blocks(), 3);
  const auto outer = make_outer_program(spec(), all);
  Memory whole(all), cut(all), none(all);
  whole.update(*outer, {{0, 3 * kBlock}});
  cut.update(*outer, {{2 * kBlock, 3 * kBlock}, {0, 2 * kBlock}});
  EXPECT_EQ(whole.weights, cut.weights);
  EXPECT_EQ(whole.velocity, cut.velocity);
  none.update(*outer, {{kBlock, kBlock}});
  EXPECT_EQ(none.weights, Memory(all).weights);
}

TEST(OuterProgram, ProgramsOfAnotherKindAreRefused) {
  EXPECT_EQ(refusal(spec()), "none");
  auto other = spec();
  other.state = {"velocity", "square"};
  EXPECT_EQ(refusal(other), "the strategy's outer is no program of center, delta and 2 states");
  other = spec();
  other.constants = kNothing;
  EXPECT_EQ(refusal(other), "the weights have no tensor half");
  other.constants = "?";
  EXPECT_EQ(refusal(other), "this is no base64 text");
}

TEST(OuterProgram, AnotherShapeIsAnErrorAndNoWriteBeyondTheBlock) {
  program::Writer w;
  const int center = w.input("center", "feature", {});
  w.input("delta", "feature", {});
  const int sum = w.node("aten.sum.default", {slot(center)});
  const auto all = arena();
  const auto outer = make_outer_program({{}, w.output(sum).infer().dump(), kNothing}, all);
  std::vector<float> floats(all.floats());
  optim::UpdateBuffers buffers;
  buffers.gradient = buffers.weights_in = floats.data();
  buffers.weights_out = floats.data();
  EXPECT_THROW(outer->update({0, kBlock}, 1, buffers), Error);
}

}  // namespace stoker::train
