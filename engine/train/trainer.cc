#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/fault.h"
#include "base/pieces.h"
#include "base/pulse.h"
#include "collective/topology.h"
#include "program/executor.h"
#include "program/safetensors.h"

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
                            const optim::Optimizer& optimizer, const TrainSpec& spec) {
  return {arena.floats(),
          buffers.floats(),
          optimizer.state_buffers(),
          program::count_numbers(program),
          spec.epochs,
          optimizer.sums(),
          spec.evaluation ? Evaluator::numbers(*spec.evaluation) : 0,
          spec.evaluation && spec.evaluation->restore_best};
}

void copy_tensor(const program::SafeTensors& from, const std::string& name, void* to, size_t bytes) {
  const auto* tensor = from.find(name);
  if (!tensor) fail_user("the initial weights lack '", name, "'");
  if (tensor->data.size() != bytes)
    fail_user("the initial weights of '", name, "' have ", tensor->data.size(), " bytes, the program wants ", bytes);
  copy_bytes(tensor->data, static_cast<std::byte*>(to));
}

void copy_arena(const program::SafeTensors& from, const optim::Arena& arena, float* to) {
  for (size_t i = 0; i < arena.parameters().size(); ++i) {
    const auto extent = arena.extent(static_cast<int>(i));
    copy_tensor(from, arena.parameters()[i].name, to + extent.begin, extent.size() * sizeof(float));
  }
}

void list_arena(const optim::Arena& arena, const float* base, std::vector<program::NamedTensor>& out) {
  for (size_t i = 0; i < arena.parameters().size(); ++i) {
    const auto& p = arena.parameters()[i];
    const auto extent = arena.extent(static_cast<int>(i));
    out.push_back({p.name, "float32", p.shape, std::as_bytes(std::span(base + extent.begin, extent.size()))});
  }
}

}  // namespace

Trainer::Trainer(const TrainSpec& spec, ByteView constants)
    : spec_(spec),
      arithmetic_(spec.threads),
      program_(program::parse_program(spec.program)),
      arena_(program::weight_arena(program_, spec.groups)),
      buffers_(program::buffer_arena(program_)),
      optimizer_(optim::make_optimizer(spec.optimizer, arena_, optim::best_isa())),
      layout_(layout_of(program_, arena_, buffers_, *optimizer_, spec)) {
  const Bytes none = program::write_safetensors({});
  const program::SafeTensors given(constants.empty() ? ByteView(none) : constants, "the constants");
  step_ = program::make_step(program_, arena_, given);
  if (spec.evaluation) evaluator_ = std::make_unique<Evaluator>(*spec.evaluation, program_, arena_, buffers_, given);
}

Trainer::~Trainer() = default;

gang::Fingerprint Trainer::fingerprint(int64_t rows) {
  return train::fingerprint({program_, arena_, buffers_, *optimizer_, *step_}, rows);
}

void Trainer::join(collective::Group& group, const std::vector<int>& owners, bool undisturbed, const Load& load) {
  group_ = &group;
  owned_ = collective::shards_of(owners, group.rank());
  state_ = sync::rejoin(group, layout_, {state_.get(), undisturbed && !disturbed_});
  disturbed_ = false;
  for (int set : {0, 1}) step_->bind(set, state_->weights(set), state_->buffers(set), state_->counts(set));
  if (state_->committed() == 0) begin(load);
  const sync::AllReduceOptions options{spec_.shards,   spec_.clip_norm, spec_.clip_value,
                                       spec_.in_place, owners,          static_cast<int>(layout_.evaluation)};
  reduce_ = std::make_unique<sync::AllReduce>(group, arena_, *optimizer_, *state_, options);
}

void Trainer::leave() {
  reduce_.reset();
  group_ = nullptr;
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
  copy_arena(from, arena_, state_->weights(set));
  copy_arena(from, buffers_, state_->buffers(set));
  for_each_count(program_, [&](const program::Buffer& b, int64_t at) {
    copy_tensor(from, b.name, state_->counts(set) + at, program::elements(b.shape) * sizeof(int64_t));
  });
  return kInitial;
}

void Trainer::count_run() {
  ++runs_;
  state_->count_run();
  fault::point("forward", static_cast<int64_t>(state_->committed()));
}

