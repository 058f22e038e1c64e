#include "optim/optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"

namespace stoker::optim {
namespace {

// Every loop of the kernels: each case has a group of its own kind and a plain one.
const char* const kCases[] = {
    R"({"name": "sgd", "groups": [{"lr": 0.1}, {"lr": 0.01}]})",
    R"({"name": "sgd", "groups": [{"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}, {"lr": 0.01, "weight_decay": 0.1}]})",
    R"({"name": "sgd", "groups": [{"lr": 0.1, "momentum": 0.9, "nesterov": true}, {"lr": 0.01, "maximize": true}]})",
    R"({"name": "sgd", "groups": [{"lr": 0.1, "momentum": 0.5, "dampening": 0.3}, {"lr": 0.1, "momentum": 0.9}]})",
    R"({"name": "adam", "groups": [{}, {"lr": 0.01, "maximize": true}]})",
    R"({"name": "adam", "groups": [{"weight_decay": 0.1, "amsgrad": true}, {"betas": [0.3, 0.9]}]})",
    R"({"name": "adam", "groups": [{"betas": [0.4, 0.9], "amsgrad": true}, {"eps": 0, "weight_decay": 0.5}]})",
    R"({"name": "adamw", "groups": [{}, {"lr": 0.01, "weight_decay": 0.5, "amsgrad": true}]})",
    R"({"name": "rmsprop", "groups": [{"centered": true, "momentum": 0.9}, {"weight_decay": 0.1}]})",
    R"({"name": "rmsprop", "groups": [{"centered": true, "alpha": 0.3}, {"momentum": 0.5, "maximize": true}]})",
    R"({"name": "adagrad", "groups": [{"lr_decay": 0.1, "initial_accumulator_value": 0.5}, {"weight_decay": 0.1}]})",
    R"({"name": "adadelta", "groups": [{}, {"rho": 0.5, "eps": 0.01, "weight_decay": 0.1}]})",
    R"({"name": "adamax", "groups": [{}, {"weight_decay": 0.1, "betas": [0.3, 0.9]}]})",
    R"({"name": "nadam", "groups": [{}, {"weight_decay": 0.1, "decoupled_weight_decay": true}]})",
    R"({"name": "radam", "groups": [{"betas": [0.9, 0.5]}, {"weight_decay": 0.1, "lr": 0.01}]})",
    R"({"name": "lion", "groups": [{"lr": 0.01}, {"weight_decay": 0.1, "betas": [0.5, 0.9]}]})",
    R"({"name": "lars", "groups": [{"lr": 10}, {"weight_decay": 0.1, "adapt": false}]})",
    R"({"name": "adam", "groups": [{}, {}], "average": {"decay": 0.3, "start": 2, "every": 2}})",
    R"({"name": "lamb", "groups": [{}, {"weight_decay": 0.1, "betas": [0.5, 0.9], "maximize": true}]})",
    R"({"name": "keras_sgd", "groups": [{"momentum": 0.9, "nesterov": true}, {"weight_decay": 0.1}]})",
    R"({"name": "keras_sgd", "groups": [{"momentum": 0.9}, {}], "clip": {"norm": 0.5, "by_parameter": true}})",
    R"({"name": "keras_adam", "groups": [{"amsgrad": true}, {"weight_decay": 0.1, "maximize": true}]})",
    R"({"name": "keras_adam", "groups": [{}, {}], "clip": {"norm": 0.5, "by_parameter": false}})",
    R"({"name": "keras_rmsprop", "groups": [{"centered": true, "momentum": 0.9}, {"weight_decay": 0.1}]})",
    R"({"name": "keras_rmsprop", "groups": [{"centered": true}, {"momentum": 0.9}]})",
    R"({"name": "keras_adagrad", "groups": [{"initial_accumulator_value": 0.1}, {}]})",
    R"({"name": "keras_adadelta", "groups": [{"rho": 0.95, "eps": 1e-7}, {"weight_decay": 0.1}]})",
    R"({"name": "keras_adamax", "groups": [{}, {"weight_decay": 0.1}]})",
    R"({"name": "keras_nadam", "groups": [{}, {"weight_decay": 0.1}]})",
    R"({"name": "keras_lion", "groups": [{}, {"weight_decay": 0.1}]})",
    R"({"name": "keras_ftrl", "groups": [{"initial_accumulator_value": 0.1, "l1": 0.01, "beta": 0.1}, {"l2": 0.1, "l2_shrinkage": 0.1}]})",
    R"({"name": "keras_lamb", "groups": [{}, {"weight_decay": 0.1}]})",
    R"({"name": "adafactor", "groups": [{}, {"weight_decay": 0.1, "d": 2, "maximize": true}]})",
    R"({"name": "keras_adafactor", "groups": [{}, {"weight_decay": 0.1, "epsilons": [1e-30, 1e-3]}]})",
};

