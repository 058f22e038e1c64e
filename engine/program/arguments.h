#pragma once
// Arguments of operators: from the program's JSON to what the dispatcher takes, by the types of the schema.
#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>

#include <nlohmann/json.hpp>
#include <vector>

namespace stoker::program {

using Slots = std::vector<c10::IValue>;

/// How one argument is made when its node runs. All that can be known before is in `constant`.
struct Recipe {
  enum class Kind {
    constant,
    slot,         // as it is
    tensor_slot,  // a number becomes a wrapped number
    float_slot,   // an integer becomes a float
    ints,         // lists of the items
    floats,
    tensors,
    optional_tensors,
  };
  Kind kind = Kind::constant;
  c10::IValue constant = {};
  int slot = -1;
  bool last = false;  // nobody reads the slot after this: its value is moved out
  std::vector<Recipe> items = {};
};

/// Throws Error(user) when the value cannot be of the argument's type.
Recipe make_recipe(const nlohmann::json& value, const c10::Argument& argument);

/// Calls `visit` with every recipe in it that reads a slot, in the order of evaluation.
template <typename Visit>
void visit_slots(Recipe& recipe, Visit visit) {
  if (recipe.slot != -1) visit(recipe);
  for (auto& item : recipe.items) visit_slots(item, visit);
}

c10::IValue evaluate(const Recipe& recipe, Slots& slots);

}  // namespace stoker::program
