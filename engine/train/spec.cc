#include "train/spec.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace stoker::train {

namespace {

using nlohmann::json;

OnNaN parse_on_nan(const std::string& name) {
  if (name == "error") return OnNaN::error;
  if (name == "continue") return OnNaN::proceed;
  if (name == "skip") return OnNaN::skip;
  fail_user("onNaN must be 'error', 'continue' or 'skip', not '", name, "'");
}

sync::InnerState parse_inner_state(const std::string& name) {
  if (name == "average") return sync::InnerState::average;
  if (name == "reset") return sync::InnerState::reset;
  if (name == "keep") return sync::InnerState::keep;
  fail_user("innerState must be 'average', 'reset' or 'keep', not '", name, "'");
}

collective::Code parse_code(const std::string& name) {
  if (name.empty()) return {};
  if (name == "int8") return {8};
  if (name == "int4") return {4};
  fail_user("compress must be 'int8' or 'int4', not '", name, "'");
}

bool parse_reduce_bf16(const json& in) {
  const auto name = in.value("reduce_dtype", std::string("fp32"));
  if (name != "fp32" && name != "bf16") fail_user("reduceDtype must be 'fp32' or 'bf16', not '", name, "'");
  return name == "bf16";
}

int64_t parse_accumulate(const json& in, int64_t batch_size) {
  const int64_t parts = in.value("accumulate", int64_t{1});
  int64_t rows = 0;
  if (parts < 1 || __builtin_mul_overflow(parts, batch_size, &rows))
    fail_user("accumulate is ", parts, ", expected 1 or more, and a number of rows times batchSize");
  return parts;
}

/// One for the whole arena, whatever its groups.
optim::OptimizerOptions parse_outer(const json& in, size_t groups) {
  auto outer = optim::parse_optimizer(in.dump());
  outer.groups.resize(groups, outer.groups.front());
  return outer;
}

sync::Rule parse_rule(const std::string& name) {
  if (name == "downpour") return sync::Rule::downpour;
  if (name == "agn") return sync::Rule::agn;
  if (name == "dynsgd") return sync::Rule::dynsgd;
  if (name == "distance") return sync::Rule::distance;
  if (name == "elastic") return sync::Rule::elastic;
  if (name == "gradient") return sync::Rule::gradient;
  fail_bug("there is no rule of pushes named '", name, "'");
}

sync::PushOptions parse_push(const json& in, const TrainSpec& fit) {
  const json& push = in.at("push");
  sync::PushOptions options;
  options.rule = {parse_rule(push.at("rule")), push.value("beta", 0.0) / fit.shards, push.value("gamma", 0.0)};
  options.momentum = push.value("momentum", 0.0);
  options.reset = in.at("inner_state") == "reset";
  return options;
}

std::optional<sync::ArrivalOptions> parse_order(const json& in, const TrainSpec& fit) {
  const auto order = in.value("order", std::string("turns"));
  if (order == "turns") return {};
  if (fit.shards > sync::kMostRecorded)
    fail_user("order='arrival' is for at most ", sync::kMostRecorded, " shards, not ", fit.shards);
  if (fit.on_nan == OnNaN::skip) fail_user("onNaN='skip' does not go with order='arrival'");
  sync::ArrivalOptions options{in.value("bound", int64_t{-1})};
  if (order != "arrival") options.record = sync::record_of(order);
  return options;
}

sync::ThresholdOptions parse_threshold(const json& in) {
  const sync::ThresholdOptions t{in.at("initial"), in.at("least"), in.at("most"), in.at("decay"), in.at("clip")};
  if (!(t.initial > 0)) fail_user("initialThreshold must be above 0, not ", t.initial);
  if (!(t.least >= 0 && t.least <= t.most && t.most <= 1))
    fail_user("minTargetSparsity and maxTargetSparsity must lie in order from 0 to 1, not ", t.least, " and ", t.most);
  if (!(t.decay >= 0.5 && t.decay < 1)) fail_user("decayRate must be at least 0.5 and below 1, not ", t.decay);
  if (t.clip != 0 && !(t.clip >= 1)) fail_user("residualClip must be 1 or more, not ", t.clip);
  return t;
}

StrategySpec parse_strategy(const json& in, const TrainSpec& fit) {
  StrategySpec spec;
  const int64_t steps = in.at(in.contains("push") ? "window" : "every");
  spec.every = spec.window = std::min(steps, StrategySpec::kLongest);
  if (spec.every < 1) fail_user("the steps of a round must be 1 or more, not ", spec.every);
  if (in.contains("push")) {
    spec.push = parse_push(in, fit);
    spec.arrival = parse_order(in, fit);
    if (spec.arrival) spec.every *= std::max<int64_t>((spec.kRound + spec.window - 1) / spec.window, 1);
    return spec;
  }
  if (in.contains("rank")) {
    spec.rank = in.at("rank");
    if (spec.rank < 1) fail_user("rank must be 1 or more, not ", spec.rank);
    return spec;
  }
  if (in.contains("share")) {
    spec.share = in.at("share");
    if (!(spec.share > 0 && spec.share <= 1)) fail_user("share must be above 0 and at most 1, not ", spec.share);
    return spec;
  }
  if (in.contains("threshold")) {
    spec.threshold = parse_threshold(in.at("threshold"));
    return spec;
  }
  spec.local.inner_state = parse_inner_state(in.value("inner_state", "average"));
  spec.local.code = parse_code(in.value("compress", ""));
  if (in.at("outer").at("name") == "own") {
    spec.own = parse_outer_program(in.at("outer"));
    spec.local.plain = false;
    return spec;
  }
  spec.outer = parse_outer(in.at("outer"), fit.optimizer.groups.size());
  const auto& group = spec.outer.groups.front();
  spec.local.plain = spec.outer.name == "sgd" && group.lr == 1 && group.momentum == 0;
  return spec;
}

FrozenSpec parse_frozen(const json& in, size_t columns) {
  FrozenSpec spec{in.at("program").dump(),      in.at("inputs"),         in.at("shapes"), in.at("kept"),
                  in.value("evaluates", false), in.value("cache", false)};
  for (const auto* numbers : {&spec.inputs, &spec.kept})
    for (const int column : *numbers)
      if (column < 0 || static_cast<size_t>(column) >= columns) fail_user("the frozen parts read column ", column);
  return spec;
}

void check_full_batch(const TrainSpec& spec) {
  const bool alone = spec.strategy.every > 0 || spec.whole_batch || spec.optimizer.average.on ||
                     spec.optimizer.clip.norm > 0 || spec.optimizer.schedule.changes_rate() || spec.clip_norm > 0 ||
                     spec.clip_value > 0 || spec.accumulate > 1 || spec.reduce_bf16 || spec.on_nan == OnNaN::skip;
  if (alone)
    fail_bug(
        "local steps, whole batches, averages, clipping, schedules, accumulation, rounded sums and left out steps do "
        "not go with ",
        spec.optimizer.name);
  if (spec.evaluation && spec.evaluation->every > 0)
    fail_bug("evaluations within an epoch do not go with ", spec.optimizer.name);
}

}  // namespace

