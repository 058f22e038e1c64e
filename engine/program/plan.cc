#include "program/plan.h"

#include <torch/csrc/autograd/function.h>

#include <algorithm>
#include <memory>
#include <new>

#include "base/error.h"
#include "base/pulse.h"
#include "program/autocast.h"
#include "program/operators.h"
#include "program/symbols.h"
#include "program/weights.h"

namespace stoker::program {
namespace {

using c10::IValue;
using Stack = std::vector<IValue>;

// "aten.add.Tensor" is the dispatcher's "aten::add" with overload "Tensor"; its overload "" is written "default".
c10::OperatorHandle find_operator(const OperatorName& op) {
  const auto overload = op.overload == "default" ? "" : op.overload;
  auto handle = c10::Dispatcher::singleton().findSchema({op.space + "::" + op.name, overload});
  if (!handle) fail_user("this build of torch has no such operator");
  return *handle;
}

const nlohmann::json* find_argument(const Node& node, const c10::FunctionSchema& schema, size_t i) {
  const auto& argument = schema.arguments()[i];
  const nlohmann::json* value = i < node.args.size() ? &node.args[i] : nullptr;
  for (const auto& [name, named] : node.kwargs) {
    if (name != argument.name()) continue;
    if (value) fail_user("argument ", name, " is given twice");
    value = &named;
  }
  return value;
}

Recipe resolve_argument(const Node& node, const c10::FunctionSchema& schema, size_t i) {
  const auto& argument = schema.arguments()[i];
  const auto* value = find_argument(node, schema, i);
  if (!value && !argument.default_value()) fail_user("argument ", argument.name(), " is missing");
  if (!value) return {.constant = *argument.default_value()};
  try {
    return make_recipe(*value, argument);
  } catch (const nlohmann::json::exception&) {
    fail_user("argument ", argument.name(), ": ", value->dump().substr(0, 60), " is no value of a program");
  } catch (const Error& e) {
    throw e.within("argument " + argument.name());
  }
}

void check_text(const OperatorName& op, const nlohmann::json& value) {
  if (value.is_string() && !may_say(op, value.get<std::string>()))
    fail_user(value.dump().substr(0, 60), " is no text that a program may give to an operator");
}

void check_texts(const OperatorName& op, const Node& node) {
  for (const auto& value : node.args) check_text(op, value);
  for (const auto& [name, value] : node.kwargs) check_text(op, value);
}

// Whoever wrote the program: it computes from its inputs and weights and reaches nothing else.
void check_allowed(const OperatorName& op) {
  if (!may_name(op)) fail_user("programs may not name this operator (stoker/operators.txt lists those that they may)");
}

void check_names(const Node& node, const c10::FunctionSchema& schema) {
  if (node.args.size() > schema.arguments().size()) {
    fail_user("takes ", schema.arguments().size(), " arguments, and ", node.args.size(), " are given");
  }
  for (const auto& [name, value] : node.kwargs) {
    const auto same = [&](const c10::Argument& a) { return a.name() == name; };
    if (std::ranges::none_of(schema.arguments(), same)) fail_user("there is no argument ", name);
  }
}

// Integer operators take numbers and tensors as they come.
std::vector<Recipe> symbol_arguments(const Node& node, const Symbol& symbol) {
  if (!node.kwargs.empty() || static_cast<int>(node.args.size()) != symbol.arguments) {
    fail_user("takes ", symbol.arguments, " positional arguments");
  }
  const c10::Argument number("number", c10::NumberType::get());
  std::vector<Recipe> recipes;
  for (const auto& value : node.args) recipes.push_back(make_recipe(value, number));
  return recipes;
}

// Results as the program counts them: the elements of a list have a slot each.
void flatten(Stack& stack) {
  if (std::ranges::none_of(stack, [](const IValue& v) { return v.isTensorList(); })) return;
  Stack flat;
  for (auto& value : stack) {
    if (!value.isTensorList()) {
      flat.push_back(std::move(value));
    } else {
      for (auto tensor : value.toTensorVector()) flat.emplace_back(std::move(tensor));
    }
  }
  stack = std::move(flat);
}

std::vector<size_t> written_arguments(const c10::FunctionSchema& schema) {
  std::vector<size_t> written;
  for (size_t i = 0; i < schema.arguments().size(); ++i) {
    const auto* alias = schema.arguments()[i].alias_info();
    if (alias && alias->isWrite()) written.push_back(i);
  }
  return written;
}

/// Several processes may share it, and it is mapped read-only.
void check_may_write(const IValue& value) {
  const auto check = [](const at::Tensor& tensor) {
    if (is_view_of_file(tensor))
      fail_user("it writes into a weight or constant of the program, which must stay as it is");
  };
  if (value.isTensor()) check(value.toTensor());
  if (value.isTensorList()) std::ranges::for_each(value.toTensorVector(), check);
}

Call zeroed(Call call) {
  return [call = std::move(call)](Stack& stack) {
    call(stack);
    for (auto& value : stack) value.toTensor().zero_();
  };
}

struct BackwardBeat : torch::autograd::FunctionPreHook {
  torch::autograd::variable_list operator()(const torch::autograd::variable_list& gradients) override {
    pulse::beat();
    return gradients;
  }
};

/// The backward pass is one call, and beats here each time it comes to an operator.
void beat_in_backward(const Stack& results) {
  if (!at::GradMode::is_enabled() || results.empty() || !results[0].isTensor()) return;
  const auto& tensor = results[0].toTensor();
  if (!tensor.defined() || !tensor.requires_grad()) return;
  if (const auto& node = tensor.grad_fn()) node->add_pre_hook(std::make_unique<BackwardBeat>());
}

void store(Stack& results, const std::vector<int>& out, Slots& slots) {
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] == -1) continue;
    if (i >= results.size()) fail_user("gives ", results.size(), " results, and the program names ", out.size());
    slots[out[i]] = std::move(results[i]);
  }
}

}  // namespace