const Arena& arena() {
  static const Arena made({{"a", {13, 7}, 0},
                           {"b", {5}, 1},
                           {"c", {1500}, 1},
                           {"d", {1}, 0},
                           {"e", {10, 300}, 1, {1, 0}},
                           {"f", {4, 3, 2, 5}, 0, {0, 3, 1, 2}}});
  return made;
}

std::vector<Isa> here() {
  std::vector<Isa> all{Isa::portable};
  if (best_isa() >= Isa::avx2) all.push_back(Isa::avx2);
  if (best_isa() >= Isa::avx512) all.push_back(Isa::avx512);
  return all;
}

using Buffer = std::vector<float>;

/// Of more than one tile, which several measure.
const Arena& large_arena() {
  static const Arena made({{"a", {300, 400}, 0},
                           {"b", {3, 40000}, 1, {1, 0}},
                           {"c", {3, 40000}, 0},
                           {"d", {90, 80, 3, 3}, 1, {2, 3, 1, 0}},
                           {"e", {200, 100, 1, 1}, 1}});
  return made;
}

/// Random numbers at the parameters, zeros in the padding.
Buffer random_buffer(unsigned seed, const Arena& where = arena()) {
  std::mt19937 bits(seed);
  std::normal_distribution<float> normal;
  Buffer values(where.floats(), 0.0f);
  for (int i = 0; i < static_cast<int>(where.parameters().size()); ++i) {
    for (int64_t at = where.extent(i).begin; at < where.extent(i).end; ++at) values[at] = normal(bits);
  }
  return values;
}

struct Trained {
  Buffer weights;
  std::vector<Buffer> state;
  friend bool operator==(const Trained& a, const Trained& b) {
    const auto same = [](const Buffer& x, const Buffer& y) {
      return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
    };
    if (!same(a.weights, b.weights) || a.state.size() != b.state.size()) return false;
    for (size_t i = 0; i < a.state.size(); ++i) {
      if (!same(a.state[i], b.state[i])) return false;
    }
    return true;
  }
};

/// A few steps over the ranges between the cuts; new values beside the old ones or over them.
Trained train(const char* options, Isa isa, const std::vector<int64_t>& cuts, bool in_place, float scale = 0.5f,
              const Arena& where = arena()) {
  const auto optimizer = make_optimizer(parse_optimizer(options), where, isa);
  Trained now{random_buffer(1, where), std::vector<Buffer>(optimizer->state_buffers(), Buffer(where.floats(), 0.0f))};
  std::vector<double> numbers(optimizer->numbers());
  for (int64_t step = 1; step <= 5; ++step) {
    const Buffer gradient = random_buffer(100 + static_cast<unsigned>(step), where);
    Trained next = now;
    Trained& from = in_place ? next : now;
    UpdateBuffers buffers{gradient.data(), scale, from.weights.data(), next.weights.data(), {}, {}};
    for (auto& state : from.state) buffers.state_in.push_back(state.data());
    for (auto& state : next.state) buffers.state_out.push_back(state.data());
    std::vector<double> sums(optimizer->sums());
    const bool blocks = std::ranges::all_of(cuts, [](int64_t cut) { return cut % kBlock == 0; });
    const auto parts = blocks ? cuts : std::vector<int64_t>{0, where.floats()};
    const auto found =
        measured(*optimizer, {numbers.data(), 0, sums.data(), step}, [&](int round, const std::vector<double>& so_far) {
          buffers.numbers = so_far.data();
          for (size_t i = 0; i + 1 < parts.size(); ++i)
            optimizer->measure(round, {parts[i], parts[i + 1]}, step, buffers, sums.data());
        });
    if (!found.factors.empty()) buffers.factors = found.factors.data();
    numbers = found.numbers;
    buffers.numbers = numbers.data();
    for (size_t i = 0; i + 1 < cuts.size(); ++i) optimizer->update({cuts[i], cuts[i + 1]}, step, buffers);
    now = next;
  }
  return now;
}

