#include "sync/arrival.h"

#include <algorithm>

#include "base/clock.h"
#include "base/fault.h"
#include "collective/topology.h"
#include "optim/finite.h"
#include "sync/chunks.h"

namespace stoker::sync {

using collective::Phase;
using optim::Extent;

namespace {

int64_t chunks_of(const StateLayout& layout) {
  return (layout.floats + kChunk - 1) / kChunk + (layout.buffer_floats > 0 ? 1 : 0);
}

void check_hosts(const collective::Group& group) {
  if (group.hosts() == 1) return;
  fail_user("order='arrival', and a recorded order, are for workers that share memory, and these are on ",
            group.hosts(), " hosts: take order='turns', whose pushes go between hosts, or run all workers on one");
}

}  // namespace

Arrival::Arrival(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer,
                 HostState& state, const CommitOptions& options, const PushOptions& pushing, ArrivalOptions arrival)
    : Pushing(group, arena, optimizer, state, options, pushing, 0),
      arrival_(std::move(arrival)),
      mine_(owned_shards(options, group)),
      board_(make_board(group, options.shards, chunks_of(state.layout()))) {
  check_hosts(group);
  if (!pushing.rule.goes_by_way()) return;
  pulled_.resize(replicas_.size());
  for (auto& weights : pulled_) weights.make_room(arena.floats());
}

Arrival::Board Arrival::make_board(collective::Group& group, int64_t shards, int64_t chunks) {
  const auto count = static_cast<size_t>(2 + shards + chunks);
  const std::span numbers(reinterpret_cast<Number*>(group.host_region(count * sizeof(Number)).data()), count);
  return {&numbers[0], &numbers[1], numbers.subspan(2, static_cast<size_t>(shards)),
          numbers.last(static_cast<size_t>(chunks))};
}

void Arrival::begin(const Round& round) {
  Pushing::begin(round);
  base_ = pushes_made(numbers_before());
  place_ = 0;
  if (arrival_.record) check_record();
  if (group_.local_rank() == 0) lay_out_board();
  group_.arrive(Phase::begun, next_);
  group_.await(Phase::begun, next_);  // nobody writes beside the committed state before all have it
  set_out_chunks();
}

/// Of a place that is waited for in vain.
void Arrival::check_record() const {
  const Record& record = *arrival_.record;
  if (static_cast<int64_t>(record.size()) < base_ + round_.windows)
    fail_user("order has ", record.size(), " pushes, and the fit goes on after them: it is the order of another fit");
  for (const int shard : record_of_round())
    if (shard >= options_.shards || !round_.present[shard])
      fail_user("order has a push of shard ", shard, ", which has no rows here: it is the order of another fit");
}

std::span<const uint8_t> Arrival::record_of_round() const {
  return std::span(*arrival_.record).subspan(static_cast<size_t>(base_), static_cast<size_t>(round_.windows));
}

void Arrival::lay_out_board() {
  *board_.begun = *board_.tickets = base_;
  const auto before = numbers_before();
  for (size_t shard = 0; shard < before.size(); ++shard) board_.pushes[shard] = before[shard].pushes;
  for (auto& applied : board_.applied) applied = -1;
}

/// Of the common weights those of this rank, which may be pushed into then.
void Arrival::set_out_chunks() {
  const auto& layout = state_.layout();
  const auto mine = collective::slice_of(static_cast<int64_t>(board_.applied.size()), 1, group_.local_rank(),
                                         static_cast<int>(group_.local_ranks().size()));
  for (int64_t chunk = mine.begin; chunk < mine.end; ++chunk) {
    const int64_t at = chunk * kChunk;
    if (at < layout.floats)
      set_out_common({at, std::min(at + kChunk, layout.floats)});
    else
      copy_in_chunks({0, layout.buffer_floats}, state_.buffers(old_set()), state_.buffers(new_set()));
    board_.applied[static_cast<size_t>(chunk)] = base_;
  }
  group_.wake();
}

std::vector<int64_t> Arrival::pushes() const { return {board_.pushes.begin(), board_.pushes.end()}; }

std::pair<int64_t, int64_t> Arrival::windows(int shard) const {
  return {state_.replica_numbers(old_set(), shard).pushes, board_.pushes[static_cast<size_t>(shard)]};
}

std::optional<Arrival::Window> Arrival::next() {
  const int shard = arrival_.record ? claim_by_record() : claim();
  if (shard < 0) return {};
  const Replica& replica = replicas_[number_of(replicas_, shard)];
  const ReplicaNumbers& stands = state_.replica_numbers(replica.steps > 0 ? new_set() : old_set(), shard);
  progress_ = std::max<int64_t>(stands.pulled - base_, 0) * round_.steps / round_.windows;
  return Window{shard, stands.pushes};
}

int Arrival::claim() {
  int next = kNobody;
  const auto look = [&] {
    int64_t begun = *board_.begun;
    do {
      const int64_t left = base_ + round_.windows - begun;
      next = next_by_arrival({pushes(), round_.present, left, arrival_.bound}, mine_);
    } while (next >= 0 && !board_.begun->compare_exchange_weak(begun, begun + 1));
    return next != kLater;
  };
  group_.await(look, "pushes of the slowest replica");
  return next;
}

int Arrival::claim_by_record() {
  const auto round = record_of_round();
  place_ = next_by_record(round, place_, mine_) + 1;
  return place_ > round_.windows ? kNobody : round[static_cast<size_t>(place_ - 1)];
}

/// Schedules go by what all replicas had done when this one pulled, so that they end with the fit for each of them.
void Arrival::run(const Part& part, const Run& run) {
  const int64_t step = std::min(progress_ + part.step, round_.steps - 1);
  Pushing::run({part.shard, step, part.share}, run);
}

void Arrival::push(int shard) {
  const size_t number = number_of(replicas_, shard);
  Replica& replica = replicas_[number];
  fault::point("window", step());
  const int64_t ticket = arrival_.record ? base_ + place_ - 1 : board_.tickets->fetch_add(1);
  state_.record()[static_cast<size_t>(ticket)] = static_cast<uint8_t>(shard);
  fault::point("ticket", step());
  ReplicaNumbers& stands = state_.replica_numbers(new_set(), shard);
  apply(number, push_at(ticket, shard, replica.window(), stands), ticket);
  stands = after_push(stands, ticket, replica.window());
  replica.pushed = replica.steps;
  board_.pushes[static_cast<size_t>(shard)] = stands.pushes;
  group_.wake();
}

optim::Moment Arrival::moment_of_push(int64_t ticket) const {
  optim::Moment at = round_.at;
  at.step += std::min(progress_, round_.steps - 1);
  at.since = at.step - 1 - ticket;
  return at;
}

template <typename Body>
void Arrival::in_turn(int64_t chunk, int64_t ticket, const Body& body) {
  auto& applied = board_.applied[static_cast<size_t>(chunk)];
  group_.await([&] { return applied == ticket; }, "the push before");
  body();
  applied = ticket + 1;
  group_.wake();
}

void Arrival::apply(size_t number, const Push& one, int64_t ticket) {
  Replica& replica = replicas_[number];
  const optim::Moment at = moment_of_push(ticket);
  const float* weights = state_.replica_buffer(new_set(), one.shard, 0);
  float* kept = pulled_.empty() ? nullptr : pulled_[number].data();
  const float* pulled = replica.pushed > 0 ? kept : state_.replica_buffer(old_set(), one.shard, 0);
  int64_t chunk = 0;
  bool finite = true;
  in_chunks({0, arena_.floats()}, [&](Extent e) {
    in_turn(chunk++, ticket, [&] { push_part(one, e, pulled, at); });
    finite &= optim::all_finite(weights + e.begin, e.size());
    if (kept) std::copy(weights + e.begin, weights + e.end, kept + e.begin);
    fault::point("slice", step());
  });
  if (state_.layout().buffer_floats > 0) {
    in_turn(chunk, ticket, [&] { push_buffers(replica); });
    finite &= optim::all_finite(replica.floats.data(), state_.layout().buffer_floats);
  }
  if (!finite) state_.find_infinite(next_);
}

void Arrival::push_buffers(Replica& replica) {
  const auto share = 1 / static_cast<float>(std::ranges::count(round_.present, true));
  float *common = state_.buffers(new_set()), *own = replica.floats.data();
  for (int64_t i = 0; i < state_.layout().buffer_floats; ++i) own[i] = common[i] += share * (own[i] - common[i]);
}

/// What replicas have made stands; their numbers are told by who owns them.
void Arrival::publish() {
  for (const auto& replica : replicas_) {
    if (!round_.present[replica.shard]) continue;
    (void)partial();
    put(replica.shard, replica.scalars);
  }
  Commit::publish();
}

/// The rest: replicas that made no window.
bool Arrival::make(StepTimes& times) {
  Stopwatch watch;
  std::vector<bool> pushed;
  for (int shard = 0; shard < options_.shards; ++shard) {
    const auto [first, last] = windows(shard);
    pushed.push_back(last > first);
  }
  shared_.keep(next_, pushed);
  times.update += watch.elapsed();
  return made(true, times);
}

}  // namespace stoker::sync
