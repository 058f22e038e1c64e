#include "program/random.h"

#include <gtest/gtest.h>

#include <thread>

#include "program/test_programs.h"

namespace stoker::program {
namespace {

// Two random operators of one kind over the same rows; the gradient of p is what the masks let through.
Json masks(const std::string& op, const Arguments& arguments) {
  Writer w;
  const int x = w.input("x", "feature", {64});
  const int p = w.parameter("p", {2, 64});
  const int rows = w.node("aten.mul.Tensor", {slot(x), slot(p)});
  Json total;
  for (int i = 0; i < 2; ++i) {
    Arguments args = {slot(w.node("aten.select.int", {slot(rows), 0, i}))};
    args.insert(args.end(), arguments.begin(), arguments.end());
    const int masked = w.node(op, args);
    const int sum = w.node("aten.sum.default", {slot(masked)});
    total = i == 0 ? slot(sum) : slot(w.node("aten.add.Tensor", {total, slot(sum)}));
  }
  return w.train(total["slot"]);
}

at::Tensor gradient(const Json& program, const RandomKey& key) {
  Bench bench(program, {{"p", at::ones({2, 64})}});
  bench.run({at::ones({1, 64})}, key);
  return bench.gradient_of("p");
}

const Json kPrograms[] = {masks("aten.dropout.default", {0.5, true}), masks("aten.rrelu.default", {0.1, 0.9, true}),
                          masks("aten.alpha_dropout.default", {0.5, true})};
const RandomKey kKey{1, 2, 3, 4};

TEST(Random, SameKeySameBits) {
  for (const auto& program : kPrograms) {
    EXPECT_TRUE(at::equal(gradient(program, kKey), gradient(program, kKey)));
  }
}

TEST(Random, EveryPartOfTheKeyCounts) {
  const auto& program = kPrograms[0];
  const auto first = gradient(program, kKey);
  for (const RandomKey& key : {RandomKey{0, 2, 3, 4}, {1, 0, 3, 4}, {1, 2, 0, 4}, {1, 2, 3, 0}}) {
    EXPECT_FALSE(at::equal(gradient(program, key), first));
  }
}

TEST(Random, EveryNodeHasItsOwnMask) {
  const auto both = gradient(kPrograms[0], kKey);
  EXPECT_FALSE(at::equal(both[0], both[1]));
}

TEST(Random, ThreadsAtOnceGiveTheSameBits) {
  for (const auto& program : kPrograms) {
    const auto alone = gradient(program, kKey);
    std::vector<std::thread> threads;
    std::vector<at::Tensor> results(4);
    for (auto& result : results) {
      threads.emplace_back([&] {
        for (int i = 0; i < 20; ++i) result = gradient(program, kKey);
      });
    }
    for (auto& thread : threads) thread.join();
    for (const auto& result : results) EXPECT_TRUE(at::equal(result, alone));
  }
}

TEST(Random, TheProcessGeneratorIsPutBack) {
  const auto generator = at::detail::getDefaultCPUGenerator();
  const auto before = generator.get_state().clone();
  gradient(kPrograms[2], kKey);
  EXPECT_TRUE(at::equal(generator.get_state(), before));
}

TEST(Random, OperatorsWithAGeneratorUseTheirOwn) {
  Writer w;
  const int x = w.input("x", "feature", {32});
  const int p = w.parameter("p", {32});
  const int mask = w.node("aten.bernoulli.p", {slot(x), 0.5});
  const int masked = w.node("aten.mul.Tensor", {slot(mask), slot(p)});
  const auto program = w.train(w.node("aten.sum.default", {slot(masked)}));
  const auto run = [&](const RandomKey& key) {
    Bench bench(program, {{"p", at::ones(32)}});
    bench.run({at::ones({2, 32})}, key);
    return bench.gradient_of("p");
  };
  EXPECT_TRUE(at::equal(run(kKey), run(kKey)));
  EXPECT_FALSE(at::equal(run(kKey), run({1, 2, 3, 5})));
}

}  // namespace
}  // namespace stoker::program