TEST(Optimizer, SameBitsOnEveryIsaAndForEveryCut) {
  const int64_t end = arena().floats();
  for (const char* options : kCases) {
    const Trained whole = train(options, Isa::portable, {0, end}, false);
    for (const Isa isa : here()) {
      EXPECT_EQ(train(options, isa, {0, end}, false), whole) << options;
      EXPECT_EQ(train(options, isa, {0, end}, true), whole) << options;
      EXPECT_EQ(train(options, isa, {0, kBlock, 2 * kBlock, end}, true), whole) << options;
      EXPECT_EQ(train(options, isa, {0, 1, 3, 50, 1023, 1029, 2000, 2000, end}, false), whole) << options;
    }
  }
}

TEST(Optimizer, LargeMatricesThatSeveralMeasureHaveTheSameBits) {
  const int64_t end = large_arena().floats();
  for (const char* name : {"adafactor", "keras_adafactor", "lamb", "lars"}) {
    const auto options = std::string(R"({"name": ")") + name + R"(", "groups": [{}, {"lr": 0.01}]})";
    const Trained whole = train(options.c_str(), Isa::portable, {0, end}, false, 0.5f, large_arena());
    const std::vector<int64_t> cuts{0, 16 * kBlock, 17 * kBlock, 150 * kBlock, 300 * kBlock, end};
    for (const Isa isa : here())
      EXPECT_EQ(train(options.c_str(), isa, cuts, true, 0.5f, large_arena()), whole) << options;
  }
}

TEST(Optimizer, PaddingStaysZeroEvenWithoutEpsAndWithAnInfiniteScale) {
  for (const char* options : kCases) {
    for (const float scale : {0.5f, INFINITY}) {
      const Trained run = train(options, best_isa(), {0, 700, arena().floats()}, true, scale);
      Buffer mask = random_buffer(1);
      for (size_t i = 0; i < mask.size(); ++i) {
        if (mask[i] != 0) continue;
        ASSERT_EQ(run.weights[i], 0.0f) << options << " at " << i;
        for (const auto& state : run.state) ASSERT_EQ(state[i], 0.0f) << options << " at " << i;
      }
    }
  }
}

TEST(Optimizer, EveryParameterMoves) {
  const Buffer before = random_buffer(1);
  for (const char* options : kCases) {
    const Trained run = train(options, best_isa(), {0, arena().floats()}, true);
    int still = 0;  // a few steps may cancel out by chance
    for (size_t i = 0; i < before.size(); ++i) still += before[i] != 0 && run.weights[i] == before[i];
    EXPECT_LT(still, 10) << options;
  }
}

TEST(Optimizer, WithoutMeasuresFactorsAreOne) {
  const std::string groups = R"("groups": [{"lr": 0.1}, {"lr": 0.01}])";
  const Buffer gradient = random_buffer(2), weights = random_buffer(1);
  const auto updated = [&](const std::string& json) {
    const auto optimizer = make_optimizer(parse_optimizer(json), arena(), best_isa());
    Buffer out = weights;
    optimizer->update({0, arena().floats()}, 1, {gradient.data(), 1, weights.data(), out.data(), {}, {}});
    return out;
  };
  const auto clipped = R"({"name": "keras_sgd", "clip": {"norm": 0.1, "by_parameter": true}, )" + groups + "}";
  EXPECT_EQ(updated(clipped), updated(R"({"name": "keras_sgd", )" + groups + "}"));
}

TEST(Optimizer, KerasAdamHasEpsBesideTheUncorrectedRoot) {
  const Arena one({{"w", {1}, 0}});
  const auto json = R"({"name": "keras_adam", "groups": [{"lr": 0.1, "eps": 0.5, "betas": [0.9, 0.99]}]})";
  const auto adam = make_optimizer(parse_optimizer(json), one, best_isa());
  Buffer weights(one.floats()), gradient(one.floats()), mean(one.floats()), square(one.floats());
  weights[0] = 1;
  gradient[0] = 2;
  adam->update(
      {0, one.floats()}, 1,
      {gradient.data(), 1, weights.data(), weights.data(), {mean.data(), square.data()}, {mean.data(), square.data()}});
  // m = 0.2, v = 0.04; alpha = 0.1 sqrt(1 - 0.99) / (1 - 0.9) = 0.1; 0.1 * 0.2 / (0.2 + 0.5)
  EXPECT_NEAR(weights[0], 1 - 0.02 / 0.7, 1e-6);
}

TEST(Optimizer, OneAdamStepByHand) {
  const Arena one({{"w", {1}, 0}});
  const auto adam = make_optimizer(parse_optimizer(R"({"name": "adam", "groups": [{"lr": 0.1}]})"), one, best_isa());
  EXPECT_EQ(adam->state_names(), (std::vector<std::string>{"exp_avg", "exp_avg_sq"}));
  Buffer weights(one.floats()), gradient(one.floats()), mean(one.floats()), square(one.floats());
  weights[0] = 1;
  gradient[0] = 4;
  adam->update({0, one.floats()}, 1,
               {gradient.data(),
                0.5f,
                weights.data(),
                weights.data(),
                {mean.data(), square.data()},
                {mean.data(), square.data()}});
  EXPECT_NEAR(mean[0], 0.2, 1e-7);
  EXPECT_NEAR(square[0], 0.004, 1e-8);
  EXPECT_NEAR(weights[0], 0.9, 1e-6);  // the first step is lr against the gradient's sign
}

TEST(BlockNorms, SameBitsOnEveryIsaAndCloseToTheSum) {
  const Buffer gradient = random_buffer(3);
  std::vector<double> want(arena().blocks());
  kernels(Isa::portable).block_norms(gradient.data(), 0.3f, arena().blocks(), want.data());
  for (const Isa isa : here()) {
    std::vector<double> norms(arena().blocks());
    kernels(isa).block_norms(gradient.data(), 0.3f, arena().blocks(), norms.data());
    EXPECT_EQ(norms, want);
  }
  std::vector<double> tail(arena().blocks() - 1);
  block_norms({kBlock, arena().floats()}, gradient.data(), 0.3f, tail.data());
  for (size_t b = 0; b < want.size(); ++b) {
    double sum = 0;
    for (int64_t i = 0; i < kBlock; ++i) sum += std::pow(0.3 * gradient[b * kBlock + i], 2);
    EXPECT_NEAR(want[b], sum, 1e-6 * sum);
  }
  EXPECT_EQ(tail, std::vector<double>(want.begin() + 1, want.end()));
}

TEST(ClipFactor, ShrinksOnlyAndKeepsNan) {
  EXPECT_EQ(clip_factor(0, 1), 1.0f);
  EXPECT_EQ(clip_factor(0.5, 1), 1.0f);
  EXPECT_NEAR(clip_factor(4, 1), 0.25, 1e-6);
  EXPECT_EQ(clip_factor(INFINITY, 1), 0.0f);
  EXPECT_TRUE(std::isnan(clip_factor(NAN, 1)));
}

std::string complaint(const std::string& json) {
  try {
    parse_optimizer(json);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "no error";
}

TEST(ParseOptimizer, DefaultsAreTorchs) {
  const auto adamw = parse_optimizer(R"({"name": "adamw", "groups": [{}]})");
  EXPECT_EQ(adamw.groups[0].weight_decay, 0.01);
  EXPECT_EQ(adamw.groups[0].lr, 0.001);
  EXPECT_EQ(adamw.groups[0].beta2, 0.999);
  EXPECT_EQ(parse_optimizer(R"({"name": "adam", "groups": [{}]})").groups[0].weight_decay, 0);
}

TEST(ParseOptimizer, WhatItDoesNotKnowIsNamed) {
  EXPECT_EQ(complaint(R"({"name": "lyon", "groups": [{}]})"),
            "unknown optimizer 'lyon', expected one of adadelta, adafactor, adagrad, adam, adamax, adamw, lamb, lars, "
            "lbfgs, lion, nadam, radam, rmsprop, sgd");
  EXPECT_EQ(complaint(R"({"name": "adam", "groups": [{"momentum": 0.9}]})"),
            "optimizer 'adam' has no option 'momentum'");
  EXPECT_EQ(complaint(R"({"name": "sgd", "groups": [{"lr": "fast"}]})"),
            "optimizer 'sgd': option 'lr' cannot be \"fast\"");
  EXPECT_EQ(complaint(R"({"name": "sgd", "groups": [{"lr": -1}]})"), "optimizer: lr is -1, expected zero or more");
  EXPECT_EQ(complaint(R"({"name": "adam", "groups": [{"betas": [0.9, 1]}]})"),
            "optimizer: betas[1] is 1, expected at least 0 and below 1");
  EXPECT_EQ(complaint(R"({"name": "adam", "groups": [{"betas": 0.9}]})"), "optimizer: betas has 1 values, expected 2");
  EXPECT_EQ(complaint(R"({"name": "sgd", "groups": [{"nesterov": true}]})"),
            "optimizer: nesterov needs a momentum above 0 and no dampening");
  EXPECT_EQ(complaint(R"({"name": "sgd", "groups": []})"), "optimizer 'sgd' has no parameter group");
}

}  // namespace
}  // namespace stoker::optim
