#pragma once
// A program's nodes made ready to run: operators resolved, constant arguments converted, last uses known.
// Immutable; any number of threads may run one plan, each on slots of its own.
#include <ATen/core/dispatch/Dispatcher.h>

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "program/arguments.h"
#include "program/format.h"
#include "program/random.h"
#include "program/symbols.h"

namespace stoker::program {

class Plan {
 public:
  /// Throws Error(user) that names node and place for an unknown operator or argument, or one of a wrong type.
  explicit Plan(const Program& program);

  /// Runs all nodes. Inputs, parameters, buffers and constants must lie in their slots; outputs, loss and metric lie in
  /// theirs afterwards, other values are dropped at their last use. Errors of torch become Error(user) with the place.
  void run(Slots& slots, const RandomKey& key, std::atomic<uint64_t>& operators_run) const;

  int slots() const { return slots_; }

 private:
  struct Node {
    std::string label;  // place and operator, for messages
    std::optional<c10::OperatorHandle> op = {};
    const Symbol* symbol = nullptr;  // where there is no op
    std::vector<Recipe> arguments = {};
    Randomness random = {};
    std::vector<int> out = {};
  };

  static Node resolve(const program::Node& node, size_t number);
  static void run_node(const Node& node, size_t number, Slots& slots, const RandomKey& key,
                       std::vector<c10::IValue>& stack);
  void find_last_uses(const Program& program);

  int slots_ = 0;
  std::vector<Node> nodes_;
};

/// The same failure in the engine's terms: torch's own errors are the user's (shapes, types), lack of memory is the
/// world's. REQUIRES: called in a catch block.
[[noreturn]] void rethrow_as_error(const std::string& doing);

}  // namespace stoker::program
