#include "sync/state.h"

#include <algorithm>

#include "base/error.h"
#include "base/pieces.h"

namespace stoker::sync {

namespace {

constexpr size_t kLine = 64;
constexpr size_t kPage = 4096;

int64_t common_floats(const StateLayout& l) { return l.floats * (1 + l.state_buffers) + l.buffer_floats; }

/// With a line for its numbers.
int64_t replica_floats(const StateLayout& l) {
  return l.replica_buffers * l.floats + static_cast<int64_t>(kLine / sizeof(float));
}

int64_t floats_of_set(const StateLayout& l) { return common_floats(l) + l.replicas * replica_floats(l); }

}  // namespace

/// Where things lie: head, both sets, finished epochs, their evaluations, the record of pushes, what is set aside,
/// norms; in a set: floats, those of replicas last, counts, the optimizer's numbers, running totals, what the fit was
/// told, what is set aside.
struct HostState::Offsets {
  explicit Offsets(const StateLayout& l)
      : counts(round_up(floats_of_set(l) * sizeof(float), kLine)),
        numbers(counts + round_up(l.counts * sizeof(int64_t), kLine)),
        running(numbers + round_up(l.numbers * sizeof(double), kLine)),
        told(running + sizeof(EpochTotals)),
        aside(told + sizeof(Told)),
        set(round_up(aside + (l.best ? sizeof(int64_t) : 0), kLine)),
        sets(round_up(sizeof(Head), kLine)),
        finished(sets + 2 * set),
        evaluated(finished + round_up(l.epochs * sizeof(EpochTotals), kLine)),
        record(evaluated + round_up(l.evaluations * l.evaluation * sizeof(double), kLine)),
        best(record + round_up(static_cast<size_t>(l.pushes), kLine)),
        best_counts(best + (l.best ? round_up((l.floats + l.buffer_floats) * sizeof(float), kLine) : 0)),
        norms(best_counts + (l.best ? round_up(l.counts * sizeof(int64_t), kLine) : 0)),
        end(round_up(norms + (l.floats / optim::kBlock + l.sums) * sizeof(double), kPage)) {}
  size_t counts, numbers, running, told, aside, set;  // within a set, and its size
  size_t sets, finished, evaluated, record, best, best_counts, norms, end;
};

Scalars& Scalars::operator+=(const Scalars& other) {
  numerator += other.numerator;
  denominator += other.denominator;
  correct += other.correct;
  counted += other.counted;
  return *this;
}

size_t HostState::bytes(const StateLayout& layout) { return Offsets(layout).end; }

HostState::HostState(const StateLayout& layout, shm::Segment memory)
    : layout_(layout), vector_(layout.floats + layout.buffer_floats), memory_(std::move(memory)) {
  if (memory_.bytes().size() != bytes(layout))
    fail_bug("a state of ", memory_.bytes().size(), " bytes where ", bytes(layout), " were expected");
  base_ = memory_.bytes().data();
  head_ = reinterpret_cast<Head*>(base_);
}

shm::Segment HostState::copy(const StateLayout& layout, const HostState& old) {
  HostState fresh(layout, shm::Segment("stoker-state", bytes(layout)));
  const uint64_t commit = old.committed();
  const int set = set_of(commit);
  const auto from = old.pieces(set), to = fresh.pieces(set);
  for (size_t i = 0; i < from.size(); ++i) copy_bytes(from[i], to[i].data());
  fresh.head_->runs = old.runs();
  fresh.flip(commit);
  return fresh.release();
}

shm::Segment HostState::come(const StateLayout& layout, uint64_t commit, uint64_t runs, const Hash128& digest,
                             const Fill& fill) {
  HostState fresh(layout, shm::Segment("stoker-state", bytes(layout)));
  fill(fresh.pieces(set_of(commit)));
  if (fresh.digest(set_of(commit)) != digest) fail_world("the kept state of commit ", commit, " arrived damaged");
  fresh.head_->runs = runs;
  fresh.flip(commit);
  return fresh.release();
}

std::byte* HostState::set_base(int set) const {
  const Offsets at(layout_);
  return base_ + at.sets + set * at.set;
}

std::span<float> HostState::replica(int set, int shard) const {
  const auto each = static_cast<size_t>(replica_floats(layout_));
  return replicas(set).subspan(static_cast<size_t>(shard) * each, each);
}

std::span<float> HostState::replicas(int set) const {
  return {floats(set, common_floats(layout_)), static_cast<size_t>(layout_.replicas * replica_floats(layout_))};
}

ReplicaNumbers& HostState::replica_numbers(int set, int shard) const {
  static_assert(sizeof(ReplicaNumbers) <= kLine);
  return *reinterpret_cast<ReplicaNumbers*>(replica_buffer(set, shard, layout_.replica_buffers));
}

int64_t* HostState::counts(int set) const {
  return reinterpret_cast<int64_t*>(set_base(set) + Offsets(layout_).counts);
}

double* HostState::numbers(int set) const {
  return reinterpret_cast<double*>(set_base(set) + Offsets(layout_).numbers);
}

EpochTotals& HostState::running(int set) const {
  return *reinterpret_cast<EpochTotals*>(set_base(set) + Offsets(layout_).running);
}

Told& HostState::told(int set) const { return *reinterpret_cast<Told*>(set_base(set) + Offsets(layout_).told); }

std::span<EpochTotals> HostState::finished() const {
  return {reinterpret_cast<EpochTotals*>(base_ + Offsets(layout_).finished), static_cast<size_t>(layout_.epochs)};
}

std::span<double> HostState::evaluated(uint64_t number) const {
  return evaluations(number + 1).last(static_cast<size_t>(layout_.evaluation));
}

std::span<double> HostState::evaluations(uint64_t count) const {
  auto* all = reinterpret_cast<double*>(base_ + Offsets(layout_).evaluated);
  return {all, static_cast<size_t>(layout_.evaluation) * count};
}

std::span<uint8_t> HostState::record() const {
  return {reinterpret_cast<uint8_t*>(base_ + Offsets(layout_).record), static_cast<size_t>(layout_.pushes)};
}

int64_t HostState::pushes_made() const {
  int64_t made = 0;
  for (int shard = 0; shard < layout_.replicas; ++shard) made += replica_numbers(current(), shard).pushes;
  return made;
}

float* HostState::best() const { return reinterpret_cast<float*>(base_ + Offsets(layout_).best); }

int64_t* HostState::best_counts() const { return reinterpret_cast<int64_t*>(base_ + Offsets(layout_).best_counts); }

int64_t& HostState::aside(int set) const { return *reinterpret_cast<int64_t*>(set_base(set) + Offsets(layout_).aside); }

double* HostState::norms() const { return reinterpret_cast<double*>(base_ + Offsets(layout_).norms); }

std::vector<std::span<std::byte>> HostState::pieces(int set) const {
  const Offsets at(layout_);
  return {{set_base(set), at.set}, {base_ + at.finished, at.norms - at.finished}};
}

Hash128 HostState::digest(int set) const {
  Hash128 sum = hash128(std::as_bytes(std::span(weights(set), floats_of_set(layout_))));
  sum += hash128(std::as_bytes(std::span(counts(set), layout_.counts)), 1);
  if (layout_.numbers > 0) sum += hash128(std::as_bytes(std::span(numbers(set), layout_.numbers)), 4);
  if (!layout_.best || aside(set) == 0) return sum;
  sum += hash128(std::as_bytes(std::span(best(), vector_)), 2);
  sum += hash128(std::as_bytes(std::span(best_counts(), layout_.counts)), 3);
  return sum;
}

}  // namespace stoker::sync