EvaluationSpec parse_evaluation(const json& in) {
  EvaluationSpec spec;
  spec.program = in.at("program").dump();
  for (const auto& own : in.at("program").value("sums", json::array())) spec.own.push_back(own.at("name"));
  if (in.contains("metrics")) spec.metrics = parse_metrics(in.at("metrics"));
  spec.rules.monitor = in.value("monitor", spec.rules.monitor);
  spec.rules.larger_is_better = in.value("larger", false);
  spec.rules.min_delta = in.value("min_delta", 0.0);
  spec.rules.patience = in.value("patience", int64_t{-1});
  if (in.contains("goal")) spec.rules.goal = in.at("goal").get<double>();
  if (in.contains("plateau")) spec.plateau = {in.at("plateau").at("monitor"), optim::parse_plateau(in.at("plateau"))};
  spec.restore_best = in.value("restore_best", false);
  spec.every = in.value("every", spec.every);
  spec.rules.whole_epochs = spec.every == 0;
  return spec;
}

TrainSpec parse_spec(const std::string& text) try {
  const json in = json::parse(text);
  TrainSpec spec;
  spec.program = in.at("program").dump();
  spec.optimizer = optim::parse_optimizer(in.at("optimizer").dump());
  spec.groups = in.value("groups", spec.groups);
  spec.columns = data::parse_columns(in.at("columns").dump());
  if (in.contains("frozen")) spec.frozen = parse_frozen(in.at("frozen"), spec.columns.size());
  spec.batch_size = in.at("batch_size");
  spec.accumulate = parse_accumulate(in, spec.batch_size);
  spec.epochs = in.at("epochs");
  spec.max_steps = in.value("max_steps", spec.max_steps);
  spec.max_seconds = in.value("max_seconds", spec.max_seconds);
  spec.seed = in.at("seed");
  spec.shuffle = in.at("shuffle") && !spec.optimizer.full_batch();
  spec.shards = in.at("shards");
  spec.threads = in.at("threads");
  spec.clip_norm = in.value("clip_norm", 0.0);
  spec.clip_value = in.value("clip_value", 0.0);
  spec.on_nan = parse_on_nan(in.value("on_nan", "error"));
  spec.report_every = in.value("report_every", spec.report_every);
  spec.lend_after = in.value("lend_after", spec.lend_after);
  if (in.contains("strategy")) spec.strategy = parse_strategy(in.at("strategy"), spec);
  if (spec.strategy.is_local() && spec.optimizer.average.on)
    fail_user("an average of the weights does not go with local steps");
  spec.whole_batch = in.value("whole_batch", false);
  spec.reduce_bf16 = parse_reduce_bf16(in);
  if (spec.reduce_bf16 && spec.strategy.every > 0)
    fail_user("reduceDtype='bf16' goes neither with local steps nor with PowerSGD, TopK or Threshold");
  if (spec.whole_batch && (spec.strategy.every > 0 || spec.accumulate > 1))
    fail_user("batchNorm='batch' goes neither with local steps nor with PowerSGD, TopK, Threshold or accumulate");
  if (in.contains("evaluation")) spec.evaluation = parse_evaluation(in.at("evaluation"));
  if (spec.optimizer.full_batch()) check_full_batch(spec);
  if (in.contains("begun")) spec.begun = {in.at("begun").at("updates"), in.at("begun").at("epochs")};
  spec.keep_optimizer = in.value("keep_optimizer", false);
  if ((spec.begun || spec.keep_optimizer) && (spec.strategy.is_local() || spec.optimizer.full_batch()))
    fail_bug("the state of local steps and of L-BFGS is not kept");
  if (in.contains("checkpoint")) spec.checkpoint = parse_checkpoint(in.at("checkpoint"), spec.strategy.steps());
  return spec;
} catch (const json::exception& e) {
  fail_user("the training spec is not what this version writes: ", e.what());
}

}  // namespace stoker::train
