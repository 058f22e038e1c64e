#pragma once
// Random operators, each keyed by (seed, epoch, step, shard, node).
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <memory>
#include <mutex>
#include <vector>

#include "program/arguments.h"
#include "program/step.h"

namespace stoker::program {

/// Where an operator's random numbers come from.
struct Randomness {
  enum class Source { none, argument, shared };
  Source source = Source::none;
  int position = -1;  // of its Generator argument
};

/// From the operator's tags and the arguments that are known before it runs: dropout outside training draws nothing.
Randomness randomness_of(const c10::OperatorHandle& op, const std::vector<Recipe>& arguments);

uint64_t node_seed(const RandomKey& key, uint64_t node);
at::Generator make_generator(uint64_t seed);

/// Lends ATen's default CPU generator, seeded, and puts its state back in the end. Operators without a Generator
/// argument draw from it, and there is one per process: two threads that run such operators wait for each other here.
class SharedGenerator {
 public:
  explicit SharedGenerator(uint64_t seed);
  ~SharedGenerator();
  SharedGenerator(const SharedGenerator&) = delete;

 private:
  std::unique_lock<std::mutex> turn_;
  std::shared_ptr<at::CPUGeneratorImpl> before_;
};

}  // namespace stoker::program
