#include "train/fingerprint.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "base/fault.h"
#include "collective/testing.h"
#include "program/test_programs.h"
#include "train/trainer.h"

namespace stoker::train {
namespace {

using program::slot;
using program::Writer;

/// An embedding, batch norm, dropout, three classes.
nlohmann::json network(int rows_of_table) {
  Writer w;
  const int x = w.input("x", "feature", {6}), word = w.input("word", "feature", {}, "int64");
  const int label = w.input("label", "label", {}, "int64");
  const int table = w.parameter("table", {rows_of_table, 6}), weight = w.parameter("weight", {3, 6});
  const int mean = w.buffer("mean", {6}, "mean"), var = w.buffer("var", {6}, "mean");
  const int looked_up = w.node("aten.embedding.default", {slot(table), slot(word)});
  const int sum = w.node("aten.add.Tensor", {slot(x), slot(looked_up)});
  const int normed =
      w.node("aten.batch_norm.default", {slot(sum), nullptr, nullptr, slot(mean), slot(var), true, 0.1, 1e-5, false});
  const int dropped = w.node("aten.dropout.default", {slot(normed), 0.5, true});
  const int y = w.node("aten.linear.default", {slot(dropped), slot(weight)});
  return w.train(w.node("aten.cross_entropy_loss.default", {slot(y), slot(label), nullptr, 2}));
}

Bytes initial(int rows_of_table) {
  const auto table = at::arange(rows_of_table * 6, at::kFloat).view({rows_of_table, 6}) / 10;
  const auto weight = at::arange(18, at::kFloat).view({3, 6}).sin();
  return program::to_safetensors(
      {{"table", table}, {"weight", weight}, {"mean", at::zeros({6})}, {"var", at::ones({6})}});
}

TrainSpec spec(int shards, int rows_of_table = 2) {
  TrainSpec spec;
  spec.program = network(rows_of_table).dump();
  spec.optimizer = optim::parse_optimizer(R"({"name": "adam", "groups": [{"lr": 0.01}]})");
  spec.shards = shards;
  return spec;
}

/// What a gang of threads has made after three steps, each rank with a shard; with and without fingerprints.
Bytes trained(int ranks, bool with_fingerprint, std::vector<gang::Fingerprint>& told) {
  const TrainSpec what = spec(ranks);
  Bytes weights;
  told.resize(ranks);
  collective::testing::run_groups({.size = ranks}, [&](collective::Group& group) {
    Trainer trainer(what, initial(2));
    if (with_fingerprint) told[group.rank()] = trainer.fingerprint(16);
    std::vector<int> owners(ranks);
    std::iota(owners.begin(), owners.end(), 0);
    trainer.join(group, owners, true, [&](auto&) { return trainer.begin_with([] { return initial(2); }); });
    const program::Program program = program::parse_program(what.program);
    PhaseTimes times;
    for (uint64_t s = 0; s < 3; ++s) {
      trainer.step(
          {0, s, std::vector<bool>(ranks, true), 8 * ranks},
          {[](int64_t, int) { return 8; }, [&](int64_t, int, int64_t) { return canned_inputs(program, 8); }}, [] {},
          times);
    }
    if (group.rank() == 0) weights = trainer.weights(0);
    EXPECT_EQ(trainer.runs(), 3);
    trainer.leave();
  });
  return weights;
}

}  // namespace

TEST(Fingerprint, IsTheSameInEachThreadAndLeavesNoTrace) {
  std::vector<gang::Fingerprint> told, none;
  const auto generator = at::detail::getDefaultCPUGenerator().get_state();
  const Bytes weights = trained(3, true, told);
  EXPECT_TRUE(at::equal(at::detail::getDefaultCPUGenerator().get_state(), generator));
  for (const auto& fingerprint : told) {
    EXPECT_EQ(fingerprint.digest, told[0].digest);
    EXPECT_EQ(fingerprint.error, "");
  }
  EXPECT_NE(told[0].digest, Hash128{});
  EXPECT_EQ(weights, trained(3, false, none)) << "parameters, buffers, counters and random numbers are what they were";
}

TEST(Fingerprint, KernelsThatAreABitOffHaveAnother) {
  const TrainSpec what = spec(1);
  Trainer trainer(what, initial(2));
  const auto right = trainer.fingerprint(16);
  EXPECT_EQ(trainer.fingerprint(16).digest, right.digest);
  if (!fault::kPossible) GTEST_SKIP() << "no faults in this build";
  fault::schedule("kernels@1=skip");
  const auto bent = trainer.fingerprint(16);
  fault::schedule("");
  EXPECT_NE(bent.digest, right.digest);
}

TEST(Fingerprint, PowersOfTheOptimizerCount) {
  const auto digest = [](const char* decay) {
    TrainSpec other = spec(1);
    other.optimizer = optim::parse_optimizer(cat(R"({"name": "adafactor", "groups": [{"beta2_decay": )", decay, "}]}"));
    return Trainer(other, initial(2)).fingerprint(16).digest;
  };
  EXPECT_EQ(digest("-0.8"), digest("-0.8"));
  EXPECT_NE(digest("-0.8"), digest("-0.7"));
}

TEST(Fingerprint, AModelThatDoesNotTakeTheBatchSaysSoAndTrains) {
  const TrainSpec what = spec(1, /*rows_of_table=*/1);
  Trainer trainer(what, initial(1));
  const auto told = trainer.fingerprint(16);
  EXPECT_EQ(told.digest, Hash128{});
  EXPECT_NE(told.error.find("index out of range"), std::string::npos) << told.error;
}

TEST(Fingerprint, InputsAreWhatModelsTake) {
  const auto inputs = canned_inputs(program::parse_program(network(2).dump()), 100);
  EXPECT_EQ(inputs[0].sizes(), at::IntArrayRef({100, 6}));
  EXPECT_TRUE(inputs[0].min().item<float>() >= 0 && inputs[0].max().item<float>() < 1);
  EXPECT_EQ(inputs[1].scalar_type(), at::kLong);
  EXPECT_TRUE(at::equal(std::get<0>(at::_unique(inputs[1])), at::arange(2)));
  EXPECT_FALSE(at::equal(inputs[1], inputs[2])) << "inputs differ";
}

}  // namespace stoker::train
