#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <vector>

#include "base/error.h"

namespace stoker::optim {
namespace {

using Json = nlohmann::json;
using Curve = Schedule::Curve;
using Factor = std::function<double(double t, double length)>;

/// From 1 to 0.
double half_cosine(double part) { return (1 + std::cos(std::numbers::pi * part)) / 2; }

Curve times(Factor factor) {
  return [factor](double base, double t, double length) { return base * factor(t, length); };
}

/// From the group's rate down to the lowest one.
Curve down_to(double lowest, Factor factor) {
  return [=](double base, double t, double length) { return lowest + (base - lowest) * factor(t, length); };
}

Curve constant(const Json& in) {
  const double factor = in.at("factor"), total = in.at("total");
  return times([=](double t, double) { return t < total ? factor : 1; });
}

Curve linear(const Json& in) {
  const double start = in.at("start_factor"), end = in.at("end_factor"), total = in.at("total");
  return times([=](double t, double) { return start + (end - start) * std::min(t, total) / total; });
}

Curve step(const Json& in) {
  const double size = in.at("step_size"), gamma = in.at("gamma");
  return times([=](double t, double) { return std::pow(gamma, std::floor(t / size)); });
}

Curve multi_step(const Json& in) {
  const auto milestones = in.at("milestones").get<std::vector<double>>();
  const double gamma = in.at("gamma");
  return times([=](double t, double) {
    return std::pow(gamma, std::ranges::count_if(milestones, [t](double milestone) { return milestone <= t; }));
  });
}

Curve exponential(const Json& in) {
  const double gamma = in.at("gamma");
  return times([=](double t, double) { return std::pow(gamma, t); });
}

Curve polynomial(const Json& in) {
  const double power = in.at("power");
  const bool cycle = in.value("cycle", false);  // begins again, each time longer
  return down_to(in.at("min_lr"), [=](double t, double length) {
    const double whole = cycle ? length * std::max(std::ceil(t / length), 1.0) : length;
    return std::pow(1 - std::min(t / whole, 1.0), power);
  });
}

Curve piecewise(const Json& in) {
  const auto milestones = in.at("milestones").get<std::vector<double>>();
  const auto factors = in.at("factors").get<std::vector<double>>();
  return times([=](double t, double) {
    return factors.at(std::ranges::count_if(milestones, [t](double milestone) { return milestone <= t; }));
  });
}

Curve inverse_time(const Json& in) {
  const double steps = in.at("decay_steps"), rate = in.at("decay_rate");
  const bool staircase = in.at("staircase");
  return times([=](double t, double) { return 1 / (1 + rate * (staircase ? std::floor(t / steps) : t / steps)); });
}

Curve cosine(const Json& in) {
  const bool returns = in.value("returns", false);  // to the group's rate after the end, as torch's does
  return down_to(in.at("min_lr"), [=](double t, double length) {
    return half_cosine(returns ? t / length : std::min(t / length, 1.0));
  });
}

Curve cosine_restarts(const Json& in) {
  const double first = in.at("period"), grows = in.at("period_factor"), height = in.value("height_factor", 1.0);
  return down_to(in.at("min_lr"), [=](double t, double) {
    if (grows == 1) return std::pow(height, std::floor(t / first)) * half_cosine(std::fmod(t, first) / first);
    double period = first, top = 1;
    for (; t >= period; period *= grows, top *= height) t -= period;
    return top * half_cosine(t / period);
  });
}

Curve inverse_sqrt(const Json& in) {
  const double warmup = in.value("warmup", 0.0), timescale = in.at("timescale");
  const double scale = timescale > 0 ? timescale : std::max(warmup, 1.0);
  return times([=](double t, double) { return std::sqrt(scale / std::max(scale, t + warmup + 1)); });
}

/// Its turns are the times that it was lowered.
Curve plateau(const Json& in) {
  const double factor = in.at("factor"), least = in.at("min_lr"), eps = in.at("eps");
  return [=](double rate, double lowered, double) {
    for (; lowered > 0; --lowered)
      if (const double next = std::max(rate * factor, least); rate - next > eps) rate = next;
    return rate;
  };
}

/// torch's OneCycleLR: of its phases, which is under way and how far.
struct OneCycle {
  double part_up;
  bool cosine, three_phase;
  struct Place {
    size_t phase;
    double part;
  };

  explicit OneCycle(const Json& in)
      : part_up(in.at("pct_start")), cosine(in.at("anneal_strategy") == "cos"), three_phase(in.at("three_phase")) {}

