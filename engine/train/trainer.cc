#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/fault.h"
#include "base/pieces.h"
#include "base/pulse.h"
#include "collective/topology.h"
#include "data/store/plan.h"
#include "program/executor.h"
#include "program/safetensors.h"
#include "shm/memory.h"
#include "sync/all_reduce.h"
#include "sync/chunks.h"
#include "sync/full_batch.h"
#include "sync/local_steps.h"
#include "sync/power_sgd.h"
#include "sync/threshold.h"
#include "sync/top_k.h"
#include "sync/turns.h"

namespace stoker::train {

namespace {

/// Counting buffers, in program order; each has as many numbers as its shape says.
template <typename Body>
void for_each_count(const program::Program& program, Body body) {
  int64_t at = 0;
  for (const auto& b : program.buffers) {
    if (b.rule != program::BufferRule::count) continue;
    body(b, at);
    at += program::elements(b.shape);
  }
}

sync::StateLayout layout_of(const program::Program& program, const optim::Arena& arena, const optim::Arena& buffers,
                            const optim::Optimizer& optimizer, const optim::Optimizer* outer, const TrainSpec& spec,
                            int64_t evaluations, int64_t pushes) {
  const auto& push = spec.strategy.push;
  const bool low_rank = spec.strategy.rank > 0;
  const int of_replica = push                           ? push->buffers(optimizer)
                         : outer                        ? sync::replica_buffers(spec.strategy.local, optimizer)
                         : spec.strategy.has_feedback() ? sync::FeedbackSteps::kReplicaBuffers
                                                        : 0;
  const int state = outer ? outer->state_buffers() + sync::carried_buffers(spec.strategy.local, optimizer)
                          : optimizer.state_buffers() + (low_rank ? sync::PowerSgd::kBuffers : 0);
  return {arena.floats(),
          buffers.floats(),
          push ? push->common_buffers(optimizer) : state,
          program::count_numbers(program),
          spec.epochs,
          spec.strategy.is_local() ? 0 : optimizer.sums(),
          spec.evaluation ? Evaluator::numbers(*spec.evaluation) : 0,
          spec.evaluation && spec.evaluation->restore_best,
          optimizer.numbers(),
          evaluations,
          of_replica > 0 ? spec.shards : 0,
          of_replica,
          pushes};
}

/// None where there are no local steps.
std::unique_ptr<optim::Optimizer> make_outer(const StrategySpec& spec, const optim::Arena& arena) {
  if (!spec.has_outer()) return nullptr;
  return spec.own ? make_outer_program(*spec.own, arena) : optim::make_optimizer(spec.outer, arena, optim::best_isa());
}

sync::Scalars as_scalars(const program::StepScalars& s) { return {s.numerator, s.denominator, s.correct, s.counted}; }

void copy_tensor(const program::SafeTensors& from, const std::string& name, void* to, size_t bytes) {
  const auto* tensor = from.find(name);
  if (!tensor) fail_user("the initial weights lack '", name, "'");
  if (tensor->data.size() != bytes)
    fail_user("the initial weights of '", name, "' have ", tensor->data.size(), " bytes, the program wants ", bytes);
  copy_bytes(tensor->data, static_cast<std::byte*>(to));
}

void copy_arena(const program::SafeTensors& from, const optim::Arena& arena, float* to,
                const std::string& prefix = "") {
  for (size_t i = 0; i < arena.parameters().size(); ++i) {
    const auto extent = arena.extent(static_cast<int>(i));
    copy_tensor(from, prefix + arena.parameters()[i].name, to + extent.begin, extent.size() * sizeof(float));
  }
}

void list_arena(const optim::Arena& arena, const float* base, std::vector<program::NamedTensor>& out,
                const std::string& prefix) {
  for (size_t i = 0; i < arena.parameters().size(); ++i) {
    const auto& p = arena.parameters()[i];
    const auto extent = arena.extent(static_cast<int>(i));
    out.push_back({prefix + p.name, "float32", p.shape, std::as_bytes(std::span(base + extent.begin, extent.size()))});
  }
}

/// Of the optimizer's part of a result: python/stoker/optimizer_state.py.
std::string prefix_of(const std::string& state) { return "$optimizer." + state + "/"; }
const std::string kOwnWeights = prefix_of("weights");

/// Half of what there is: activations and other processes need some, too.
void check_room(size_t needed, int64_t rows) {
  const size_t most = shm::available_memory() / 2;
  if (needed <= most) return;
  fail_user("roc_auc, average_precision, ndcg_score and hit_rate are of all rows at once, and ", rows,
            " rows held out for validation take ", needed >> 20, " MB for it on each host; ", most >> 20,
            " MB may be used here: hold out fewer rows, or leave these metrics out of evalMetrics");
}

}  // namespace

Trainer::Trainer(const TrainSpec& spec, ByteView constants, int64_t evaluations, int64_t pushes)
    : spec_(spec),
      arithmetic_(spec.threads),
      program_(program::parse_program(spec.program)),
      arena_(program::weight_arena(program_, spec.groups)),
      buffers_(program::buffer_arena(program_)),
      optimizer_(optim::make_optimizer(spec.optimizer, arena_, optim::best_isa())),
      outer_(make_outer(spec.strategy, arena_)),
      layout_(layout_of(program_, arena_, buffers_, *optimizer_, outer_.get(), spec, evaluations, pushes)) {
  static const Bytes none = program::write_safetensors({});
  if (constants.empty()) constants = none;
  const program::SafeTensors given(constants, "the constants");
  if (spec.whole_batch) {
    whole_ = std::make_unique<WholeBatch>(program_, arena_, constants, spec.threads);
    step_ = program::make_whole_batch_executor(program_, arena_, given,
                                               [](int, std::span<double>) {});  // alone: its fingerprint
  } else {
    step_ = program::make_step(program_, arena_, given);
  }
  if (spec.evaluation) evaluator_ = std::make_unique<Evaluator>(*spec.evaluation, program_, arena_, buffers_, given);
}

Trainer::~Trainer() = default;

gang::Fingerprint Trainer::fingerprint(int64_t rows) {
  const auto& own = spec_.strategy.own;
  return train::fingerprint({program_, arena_, buffers_, spec_.optimizer, *step_, own ? &*own : nullptr}, rows);
}

void Trainer::join(collective::Group& group, const std::vector<int>& owners, bool undisturbed, const Load& load) {
  group_ = &group;
  owners_ = owners;
  owned_ = collective::shards_of(owners, group.rank());
  state_ = sync::rejoin(group, layout_, {state_.get(), undisturbed && !disturbed_});
  disturbed_ = false;
  if (state_->committed() == 0) begin(load);
  const sync::CommitOptions options{spec_.shards,
                                    mean_loss(),
                                    spec_.clip_norm,
                                    spec_.clip_value,
                                    spec_.in_place,
                                    owners,
                                    static_cast<int>(layout_.evaluation),
                                    spec_.reduce_bf16};
  if (spec_.optimizer.full_batch())
    strategy_ = std::make_unique<sync::FullBatch>(group, arena_, *optimizer_, *state_, options);
  else if (spec_.strategy.arrival)
    push_by_arrival(options);
  else if (spec_.strategy.push)
    strategy_ = std::make_unique<sync::Turns>(group, arena_, *optimizer_, *state_, options, *spec_.strategy.push);
  else if (outer_)
    strategy_ =
        std::make_unique<sync::LocalSteps>(group, arena_, *optimizer_, *outer_, *state_, options, spec_.strategy.local);
  else if (spec_.strategy.rank > 0)
    strategy_ = std::make_unique<sync::PowerSgd>(group, arena_, *optimizer_, *state_, options, spec_.strategy.rank);
  else if (spec_.strategy.share > 0)
    strategy_ = std::make_unique<sync::TopK>(group, arena_, *optimizer_, *state_, options, spec_.strategy.share);
  else if (spec_.strategy.threshold)
    strategy_ =
        std::make_unique<sync::Threshold>(group, arena_, *optimizer_, *state_, options, *spec_.strategy.threshold);
  else
    strategy_ = std::make_unique<sync::AllReduce>(group, arena_, *optimizer_, *state_, options);
  if (whole_) whole_->join(group, owners);
  bind();
}

void Trainer::push_by_arrival(const sync::CommitOptions& options) {
  auto arrival = std::make_unique<sync::Arrival>(*group_, arena_, *optimizer_, *state_, options, *spec_.strategy.push,
                                                 *spec_.strategy.arrival);
  arrival_ = arrival.get();
  strategy_ = std::move(arrival);
}

void Trainer::bind() const {
  std::vector<sync::WeightSet> sets;
  for (int set : {0, 1}) sets.push_back({state_->weights(set), state_->buffers(set), state_->counts(set)});
  for (const auto& own : strategy_->sets()) sets.push_back(own);
  for (int i = 0; i < static_cast<int>(sets.size()); ++i) {
    step_->bind(i, sets[i].weights, sets[i].buffers, sets[i].counts);
    if (whole_) whole_->bind(i, sets[i]);
  }
}

/// Its sums, its own gradient where it runs beside others, and, where it takes steps alone, weights and optimizer
/// state.
size_t Trainer::shard_bytes() const {
  const auto& push = spec_.strategy.push;
  if (push || spec_.strategy.has_feedback()) {
    const int vectors = (push && push->reset ? optimizer_->state_buffers() : 0) +
                        (spec_.strategy.arrival && push->rule.goes_by_way() ? 1 : 0);
    return static_cast<size_t>(vectors * layout_.floats + 3 * layout_.buffer_floats) * sizeof(float);
  }
  const int64_t vectors = 2 + (whole_ || spec_.optimizer.full_batch() ? 1 : 0) +
                          (outer_ ? 2 * (1 + optimizer_->state_buffers()) : 0) + (spec_.strategy.local.code ? 1 : 0);
  return static_cast<size_t>(vectors * layout_.floats + layout_.buffer_floats) * sizeof(float);
}

void Trainer::leave() {
  collected_.reset();
  strategy_.reset();
  arrival_ = nullptr;
  if (whole_) whole_->leave();
  group_ = nullptr;
}

void Trainer::expect_evaluations(const std::vector<int64_t>& rows) {
  if (evaluator_->bytes_of_row() == 0) return;
  std::vector<size_t> room;
  int64_t all = 0;
  for (const int64_t each : rows) {
    room.push_back(packed_bytes(static_cast<size_t>(each) * evaluator_->bytes_of_row()));
    all += each;
  }
  // Once a host: who comes later finds less, as the first one has taken it.
  if (group_->local_rank() == 0) check_room(collective::ShardBytes::bytes(room), all);
  collected_ = std::make_unique<collective::ShardBytes>(*group_, room, owners_);
}

void Trainer::adopt(shm::Segment memory, bool undisturbed) {
  state_ = std::make_unique<sync::HostState>(layout_, std::move(memory));
  disturbed_ = !undisturbed;
}

void Trainer::begin(const Load& load) {
  const uint64_t commit = load(*state_);
  group_->arrive(collective::Phase::slices, commit);
  group_->await(collective::Phase::slices, commit);
  state_->flip(commit);
}

uint64_t Trainer::begin_with(const std::function<Bytes()>& initial) const {
  constexpr uint64_t kInitial = 1;
  const int set = sync::HostState::set_of(kInitial);
  if (group_->local_rank() != 0) return kInitial;
  const Bytes bytes = initial();
  const program::SafeTensors from(bytes, "the initial weights");
  const bool own = spec_.begun && from.find(kOwnWeights + arena_.parameters().front().name);
  const std::string prefix = own ? kOwnWeights : "";
  copy_arena(from, arena_, state_->weights(set), prefix);
  copy_arena(from, buffers_, state_->buffers(set), prefix);
  for_each_count(program_, [&](const program::Buffer& b, int64_t at) {
    copy_tensor(from, prefix + b.name, state_->counts(set) + at, program::elements(b.shape) * sizeof(int64_t));
  });
  if (spec_.begun) begin_optimizer(from, set);
  if (spec_.strategy.push) sync::Turns::begin_replicas(*state_, set);
  if (spec_.strategy.rank > 0) sync::PowerSgd::begin_factors(*state_, set, arena_, spec_.strategy.rank);
  return kInitial;
}

void Trainer::begin_optimizer(const program::SafeTensors& from, int set) const {
  const auto names = optimizer_->state_names();
  for (size_t k = 0; k < names.size(); ++k)
    copy_arena(from, arena_, state_->optimizer(set, static_cast<int>(k)), prefix_of(names[k]));
}

void Trainer::count_run() {
  ++runs_;
  state_->count_run();
  fault::point("forward", static_cast<int64_t>(state_->committed()));
}

/// A part of the rows that a shard has in a step.
sync::Scalars Trainer::run_micro_batch(const MicroBatch& which, const Batches& inputs, int set, float* gradient,
                                       float* buffers, PhaseTimes& times) {
  Stopwatch watch;
  const auto batch = inputs.gather(which.before + which.step, which.shard, which.part);
  times.gather += watch.restart();
  count_run();
  const auto turn = static_cast<uint64_t>(which.step * spec_.accumulate + which.part);
  const auto s =
      step_->run(set, batch, gradient, buffers, {spec_.seed, which.epoch, turn, static_cast<uint64_t>(which.shard)});
  bend(gradient);
  times.compute += watch.elapsed();
  return as_scalars(s);
}

/// Adds a part's gradient, and its share of the float buffers after it.
void Trainer::add_part(const float* part, float share, float* gradient, float* buffers) const {
  sync::add_share({0, layout_.floats}, part, 1, gradient);
  sync::add_share({0, layout_.buffer_floats}, part + layout_.floats, share, buffers);
}

/// All from the same weights and buffers, as if each were of a shard of its own.
sync::Scalars Trainer::accumulate(MicroBatch which, const Batches& inputs, int set, float* gradient, float* buffers,
                                  PhaseTimes& times) {
  const data::Rows rows{0, inputs.rows(which.before + which.step, which.shard)};
  const int64_t parts = data::parts_of(rows.size(), spec_.accumulate);
  if (parts == 1) return run_micro_batch(which, inputs, set, gradient, buffers, times);
  part_.make_room(layout_.floats + layout_.buffer_floats);
  std::fill_n(part_.data(), layout_.floats + layout_.buffer_floats, 0.0F);
  std::fill_n(gradient, layout_.floats, 0.0F);
  sync::Scalars sums;
  for (; which.part < parts; ++which.part) {
    sums += run_micro_batch(which, inputs, set, part_.data(), part_.data() + layout_.floats, times);
    const auto share =
        static_cast<double>(data::part_of(rows, parts, which.part).size()) / static_cast<double>(rows.size());
    add_part(part_.data(), static_cast<float>(share), gradient, buffers);
  }
  return sums;
}

void Trainer::run_part(const sync::Part& part, const MicroBatch& which, const Batches& inputs, PhaseTimes& times) {
  strategy_->run(part, [&](int set, float* gradient, float* buffers) {
    return accumulate(which, inputs, set, gradient, buffers, times);
  });
}

/// By shard.
std::vector<int64_t> Trainer::rows_of(const StepSpec& spec, int64_t step, const Batches& inputs) const {
  std::vector<int64_t> rows;
  for (int shard = 0; shard < spec_.shards; ++shard)
    rows.push_back(spec.present[shard] ? inputs.rows(static_cast<int64_t>(spec.step) + step, shard) : 0);
  return rows;
}

void Trainer::run_apart(const StepSpec& spec, const Batches& inputs, PhaseTimes& times) {
  for (int64_t i = 0; i < spec.count; ++i) {
    const auto together = strategy_->meets_in_steps() ? rows_of(spec, i, inputs) : std::vector<int64_t>();
    const bool meets = std::ranges::any_of(together, [](int64_t rows) { return rows > 0; });
    if (meets) strategy_->begin_step(i, together);
    const int64_t step = static_cast<int64_t>(spec.step) + i;
    for (const int shard : owned_) {
      const int64_t rows = spec.present[shard] ? inputs.rows(step, shard) : 0;
      const double share = static_cast<double>(rows) / static_cast<double>(spec.rows);
      if (rows > 0) run_part({shard, i, share}, {spec_.draws(spec.epoch), step, shard}, inputs, times);
    }
    if (meets) strategy_->end_step();
  }
}

/// As they come, until the round has no more for this rank.
void Trainer::run_windows(const StepSpec& spec, const Batches& inputs, PhaseTimes& times) {
  const auto timed = [&](double& time, const auto& what) {
    const Stopwatch watch;
    auto found = what();
    time += watch.elapsed();
    return found;
  };
  while (const auto window = timed(times.sync, [&] { return arrival_->next(); })) {
    const auto steps = inputs.window(window->shard, window->number);
    const int64_t pass = steps.begin / spec.steps;
    for (int64_t step = steps.begin; step < steps.end; ++step) {
      const MicroBatch which{spec_.draws(static_cast<uint64_t>(pass)), step - pass * spec.steps, window->shard, 0,
                             pass * spec.steps};
      if (inputs.rows(step, window->shard) > 0) run_part({window->shard, step - steps.begin}, which, inputs, times);
    }
    timed(times.update, [&] { return arrival_->push(window->shard), true; });
  }
}

/// In the windows of this round.
int64_t Trainer::rows_pushed(const StepSpec& spec, const Batches& inputs) const {
  int64_t rows = 0;
  for (int shard = 0; shard < spec_.shards; ++shard) {
    const auto [first, last] = arrival_->windows(shard);
    for (int64_t number = first; number < last; ++number) {
      const auto steps = inputs.window(shard, number);
      for (int64_t step = steps.begin; step < steps.end; ++step) rows += inputs.rows(step, shard);
    }
  }
  return rows;
}

std::vector<program::MicroBatch> Trainer::gathered(const StepSpec& spec, const std::vector<int>& shards,
                                                   const Batches& inputs) {
  std::vector<program::MicroBatch> batches;
  for (const int shard : shards) {
    batches.push_back({inputs.gather(static_cast<int64_t>(spec.step), shard, 0),
                       {spec_.seed, spec_.draws(spec.epoch), spec.step, static_cast<uint64_t>(shard)}});
    count_run();
  }
  return batches;
}

std::vector<int> Trainer::present(const StepSpec& spec) const {
  std::vector<int> shards;
  std::ranges::copy_if(owned_, std::back_inserter(shards), [&](int shard) { return spec.present[shard]; });
  return shards;
}

void Trainer::run_together(const StepSpec& spec, const Batches& inputs, PhaseTimes& times) {
  Stopwatch watch;
  const auto shards = present(spec);
  const auto batches = gathered(spec, shards, inputs);
  times.gather += watch.restart();
  const auto fold = strategy_->own_fold();
  program::GradientStack gradients{{}, fold.partials, fold.rounded > 0};
  for (const auto& step : fold.steps) gradients.merges.push_back(step.merges);
  const int set = state_->current();
  std::vector<sync::Scalars> scalars;
  for (const auto& s : step_->run_together(set, batches, gradients)) scalars.push_back(as_scalars(s));
  bend(fold.partials.front());
  strategy_->put_all(shards, scalars);
  times.compute += watch.restart();
}

void Trainer::run_whole_batch(const StepSpec& spec, const Batches& inputs, PhaseTimes& times) {
  Stopwatch watch;
  const auto shards = present(spec);
  const WholeBatch::Step step{state_->current(), shards, gathered(spec, shards, inputs), spec.present,
                              static_cast<int64_t>(state_->committed())};
  times.gather += watch.restart();
  double waited = 0;
  const auto results = whole_->run(step, waited);
  for (size_t i = 0; i < shards.size(); ++i) {
    const auto rows = static_cast<double>(inputs.rows(static_cast<int64_t>(spec.step), shards[i]));
    const auto& [scalars, from, after] = results[i];
    strategy_->run({shards[i], 0, rows / static_cast<double>(spec.rows)}, [&](int, float* gradient, float* buffers) {
      std::copy_n(from, layout_.floats, gradient);
      std::copy_n(after, buffers_.floats(), buffers);
      bend(gradient);
      return as_scalars(scalars);
    });
  }
  times.compute += watch.elapsed() - waited;
  times.sync += waited;
}

/// Whether a step is committed that is finite, or is not. docs/troubleshooting.md quotes what ends the fit.
bool Trainer::goes_on(bool finite, const StepSpec& spec, const sync::Scalars& totals) const {
  if (finite || spec_.on_nan == OnNaN::proceed) return true;
  if (spec_.on_nan == OnNaN::skip) return false;
  const bool loss = !std::isfinite(totals.numerator);
  fail_user(loss ? cat("the loss became ", totals.numerator) : "the gradient or a new weight is not finite",
            " in epoch ", spec.epoch + 1,
            spec.count > 1 ? cat(", one of the steps to ", spec.step + spec.count) : cat(", step ", spec.step + 1),
            "; look at the learning rate and the data, or set onNaN=\"skip\" to leave such steps out");
}

int64_t Trainer::updates_before(uint64_t epoch, uint64_t step) const {
  const auto updates = [](const sync::EpochTotals& of) { return of.steps - of.kept; };
  int64_t sum = spec_.begun ? spec_.begun->updates : 0;
  if (step > 0) sum += updates(state_->running(state_->current()));
  for (const auto& before : state_->finished().first(epoch)) sum += updates(before);
  return sum;
}

/// Beside the old ones, like all of the step.
void Trainer::write_totals(const StepSpec& spec, const sync::Scalars& totals, bool kept) {
  if (group_->local_rank() != 0) return;
  sync::EpochTotals epoch = spec.step == 0 ? sync::EpochTotals() : state_->running(state_->current());
  epoch.steps += spec.count;
  epoch.kept += kept ? spec.count : 0;
  if (!kept) {
    epoch.sums += totals;
    epoch.rows += spec.rows;
  }
  epoch.seconds = spec.seconds();
  state_->running(sync::HostState::set_of(state_->committed() + 1)) = epoch;
  state_->told(sync::HostState::set_of(state_->committed() + 1)) = told_;
  if (spec.last) state_->finished()[spec.epoch] = epoch;
  if (layout_.best) state_->aside(sync::HostState::set_of(state_->committed() + 1)) = aside_;
}

/// The new state, unless the old one is to stay.
bool Trainer::make(const StepSpec& spec, const sync::Scalars& totals, sync::StepTimes& times) {
  if (spec.rows == 0 || !goes_on(std::isfinite(totals.numerator), spec, totals)) return false;
  write_totals(spec, totals, false);
  return goes_on(strategy_->make(times), spec, totals);
}

bool Trainer::step(StepSpec spec, const Batches& inputs, const std::function<void()>& meanwhile, PhaseTimes& times) {
  Stopwatch watch;
  set_aside(spec);
  told_ = state_->told(state_->current());
  const int64_t epochs = static_cast<int64_t>(spec.epoch) + (spec_.begun ? spec_.begun->epochs : 0);
  optim::Moment at(updates_before(spec.epoch, spec.step) + 1, epochs, spec.steps);
  at.rate = told_.rate;
  if (evaluator_) at.lowered = evaluator_->lowerings(state_->evaluations(spec.evaluations));
  strategy_->begin({spec.present, spec.pause, at, spec.count, spec.wish, spec.windows});
  if (arrival_)
    run_windows(spec, inputs, times);
  else if (whole_)
    run_whole_batch(spec, inputs, times);
  else if (spec_.accumulate == 1 && step_->runs_together() && strategy_->runs_together())
    run_together(spec, inputs, times);
  else
    run_apart(spec, inputs, times);
  watch.restart();
  strategy_->publish();
  meanwhile();
  times.gather += watch.restart();
  const auto totals = strategy_->exchange();
  told_ = sync::told_after(told_, strategy_->heard(), state_->committed());
  if (arrival_) spec.rows = rows_pushed(spec, inputs);
  times.sync += watch.restart();
  sync::StepTimes step_times;
  if (!make(spec, totals, step_times)) {
    write_totals(spec, totals, true);
    strategy_->keep(step_times);
  }
  strategy_->commit();
  times.sync += step_times.wait;
  times.update += step_times.update;
  return strategy_->pausing();
}

/// The first step after the best evaluation so far does it, before anything is committed: the best before are not
/// wanted any more, by what is committed already, and who repeats the step writes the same.
void Trainer::set_aside(const StepSpec& spec) {
  if (!layout_.best) return;
  const int set = state_->current();
  aside_ = state_->aside(set);
  const auto last = static_cast<int64_t>(spec.evaluations) - 1;
  if (!spec.follows || aside_ > 0 || verdict(spec.evaluations).best != last) return;
  aside_ = last + 1;
  const auto ranks = static_cast<int>(group_->local_ranks().size());
  const auto mine = collective::slice_of(layout_.floats, optim::kBlock, group_->local_rank(), ranks);
  const float* weights = model_weights(set);
  std::copy(weights + mine.begin, weights + mine.end, state_->best() + mine.begin);
  fault::point("aside", static_cast<int64_t>(state_->committed()));
  if (group_->local_rank() != 0) return;
  std::copy_n(state_->buffers(set), layout_.buffer_floats, state_->best() + layout_.floats);
  std::copy_n(state_->counts(set), layout_.counts, state_->best_counts());
}

/// In one order of additions, whoever does it.
std::vector<double> Trainer::evaluate_shard(int shard, int64_t steps, const Batches& inputs, PhaseTimes& times) {
  const int set = state_->current();
  const program::StateSet state{model_weights(set), state_->buffers(set), state_->counts(set)};
  std::vector<double> numbers(layout_.evaluation);
  Collected rows;
  for (int64_t step = 0; step < steps; ++step) {
    Stopwatch watch;
    if (inputs.rows(step, shard) == 0) continue;
    const auto batch = inputs.gather(step, shard, 0);
    fault::point("evaluate", static_cast<int64_t>(state_->committed()));
    evaluator_->add(state, batch, numbers, rows);
    pulse::beat();
    times.evaluate += watch.elapsed();
  }
  if (collected_) collected_->put(shard, evaluator_->packed(rows));
  return numbers;
}

/// What needs all rows at once: the first rank of each host does it, before it writes.
void Trainer::settle(std::vector<double>& totals) {
  if (!collected_ || group_->local_rank() != 0) return;
  evaluator_->settle(collected_->all(state_->committed() + 1), totals);
  fault::point("ranked", static_cast<int64_t>(state_->committed()));
}

bool Trainer::evaluate(const StepSpec& spec, int64_t steps, const Batches& inputs, PhaseTimes& times) {
  std::map<int, std::vector<double>> numbers;
  for (const int shard : owned_)
    if (spec.present[shard]) numbers[shard] = evaluate_shard(shard, steps, inputs, times);
  Stopwatch watch;
  auto totals = strategy_->add_up(spec.present, spec.pause, numbers);
  if (!mean_loss()) totals[1] = static_cast<double>(steps);
  settle(totals);
  write_evaluation(spec, totals);
  sync::StepTimes step_times;
  strategy_->keep(step_times);
  strategy_->commit();
  times.sync += watch.elapsed();
  return strategy_->pausing();
}

/// Beside the old state, like all of a step.
void Trainer::write_evaluation(const StepSpec& spec, const std::vector<double>& totals) {
  if (group_->local_rank() != 0) return;
  sync::EpochTotals epoch = state_->running(state_->current());
  epoch.seconds = spec.seconds();
  state_->running(sync::HostState::set_of(state_->committed() + 1)) = epoch;
  state_->told(sync::HostState::set_of(state_->committed() + 1)) = state_->told(state_->current());
  state_->finished()[spec.epoch] = epoch;
  std::ranges::copy(totals, state_->evaluated(spec.evaluations).begin());
  if (!layout_.best) return;
  const bool best = verdict(spec.evaluations + 1).best == static_cast<int64_t>(spec.evaluations);
  state_->aside(sync::HostState::set_of(state_->committed() + 1)) = best ? 0 : state_->aside(state_->current());
}

std::string Trainer::ended() const { return has_state() ? optimizer_->ended(state_->numbers(state_->current())) : ""; }

std::span<const uint8_t> Trainer::record() const {
  return state_->record().first(static_cast<size_t>(state_->pushes_made()));
}

bool Trainer::mean_loss() const { return program_.loss.denominator >= 0 || program_.loss.per_row > 0; }

std::vector<std::string> Trainer::optimizer_names() const {
  if (spec_.strategy.push && !spec_.strategy.push->gradients()) return {};
  std::vector<std::string> names;
  if (!outer_) {
    names = optimizer_->state_names();
    if (spec_.strategy.rank > 0) names.emplace_back("right_factors");
    return names;
  }
  for (const auto& name : outer_->state_names()) names.push_back("outer." + name);
  if (sync::carried_buffers(spec_.strategy.local, *optimizer_) > 0)
    std::ranges::copy(optimizer_->state_names(), std::back_inserter(names));
  return names;
}

/// Those that the model gets.
float* Trainer::model_weights(int set) const {
  const int result = optimizer_->result();
  return result >= 0 ? state_->optimizer(set, result) : state_->weights(set);
}

void Trainer::list_state(const Values& values, const std::string& prefix, Tensors& out) const {
  list_arena(arena_, values.weights, out, prefix);
  list_arena(buffers_, values.buffers, out, prefix);
  for_each_count(program_, [&](const program::Buffer& b, int64_t at) {
    const std::span numbers(values.counts + at, program::elements(b.shape));
    out.push_back({prefix + b.name, "int64", b.shape, std::as_bytes(numbers)});
  });
}

Bytes Trainer::weights(const int64_t& updates) const {
  const int set = state_->current();
  Tensors tensors;
  const bool best = layout_.best && state_->aside(set) > 0;
  Values values{model_weights(set), state_->buffers(set), state_->counts(set)};
  if (best) values = {state_->best(), state_->best() + layout_.floats, state_->best_counts()};
  list_state(values, "", tensors);
  if (!spec_.keep_optimizer) return program::write_safetensors(std::move(tensors));
  const auto names = optimizer_->state_names();
  for (size_t k = 0; k < names.size(); ++k)
    list_arena(arena_, state_->optimizer(set, static_cast<int>(k)), tensors, prefix_of(names[k]));
  if (best || optimizer_->result() >= 0)
    list_state({state_->weights(set), state_->buffers(set), state_->counts(set)}, kOwnWeights, tensors);
  tensors.push_back({"$optimizer.updates", "int64", {}, std::as_bytes(std::span(&updates, 1))});
  return program::write_safetensors(std::move(tensors));
}

}  // namespace stoker::train