void Trainer::run_shard(int shard, const StepSpec& spec, const std::vector<at::Tensor>& inputs) {
  float* gradient = reduce_->partial();
  float* buffers = gradient + arena_.floats();
  std::fill_n(buffers, buffers_.floats(), 0.0f);
  const int set = state_->current();
  count_run();
  const program::RandomKey key{spec_.seed, spec.epoch, spec.step, static_cast<uint64_t>(shard)};
  const auto s = step_->run(set, inputs, gradient, buffers, key);
  bend(gradient);
  const float share = static_cast<float>(static_cast<double>(inputs.at(0).size(0)) / spec.rows);
  for (int64_t i = 0; i < buffers_.floats(); ++i) buffers[i] *= share;
  reduce_->put(shard, {s.numerator, s.denominator, s.correct, s.counted});
}

void Trainer::run_apart(const std::vector<int>& shards, const StepSpec& spec,
                        const std::function<std::vector<at::Tensor>(int)>& inputs, PhaseTimes& times) {
  Stopwatch watch;
  for (const int shard : shards) {
    const auto batch = inputs(shard);
    times.gather += watch.restart();
    run_shard(shard, spec, batch);
    times.compute += watch.restart();
  }
}

void Trainer::run_together(const std::vector<int>& shards, const StepSpec& spec,
                           const std::function<std::vector<at::Tensor>(int)>& inputs, PhaseTimes& times) {
  Stopwatch watch;
  std::vector<program::MicroBatch> batches;
  for (const int shard : shards) {
    batches.push_back({inputs(shard), {spec_.seed, spec.epoch, spec.step, static_cast<uint64_t>(shard)}});
    count_run();
  }
  times.gather += watch.restart();
  const auto fold = reduce_->own_fold();
  program::GradientStack gradients{{}, fold.partials};
  for (const auto& step : fold.steps) gradients.merges.push_back(step.merges);
  const int set = state_->current();
  std::vector<sync::Scalars> scalars;
  for (const auto& s : step_->run_together(set, batches, gradients))
    scalars.push_back({s.numerator, s.denominator, s.correct, s.counted});
  bend(fold.partials.front());
  reduce_->put_all(shards, scalars);
  times.compute += watch.restart();
}

/// Whether a step is committed that is finite, or is not.
bool Trainer::goes_on(bool finite, const StepSpec& spec, const sync::Scalars& totals) const {
  if (finite || spec_.on_nan == OnNaN::proceed) return true;
  if (spec_.on_nan == OnNaN::skip) return false;
  const bool loss = !std::isfinite(totals.numerator);
  fail_user(loss ? cat("the loss became ", totals.numerator) : "the gradient or a new weight is not finite",
            " in epoch ", spec.epoch + 1, ", step ", spec.step + 1,
            "; look at the learning rate and the data, or set onNaN=\"skip\" to leave such steps out");
}

/// Commits so far that left the state as it was.
int64_t Trainer::kept_before(const StepSpec& spec) const {
  int64_t kept = spec.step == 0 ? 0 : state_->running(state_->current()).kept;
  if (evaluator_) kept += static_cast<int64_t>(spec.epoch);
  for (const auto& epoch : state_->finished().first(spec.epoch)) kept += epoch.kept;
  return kept;
}

/// Beside the old ones, like all of the step.
void Trainer::write_totals(const StepSpec& spec, const sync::Scalars& totals, bool kept) {
  if (group_->local_rank() != 0) return;
  sync::EpochTotals epoch = spec.step == 0 ? sync::EpochTotals() : state_->running(state_->current());
  epoch.steps += 1;
  epoch.kept += kept;
  if (!kept) {
    epoch.sums += totals;
    epoch.rows += spec.rows;
  }
  epoch.seconds = spec.seconds;
  state_->running(sync::HostState::set_of(state_->committed() + 1)) = epoch;
  if (spec.last) state_->finished()[spec.epoch] = epoch;
  if (layout_.best) state_->aside(sync::HostState::set_of(state_->committed() + 1)) = aside_;
}

/// The new state, unless the old one is to stay.
bool Trainer::make(const StepSpec& spec, const sync::Scalars& totals, sync::StepTimes& times) {
  if (spec.rows == 0 || !goes_on(std::isfinite(totals.numerator), spec, totals)) return false;
  write_totals(spec, totals, false);
  return goes_on(reduce_->make(mean_loss(), times), spec, totals);
}