  Place place(double t, double length) const {
    std::vector<double> ends{part_up * length - 1};
    if (three_phase) ends.push_back(2 * part_up * length - 2);
    ends.push_back(length - 1);
    double begin = 0;
    size_t phase = 0;
    for (; phase + 1 < ends.size() && t > ends[phase]; ++phase) begin = ends[phase];
    const double size = ends[phase] - begin;
    return {phase, size > 0 ? std::min((t - begin) / size, 1.0) : 1.0};
  }
  /// Between values that stand where phases begin and end.
  double at(const std::vector<double>& values, double t, double length) const {
    const auto [phase, part] = place(t, length);
    const double from = values[phase], to = values[phase + 1];
    return cosine ? to + (from - to) * half_cosine(part) : from + (to - from) * part;
  }
};

Curve one_cycle(const Json& in) {
  const OneCycle cycle(in);
  const double first = 1 / in.at("div_factor").get<double>(), last = first / in.at("final_div_factor").get<double>();
  const auto factors = cycle.three_phase ? std::vector{first, 1.0, first, last} : std::vector{first, 1.0, last};
  return times([=](double t, double length) { return cycle.at(factors, t, length); });
}

Schedule::Momentum momentum_of(const Json& in) {
  if (in.at("name") != "one_cycle" || !in.at("cycle_momentum").get<bool>()) return nullptr;
  const OneCycle cycle(in);
  const double low = in.at("base_momentum"), high = in.at("max_momentum");
  const std::vector<double> values{high, low, high, high};
  return [=](double t, double length) { return cycle.at(values, t, length); };
}

/// One of the schedules that others are made of, with its own `total` where it has one.
Curve part_of(const Json& in);

Curve sequence(const Json& in) {
  std::vector<Curve> parts;
  for (const auto& part : in.at("schedules")) parts.push_back(part_of(part));
  const auto milestones = in.at("milestones").get<std::vector<double>>();
  return [=](double base, double t, double length) {
    const auto over = std::ranges::upper_bound(milestones, t) - milestones.begin();
    return parts[over](base, over > 0 ? t - milestones[over - 1] : t, length);
  };
}

Curve product(const Json& in) {
  std::vector<Curve> parts;
  for (const auto& part : in.at("schedules")) parts.push_back(part_of(part));
  return [=](double base, double t, double length) {
    for (const auto& part : parts) base = part(base, t, length);
    return base;
  };
}

const std::map<std::string, Curve (*)(const Json&)>& makers() {
  static const std::map<std::string, Curve (*)(const Json&)> all = {{"constant", constant},
                                                                    {"linear", linear},
                                                                    {"step", step},
                                                                    {"multi_step", multi_step},
                                                                    {"exponential", exponential},
                                                                    {"plateau", plateau},
                                                                    {"polynomial", polynomial},
                                                                    {"piecewise", piecewise},
                                                                    {"inverse_time", inverse_time},
                                                                    {"cosine", cosine},
                                                                    {"cosine_restarts", cosine_restarts},
                                                                    {"one_cycle", one_cycle},
                                                                    {"inverse_sqrt", inverse_sqrt},
                                                                    {"sequence", sequence},
                                                                    {"product", product}};
  return all;
}

Curve curve_of(const Json& in) {
  const auto maker = makers().find(in.at("name").get<std::string>());
  if (maker == makers().end()) fail_user("unknown schedule ", in.at("name").dump());
  return maker->second(in);
}

Curve part_of(const Json& in) {
  const double total = in.value("total", 0.0);
  const Curve curve = curve_of(in);
  return [=](double base, double t, double length) { return curve(base, t, total > 0 ? total : length); };
}

}  // namespace

double Schedule::turn(const Moment& at) const {
  if (by_score_) return static_cast<double>(at.lowered);
  return static_cast<double>(by_epoch_ ? at.epoch : at.step - 1);
}

double Schedule::length(const Moment& at) const {
  const double whole = total_ > 0 ? total_ : by_epoch_ ? epochs_ : epochs_ * static_cast<double>(at.steps_of_epoch);
  return std::max(whole - warmup_, 1.0);
}

double Schedule::rate(double base, const Moment& at) const {
  if (!curve_) return base;
  const double t = turn(at);
  if (t >= warmup_) return curve_(base, t - warmup_, length(at));
  return curve_(base, goal_, length(at)) * (warmup_start_ + (1 - warmup_start_) * (t + 1) / warmup_);
}

double Schedule::momentum(const Moment& at) const { return momentum_(std::max(turn(at) - warmup_, 0.0), length(at)); }

Schedule parse_schedule(const std::string& text) try {
  const Json in = Json::parse(text);
  Schedule schedule;
  schedule.curve_ = curve_of(in);
  schedule.momentum_ = momentum_of(in);
  schedule.by_epoch_ = in.at("unit") == "epochs";
  schedule.by_score_ = in.at("name") == "plateau";
  schedule.epochs_ = in.value("epochs", 0.0);
  schedule.total_ = in.value("total", 0.0);
  schedule.warmup_ = in.value("warmup", 0.0);
  if (in.at("name") == "inverse_sqrt") schedule.goal_ = -1;  // its first turn lies below the rate
  schedule.warmup_start_ = in.value("warmup_start", 0.0);
  return schedule;
} catch (const Json::exception& error) {
  fail_bug("a schedule cannot be read: ", error.what());
}

}  // namespace stoker::optim
