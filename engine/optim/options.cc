// Reading of optimizer options.
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

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

std::map<std::string, Setter> setters(const std::string& optimizer) {
  std::map<std::string, Setter> known = {{"lr", number(&GroupOptions::lr)},
                                         {"weight_decay", number(&GroupOptions::weight_decay)},
                                         {"maximize", flag(&GroupOptions::maximize)}};
  if (optimizer == "sgd") {
    known["momentum"] = number(&GroupOptions::momentum);
    known["dampening"] = number(&GroupOptions::dampening);
    known["nesterov"] = flag(&GroupOptions::nesterov);
  } else {
    known["betas"] = set_betas;
    known["eps"] = number(&GroupOptions::eps);
    known["amsgrad"] = flag(&GroupOptions::amsgrad);
  }
  return known;
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
  below_one("betas[0]", group.beta1);
  below_one("betas[1]", group.beta2);
  if (group.nesterov && (group.momentum == 0 || group.dampening != 0)) {
    fail_user("optimizer: nesterov needs a momentum above 0 and no dampening");
  }
}

GroupOptions parse_group(const std::string& optimizer, const Json& json) {
  GroupOptions group;
  if (optimizer == "adamw") group.weight_decay = 1e-2;
  const auto known = setters(optimizer);
  for (const auto& [key, value] : json.items()) {
    const auto setter = known.find(key);
    if (setter == known.end()) fail_user("optimizer '", optimizer, "' has no option '", key, "'");
    try {
      setter->second(group, value);
    } catch (const Json::exception&) {
      fail_user("optimizer '", optimizer, "': option '", key, "' cannot be ", value.dump());
    }
  }
  check(group);
  return group;
}

}  // namespace

OptimizerOptions parse_optimizer(const std::string& json) {
  try {
    const Json parsed = Json::parse(json);
    OptimizerOptions options{parsed.at("name"), {}, {}};
    if (options.name != "sgd" && options.name != "adam" && options.name != "adamw") {
      fail_user("unknown optimizer '", options.name, "', expected sgd, adam or adamw");
    }
    for (const auto& group : parsed.at("groups")) options.groups.push_back(parse_group(options.name, group));
    if (options.groups.empty()) fail_user("optimizer '", options.name, "' has no parameter group");
    if (parsed.contains("schedule")) options.schedule = parse_schedule(parsed.at("schedule").dump());
    return options;
  } catch (const Json::exception& error) {
    fail_bug("optimizer options cannot be read: ", error.what());
  }
}

}  // namespace stoker::optim