bool Trainer::step(const StepSpec& spec, const std::function<std::vector<at::Tensor>(int)>& inputs,
                   const std::function<void()>& meanwhile, PhaseTimes& times) {
  Stopwatch watch;
  set_aside(spec);
  reduce_->begin(spec.present, spec.pause, kept_before(spec), static_cast<int64_t>(spec.epoch), spec.steps);
  std::vector<int> shards;
  std::ranges::copy_if(owned_, std::back_inserter(shards), [&](int shard) { return spec.present[shard]; });
  step_->runs_together() ? run_together(shards, spec, inputs, times) : run_apart(shards, spec, inputs, times);
  watch.restart();
  reduce_->publish();
  meanwhile();
  times.gather += watch.restart();
  const auto totals = reduce_->exchange();
  times.sync += watch.restart();
  sync::StepTimes step_times;
  if (!make(spec, totals, step_times)) {
    write_totals(spec, totals, true);
    reduce_->keep(step_times);
  }
  reduce_->commit();
  times.sync += step_times.wait;
  times.update += step_times.update;
  return reduce_->pausing();
}

/// The first step after the best evaluation so far does it, before anything is committed: the best before are not
/// wanted any more, by what is committed already, and who repeats the step writes the same.
void Trainer::set_aside(const StepSpec& spec) {
  if (!layout_.best) return;
  const int set = state_->current();
  aside_ = state_->aside(set);
  const auto last = static_cast<int64_t>(spec.epoch) - 1;
  if (spec.step > 0 || aside_ > 0 || last < 0 || verdict(spec.epoch).best != last) return;
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
  for (int64_t step = 0; step < steps; ++step) {
    Stopwatch watch;
    const auto batch = inputs(step, shard);
    times.gather += watch.restart();
    if (batch.empty()) continue;
    fault::point("evaluate", static_cast<int64_t>(state_->committed()));
    evaluator_->add(state, batch, numbers);
    pulse::beat();
    times.compute += watch.restart();
  }
  return numbers;
}

bool Trainer::evaluate(const StepSpec& spec, int64_t steps, const Batches& inputs, PhaseTimes& times) {
  std::map<int, std::vector<double>> numbers;
  for (const int shard : owned_)
    if (spec.present[shard]) numbers[shard] = evaluate_shard(shard, steps, inputs, times);
  Stopwatch watch;
  auto totals = reduce_->add_up(spec.present, spec.pause, numbers);
  if (!mean_loss()) totals[1] = static_cast<double>(steps);
  write_evaluation(spec, totals);
  sync::StepTimes step_times;
  reduce_->keep(step_times);
  reduce_->commit();
  times.sync += watch.elapsed();
  return reduce_->pausing();
}

/// Beside the old state, like all of a step.
void Trainer::write_evaluation(const StepSpec& spec, const std::vector<double>& totals) {
  if (group_->local_rank() != 0) return;
  sync::EpochTotals epoch = state_->running(state_->current());
  epoch.seconds = spec.seconds;
  state_->running(sync::HostState::set_of(state_->committed() + 1)) = epoch;
  state_->finished()[spec.epoch] = epoch;
  std::ranges::copy(totals, state_->evaluated(spec.epoch).begin());
  if (!layout_.best) return;
  const bool best = verdict(spec.epoch + 1).best == static_cast<int64_t>(spec.epoch);
  state_->aside(sync::HostState::set_of(state_->committed() + 1)) = best ? 0 : state_->aside(state_->current());
}

bool Trainer::mean_loss() const { return program_.loss.denominator >= 0 || program_.loss.per_row > 0; }

/// Those that the model gets.
float* Trainer::model_weights(int set) const {
  const bool average = spec_.optimizer.average.on;  // the optimizer's last state
  return average ? state_->optimizer(set, layout_.state_buffers - 1) : state_->weights(set);
}

Bytes Trainer::weights() const {
  const int set = state_->current();
  std::vector<program::NamedTensor> tensors;
  const bool best = layout_.best && state_->aside(set) > 0;
  list_arena(arena_, best ? state_->best() : model_weights(set), tensors);
  list_arena(buffers_, best ? state_->best() + layout_.floats : state_->buffers(set), tensors);
  const int64_t* counts = best ? state_->best_counts() : state_->counts(set);
  for_each_count(program_, [&](const program::Buffer& b, int64_t at) {
    const std::span numbers(counts + at, program::elements(b.shape));
    tensors.push_back({b.name, "int64", b.shape, std::as_bytes(numbers)});
  });
  return program::write_safetensors(std::move(tensors));
}

}  // namespace stoker::train
