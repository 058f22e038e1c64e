#include "program/arguments.h"

#include <ATen/ScalarOps.h>

#include <limits>

#include "base/error.h"
#include "program/dtypes.h"

namespace stoker::program {
namespace {

using c10::IValue;
using c10::TypeKind;
using Json = nlohmann::json;
using Kind = Recipe::Kind;

Recipe fixed(IValue value) { return {.constant = std::move(value)}; }

bool is_slot(const Json& v) { return v.is_object() && v.contains("slot"); }

c10::Scalar number(const Json& v) {
  if (v.is_boolean()) return v.get<bool>();
  if (v.is_number_integer()) return v.get<int64_t>();
  if (v.is_number()) return v.get<double>();
  const auto text = v.at("float").get<std::string>();
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  fail_user("there is no float \"", text, "\"");
}

bool is_number(const Json& v) {
  return v.is_number() || v.is_boolean() || (v.is_object() && v.contains("float") && v["float"].is_string());
}

template <typename T>
T pick(const Json& v, const char* field, std::initializer_list<std::pair<const char*, T>> choices) {
  const auto text = v.at(field).get<std::string>();
  for (const auto& [name, value] : choices) {
    if (text == name) return value;
  }
  fail_user("there is no ", field, " \"", text, "\" here");
}

IValue layout(const Json& v) {
  return pick<c10::Layout>(v, "layout", {{"strided", c10::kStrided}, {"sparse_coo", c10::kSparse}});
}
IValue memory_format(const Json& v) {
  return pick<c10::MemoryFormat>(v, "memory_format",
                                 {{"contiguous_format", c10::MemoryFormat::Contiguous},
                                  {"preserve_format", c10::MemoryFormat::Preserve},
                                  {"channels_last", c10::MemoryFormat::ChannelsLast},
                                  {"channels_last_3d", c10::MemoryFormat::ChannelsLast3d}});
}
IValue device(const Json& v) { return c10::Device(pick<c10::DeviceType>(v, "device", {{"cpu", c10::kCPU}})); }

[[noreturn]] void refuse(const Json& v, const c10::Type& type) {
  fail_user(v.dump().substr(0, 60), " is no ", type.annotation_str());
}

// An object of one field, such as {"dtype": "float32"}.
bool has(const Json& v, const char* field) { return v.is_object() && v.contains(field); }

IValue constant_of(const Json& v, const c10::Type& type) {
  switch (type.kind()) {
    case TypeKind::TensorType:
      if (is_number(v)) return at::native::wrapped_scalar_tensor(number(v));
      break;
    case TypeKind::NumberType:
      if (is_number(v)) return number(v);
      break;
    case TypeKind::FloatType:
      if (is_number(v)) return number(v).toDouble();
      break;
    case TypeKind::IntType:
    case TypeKind::SymIntType:
      if (v.is_number_integer() || v.is_boolean()) return number(v).toLong();
      [[fallthrough]];
    case TypeKind::ScalarTypeType:
      if (has(v, "dtype")) return static_cast<int64_t>(scalar_type(v["dtype"].get<std::string>()));
      [[fallthrough]];
    case TypeKind::LayoutType:
    case TypeKind::MemoryFormatType:
      if (has(v, "layout")) return layout(v);
      if (has(v, "memory_format")) return memory_format(v);
      break;
    case TypeKind::BoolType:
    case TypeKind::SymBoolType:
      if (v.is_boolean()) return v.get<bool>();
      if (v.is_number_integer()) return v.get<int64_t>() != 0;
      break;
    case TypeKind::DeviceObjType:
      if (has(v, "device")) return device(v);
      break;
    case TypeKind::StringType:
      if (v.is_string()) return v.get<std::string>();
      break;
    default:
      break;
  }
  refuse(v, type);
}

Recipe slot_of(const Json& v, const c10::Type& type) {
  auto kind = Kind::slot;
  if (type.kind() == TypeKind::TensorType) kind = Kind::tensor_slot;
  if (type.kind() == TypeKind::FloatType) kind = Kind::float_slot;
  return {.kind = kind, .slot = v["slot"].get<int>()};
}

Recipe recipe_of(const Json& v, const c10::TypePtr& type, std::optional<int> length);

Kind list_kind(const c10::Type& element, const Json& v) {
  switch (element.kind()) {
    case TypeKind::IntType:
    case TypeKind::SymIntType:
      return Kind::ints;
    case TypeKind::FloatType:
      return Kind::floats;
    case TypeKind::TensorType:
      return Kind::tensors;
    case TypeKind::OptionalType:
      if (element.containedType(0)->kind() == TypeKind::TensorType) return Kind::optional_tensors;
      [[fallthrough]];
    default:
      refuse(v, element);
  }
}

// Lists of booleans and scalars never depend on slots.
std::optional<Recipe> plain_list(const Json& v, const c10::TypePtr& element) {
  if (element->kind() != TypeKind::BoolType && element->kind() != TypeKind::NumberType) return std::nullopt;
  c10::impl::GenericList list(element);
  for (const auto& item : v) list.push_back(constant_of(item, *element));
  if (element->kind() == TypeKind::BoolType) return fixed(c10::impl::toTypedList<bool>(list));
  return fixed(list);
}

Recipe list_of(const Json& v, const c10::TypePtr& element, std::optional<int> length) {
  if (!v.is_array()) {  // one number for a list of fixed length
    if (!length) refuse(v, *c10::ListType::create(element));
    return list_of(Json(std::vector<Json>(*length, v)), element, length);
  }
  if (const auto plain = plain_list(v, element)) return *plain;
  Recipe recipe{.kind = list_kind(*element, v)};
  for (const auto& item : v) recipe.items.push_back(recipe_of(item, element, std::nullopt));
  if (!std::ranges::all_of(recipe.items, [](auto& r) { return r.kind == Kind::constant; })) return recipe;
  Slots none;
  return fixed(evaluate(recipe, none));
}

Recipe recipe_of(const Json& v, const c10::TypePtr& type, std::optional<int> length) {
  if (type->kind() == TypeKind::OptionalType) {
    return v.is_null() ? fixed(IValue()) : recipe_of(v, type->containedType(0), length);
  }
  if (type->kind() == TypeKind::ListType && !is_slot(v)) return list_of(v, type->containedType(0), length);
  if (is_slot(v)) return slot_of(v, *type);
  return fixed(constant_of(v, *type));
}

IValue take(const Recipe& r, Slots& slots) {
  auto& slot = slots[r.slot];
  return r.last ? std::move(slot) : slot;
}

IValue to_tensor(IValue value) {
  return value.isScalar() ? IValue(at::native::wrapped_scalar_tensor(value.toScalar())) : value;
}

template <typename T, typename Convert>
IValue list_from(const Recipe& r, Slots& slots, Convert convert) {
  c10::List<T> list;
  list.reserve(r.items.size());
  for (const auto& item : r.items) list.push_back(convert(evaluate(item, slots)));
  return list;
}

}  // namespace

Recipe make_recipe(const Json& value, const c10::Argument& argument) {
  const auto n = argument.N();
  return recipe_of(value, argument.real_type(), n ? std::optional<int>(*n) : std::nullopt);
}

IValue evaluate(const Recipe& r, Slots& slots) {
  switch (r.kind) {
    case Kind::constant:
      return r.constant;
    case Kind::slot:
      return take(r, slots);
    case Kind::tensor_slot:
      return to_tensor(take(r, slots));
    case Kind::float_slot:
      return slots[r.slot].toScalar().toDouble();
    case Kind::ints:
      return list_from<int64_t>(r, slots, [](const IValue& v) { return v.toInt(); });
    case Kind::floats:
      return list_from<double>(r, slots, [](const IValue& v) { return v.toScalar().toDouble(); });
    case Kind::tensors:
      return list_from<at::Tensor>(r, slots, [](const IValue& v) { return v.toTensor(); });
    case Kind::optional_tensors:
      return list_from<std::optional<at::Tensor>>(r, slots, [](const IValue& v) { return v.toOptional<at::Tensor>(); });
  }
  fail_bug("no such kind of argument");
}

}  // namespace stoker::program
