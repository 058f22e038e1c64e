#pragma once
// A program's nodes made ready to run: operators resolved, constant arguments converted, last uses known.
// Immutable; any number of threads may run one plan, each on slots of its own.
#include <ATen/core/dispatch/Dispatcher.h>

#include <functional>
#include <string>
#include <vector>

#include "program/arguments.h"
#include "program/format.h"
#include "program/random.h"

namespace stoker::program {

/// Takes a node's arguments off the stack and leaves its results there.
using Call = std::function<void(std::vector<c10::IValue>& stack)>;
/// A call that does a node's work in a better way than its operator, or an empty one.
using Specialise = std::function<Call(const Node& node, const c10::OperatorHandle& op)>;

class Plan {
 public:
  /// Throws Error(user) that names node and place for an unknown operator or argument, or one of a wrong type.
  explicit Plan(const Program& program, const Specialise& specialise = {});

  /// Runs all nodes. Inputs, parameters, buffers and constants must lie in their slots; outputs, loss and metric lie in
  /// theirs afterwards, other values are dropped at their last use. Errors of torch become Error(user) with the place,
  /// and so does a node that would write into a view of a file (weights.h).
  void run(Slots& slots, const RandomKey& key) const;

  int slots() const { return slots_; }
  /// Whether any node draws random numbers.
  bool is_random() const;
  /// Whether any node may write into what it is given.
  bool writes() const;

 private:
  struct PlannedNode {
    std::string label;  // place and operator, for messages
    Call call = {};
    std::vector<Recipe> arguments = {};
    Randomness random = {};
    std::vector<size_t> written = {};  // arguments that it writes into
    std::vector<int> out = {};
  };

  static PlannedNode resolve(const Node& node, size_t number, const Specialise& specialise);
  static void run_node(const PlannedNode& node, size_t number, Slots& slots, const RandomKey& key,
                       std::vector<c10::IValue>& stack);
  void find_last_uses(const Program& program);

  int slots_ = 0;
  std::vector<PlannedNode> nodes_;
};

/// The same failure in the engine's terms: torch's own errors are the user's (shapes, types), lack of memory is the
/// world's. REQUIRES: called in a catch block.
[[noreturn]] void rethrow_as_error(const std::string& doing);

}  // namespace stoker::program
