// Reading of optimizer options.
#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "optim/optimizer.h"

namespace stoker::optim {
namespace {

using Json = nlohmann::json;
using Setter = std::function<void(GroupOptions&, const Json&)>;

Setter number(double GroupOptions::*field) {
  return [field](GroupOptions& group, const Json& value) { group.*field = value.get<double>(); };
}
Setter flag(bool GroupOptions::*field) {
  return [field](GroupOptions& group, const Json& value) { group.*field = value.get<bool>(); };
}

void set_betas(GroupOptions& group, const Json& value) {
  if (value.size() != 2) fail_user("optimizer: betas has ", value.size(), " values, expected 2");
  group.beta1 = value[0].get<double>();
  group.beta2 = value[1].get<double>();
}

/// Torch's pair of Adafactor, whose first may be left to it.
void set_epsilons(GroupOptions& group, const Json& value) {
  if (value.size() != 2) fail_user("optimizer: eps has ", value.size(), " values, expected 2");
  if (!value[0].is_null()) group.eps1 = value[0].get<double>();
  group.eps2 = value[1].get<double>();
}

using Setters = std::map<std::string, Setter>;

/// What an optimizer knows, and its defaults where they are not those of GroupOptions.
struct Known {
  std::vector<std::string> settings;
  GroupOptions defaults = {};
};

const Setters& setters() {
  static const Setters all = {{"lr", number(&GroupOptions::lr)},
                              {"weight_decay", number(&GroupOptions::weight_decay)},
                              {"maximize", flag(&GroupOptions::maximize)},
                              {"momentum", number(&GroupOptions::momentum)},
                              {"dampening", number(&GroupOptions::dampening)},
                              {"nesterov", flag(&GroupOptions::nesterov)},
                              {"betas", set_betas},
                              {"eps", number(&GroupOptions::eps)},
                              {"amsgrad", flag(&GroupOptions::amsgrad)},
                              {"alpha", number(&GroupOptions::alpha)},
                              {"centered", flag(&GroupOptions::centered)},
                              {"rho", number(&GroupOptions::rho)},
                              {"lr_decay", number(&GroupOptions::lr_decay)},
                              {"initial_accumulator_value", number(&GroupOptions::initial_accumulator_value)},
                              {"momentum_decay", number(&GroupOptions::momentum_decay)},
                              {"decoupled_weight_decay", flag(&GroupOptions::decoupled_weight_decay)},
                              {"trust_coefficient", number(&GroupOptions::trust_coefficient)},
                              {"adapt", flag(&GroupOptions::adapt)},
                              {"l1", number(&GroupOptions::l1)},
                              {"l2", number(&GroupOptions::l2)},
                              {"l2_shrinkage", number(&GroupOptions::l2_shrinkage)},
                              {"beta", number(&GroupOptions::beta)},
                              {"max_iter", number(&GroupOptions::max_iter)},
                              {"tolerance_grad", number(&GroupOptions::tolerance_grad)},
                              {"tolerance_change", number(&GroupOptions::tolerance_change)},
                              {"history_size", number(&GroupOptions::history_size)},
                              {"beta2_decay", number(&GroupOptions::beta2_decay)},
                              {"epsilons", set_epsilons},
                              {"d", number(&GroupOptions::d)}};
  return all;
}

GroupOptions with_lr(double lr, double eps = 1e-8) {
  GroupOptions options;
  options.lr = lr;
  options.eps = eps;
  return options;
}

/// Keras' own formulas of what goes by the same names; every setting is told.
std::map<std::string, Known> of_keras() {
  return {{"keras_sgd", {{"momentum", "nesterov"}}},
          {"keras_adam", {{"betas", "eps", "amsgrad"}}},
          {"keras_rmsprop", {{"alpha", "eps", "momentum", "centered"}}},
          {"keras_adagrad", {{"initial_accumulator_value", "eps"}}},
          {"keras_adadelta", {{"rho", "eps"}}},
          {"keras_adamax", {{"betas", "eps"}}},
          {"keras_nadam", {{"betas", "eps"}}},
          {"keras_lion", {{"betas"}}},
          {"keras_ftrl", {{"initial_accumulator_value", "l1", "l2", "l2_shrinkage", "beta"}}},
          {"keras_lamb", {{"betas", "eps"}}},
          {"keras_adafactor", {{"beta2_decay", "epsilons", "d"}}}};
}

std::map<std::string, Known> make_known() {
  std::map<std::string, Known> all = {
      {"sgd", {{"momentum", "dampening", "nesterov"}}},
      {"adam", {{"betas", "eps", "amsgrad"}}},
      {"adamw", {{"betas", "eps", "amsgrad"}}},
      {"rmsprop", {{"alpha", "eps", "momentum", "centered"}, with_lr(1e-2)}},
      {"adagrad", {{"lr_decay", "initial_accumulator_value", "eps"}, with_lr(1e-2, 1e-10)}},
      {"adadelta", {{"rho", "eps"}, with_lr(1, 1e-6)}},
      {"adamax", {{"betas", "eps"}, with_lr(2e-3)}},
      {"nadam", {{"betas", "eps", "momentum_decay", "decoupled_weight_decay"}, with_lr(2e-3)}},
      {"radam", {{"betas", "eps", "decoupled_weight_decay"}}},
      {"lion", {{"betas"}, with_lr(1e-4)}},
      {"lars", {{"momentum", "trust_coefficient", "eps", "adapt"}, with_lr(0.1, 0)}},
      {"lamb", {{"betas", "eps", "adapt"}, with_lr(1e-3, 1e-6)}},
      {"adafactor", {{"beta2_decay", "epsilons", "d"}, with_lr(1e-2)}}};
  all.merge(of_keras());
  all["adamw"].defaults.weight_decay = 1e-2;
  all["lion"].defaults.beta2 = 0.99;
  all["lars"].defaults.momentum = 0.9;
  for (auto& [name, known] : all) known.settings.insert(known.settings.end(), {"lr", "weight_decay", "maximize"});
  all["lbfgs"] = {{"lr", "max_iter", "tolerance_grad", "tolerance_change", "history_size"}, with_lr(1)};
  return all;
}

const std::map<std::string, Known>& optimizers() {
  static const std::map<std::string, Known> all = make_known();
  return all;
}

/// Those that users write; Keras' come as instances.
std::string names() {
  std::string out;
  for (const auto& [name, known] : optimizers())
    if (!name.starts_with("keras_")) out += (out.empty() ? "" : ", ") + name;
  return out;
}

void not_negative(const char* field, double value) {
  if (!(value >= 0)) fail_user("optimizer: ", field, " is ", value, ", expected zero or more");
}
void below_one(const char* field, double value) {
  if (!(value >= 0 && value < 1)) fail_user("optimizer: ", field, " is ", value, ", expected at least 0 and below 1");
}

void check(const GroupOptions& group) {
  not_negative("lr", group.lr);
  not_negative("weight_decay", group.weight_decay);
  not_negative("momentum", group.momentum);
  not_negative("eps", group.eps);
  not_negative("lr_decay", group.lr_decay);
  not_negative("initial_accumulator_value", group.initial_accumulator_value);
  not_negative("momentum_decay", group.momentum_decay);
  not_negative("trust_coefficient", group.trust_coefficient);
  not_negative("alpha", group.alpha);
  not_negative("beta", group.beta);
  not_negative("l2_shrinkage", group.l2_shrinkage);
  not_negative("l2", group.l2);
  not_negative("l1", group.l1);
  not_negative("max_iter", group.max_iter);
  not_negative("tolerance_grad", group.tolerance_grad);
  not_negative("tolerance_change", group.tolerance_change);
  if (!(group.beta2_decay <= 0)) fail_user("optimizer: beta2_decay is ", group.beta2_decay, ", expected zero or less");
  not_negative("eps[0]", group.eps1);
  not_negative("eps[1]", group.eps2);
  if (!(group.d > 0)) fail_user("optimizer: d is ", group.d, ", expected more than zero");
  if (group.history_size < 1) fail_user("optimizer: history_size is ", group.history_size, ", expected 1 or more");
  below_one("betas[0]", group.beta1);
  below_one("betas[1]", group.beta2);
  if (group.nesterov && (group.momentum == 0 || group.dampening != 0)) {
    fail_user("optimizer: nesterov needs a momentum above 0 and no dampening");
  }
}

GroupOptions parse_group(const std::string& optimizer, const Json& json) {
  const Known& known = optimizers().at(optimizer);
  GroupOptions group = known.defaults;
  for (const auto& [key, value] : json.items()) {
    const auto setter = setters().find(key);
    if (std::ranges::find(known.settings, key) == known.settings.end())
      fail_user("optimizer '", optimizer, "' has no option '", key, "'");
    try {
      setter->second(group, value);
    } catch (const Json::exception&) {
      fail_user("optimizer '", optimizer, "': option '", key, "' cannot be ", value.dump());
    }
  }
  check(group);
  return group;
}

AverageOptions parse_average(const Json& json) {
  return {true, json.value("decay", 0.0), json.at("start"), json.at("every")};
}

ClipOptions parse_clip(const Json& json) { return {json.at("norm"), json.at("by_parameter")}; }

}  // namespace

OptimizerOptions parse_optimizer(const std::string& json) {
  try {
    const Json parsed = Json::parse(json);
    OptimizerOptions options{parsed.at("name"), {}, {}, {}, {}};
    if (!optimizers().contains(options.name))
      fail_user("unknown optimizer '", options.name, "', expected one of ", names());
    for (const auto& group : parsed.at("groups")) options.groups.push_back(parse_group(options.name, group));
    for (auto& group : options.groups) group.lr *= parsed.value("rate_scale", 1.0);
    if (options.full_batch() && options.groups.size() > 1)
      fail_user("optimizer '", options.name, "' takes one parameter group, not ", options.groups.size());
    if (options.groups.empty()) fail_user("optimizer '", options.name, "' has no parameter group");
    if (parsed.contains("schedule")) options.schedule = parse_schedule(parsed.at("schedule").dump());
    if (parsed.contains("average")) options.average = parse_average(parsed.at("average"));
    if (parsed.contains("clip")) options.clip = parse_clip(parsed.at("clip"));
    return options;
  } catch (const Json::exception& error) {
    fail_bug("optimizer options cannot be read: ", error.what());
  }
}

}  // namespace stoker::optim