Plan::Plan(const Program& program, const Specialise& specialise) : slots_(program.slots) {
  for (size_t i = 0; i < program.nodes.size(); ++i) nodes_.push_back(resolve(program.nodes[i], i, specialise));
  find_last_uses(program);
}

Plan::PlannedNode Plan::resolve(const Node& node, size_t number, const Specialise& specialise) try {
  PlannedNode planned{.label = cat(node.where, " (", node.op, ")"), .out = node.out};
  if (const auto* symbol = find_symbol(node.op)) {
    planned.arguments = symbol_arguments(node, *symbol);
    planned.call = [call = symbol->call](Stack& stack) { stack.assign(1, call(stack)); };
    return planned;
  }
  const auto name = split_operator(node.op);
  const auto op = find_operator(name);
  check_allowed(name);
  const auto& schema = op.schema();
  check_names(node, schema);
  for (size_t i = 0; i < schema.arguments().size(); ++i) planned.arguments.push_back(resolve_argument(node, schema, i));
  check_texts(name, node);
  planned.random = randomness_of(op, planned.arguments);
  planned.written = written_arguments(schema);
  if (specialise) planned.call = specialise(node, op);
  if (!planned.call && node.autocast) planned.call = autocast_call(op);
  if (!planned.call) planned.call = [op](Stack& stack) { op.callBoxed(stack); };
  if (gives_old_memory(name)) planned.call = zeroed(std::move(planned.call));
  return planned;
} catch (const Error& e) {
  throw e.within(cat("node ", number, ", ", node.op, ", at ", node.where));
}

void Plan::find_last_uses(const Program& program) {
  std::vector<bool> needed(slots_, false);
  for (const auto& output : program.outputs) needed[output.slot] = true;
  if (program.has_loss) {
    needed[program.loss.numerator] = true;
    if (program.loss.denominator != -1) needed[program.loss.denominator] = true;
  }
  for (const auto& own : program.sums) needed[own.numerator] = needed[own.denominator] = true;
  if (program.metric) {
    needed[program.metric->output] = needed[program.metric->label] = true;
    for (const int slot : {program.metric->weight, program.metric->group})
      if (slot != -1) needed[slot] = true;
  }
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) {
    for (auto& slot : node->out) {
      if (slot != -1 && !needed[slot]) slot = -1;
    }
    std::vector<Recipe*> reads;
    for (auto& argument : node->arguments) visit_slots(argument, [&](Recipe& r) { reads.push_back(&r); });
    for (auto read = reads.rbegin(); read != reads.rend(); ++read) {
      (*read)->last = !needed[(*read)->slot];
      needed[(*read)->slot] = true;
    }
  }
}

bool Plan::writes() const {
  return std::ranges::any_of(nodes_, [](const PlannedNode& node) { return !node.written.empty(); });
}

bool Plan::is_random() const {
  return std::ranges::any_of(nodes_, [](const auto& node) { return node.random.source != Randomness::Source::none; });
}

void Plan::run(Slots& slots, const RandomKey& key) const {
  Stack stack;
  stack.reserve(16);
  size_t i = 0;
  try {
    for (; i < nodes_.size(); ++i) {
      run_node(nodes_[i], i, slots, key, stack);
      pulse::beat();
    }
  } catch (...) {
    rethrow_as_error(nodes_[i].label);
  }
}

void Plan::run_node(const PlannedNode& node, size_t number, Slots& slots, const RandomKey& key, Stack& stack) {
  stack.clear();
  for (const auto& argument : node.arguments) stack.push_back(evaluate(argument, slots));
  for (const size_t i : node.written) check_may_write(stack[i]);
  if (node.random.source == Randomness::Source::shared) {
    const SharedGenerator generator(node_seed(key, number));
    node.call(stack);
  } else {
    if (node.random.source == Randomness::Source::argument) {
      stack[node.random.position] = make_generator(node_seed(key, number));
    }
    node.call(stack);
  }
  beat_in_backward(stack);
  flatten(stack);
  store(stack, node.out, slots);
}

void rethrow_as_error(const std::string& doing) {
  try {
    throw;
  } catch (const Error& e) {
    throw e.within(doing);
  } catch (const c10::OutOfMemoryError& e) {
    throw Error(ErrorKind::world, doing + ": " + e.what_without_backtrace());
  } catch (const c10::Error& e) {
    throw Error(ErrorKind::user, doing + ": " + std::string(e.what_without_backtrace()).substr(0, 600));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::world, doing + ": there is not enough memory");
  } catch (const std::exception& e) {
    throw Error(ErrorKind::user, doing + ": " + e.what());
  }
}

}  // namespace stoker::program
