#include "collective/direct_sum.h"

#include <algorithm>

#include "base/bf16.h"
#include "base/pieces.h"
#include "collective/add.h"

namespace stoker::collective {
namespace {

constexpr size_t kLineDoubles = 8;
constexpr int64_t kLineHalves = 32;
constexpr size_t kPieceFloats = kPieceBytes / sizeof(float);

/// Adds column `j` of the present shards below `node`; false when there is none.
bool add_column(Node node, const ShardSet& present, size_t j, const std::function<const double*(int)>& of,
                double& sum) {
  if (node.hi - node.lo == 1) {
    if (present[node.lo]) sum = of(node.lo)[j];
    return present[node.lo];
  }
  double left = 0, right = 0;
  const bool has_left = add_column({node.lo, split(node)}, present, j, of, left);
  const bool has_right = add_column({split(node), node.hi}, present, j, of, right);
  sum = has_left && has_right ? left + right : has_left ? left : right;
  return has_left || has_right;
}

}  // namespace

DirectSum::DirectSum(Group& group, const ShardSumOptions& options)
    : group_(group),
      options_(options),
      owners_(options.owners.empty() ? even_owners(group.size(), options.shards) : options.owners),
      present_(options.shards, true) {
  STOKER_CHECK(options.shards > 0 && options.block > 0 && options.block % 16 == 0 && options.floats >= 0 &&
               options.floats % options.block == 0 && options.scalars >= 0 &&
               static_cast<int>(owners_.size()) == options.shards);
  STOKER_CHECK(!options.code || (!options.bf16 && options.block % options.code.block() == 0));
  STOKER_CHECK(!options.bf16 || options.block % kLineHalves == 0);
  STOKER_CHECK(options.coded % options.block == 0 && options.coded <= options.floats);
  std::vector<size_t> offsets;
  size_t floats = 0;
  for (const int rank : group.local_ranks()) {
    offsets.push_back(floats);
    owned_.push_back(owned_by(rank));
    floats += static_cast<size_t>(slots_needed(owned_.back())) * static_cast<size_t>(options.floats);
  }
  auto* base = reinterpret_cast<float*>(group.host_region(floats * sizeof(float)).data());
  for (const size_t offset : offsets) slots_.push_back(base + offset);
  scalar_stride_ = (static_cast<size_t>(options.scalars) + kLineDoubles - 1) / kLineDoubles * kLineDoubles;
  const size_t bytes = static_cast<size_t>(options.shards) * scalar_stride_ * sizeof(double);
  scalars_ = reinterpret_cast<double*>(group.host_region(bytes).data());
}

void DirectSum::begin(uint64_t step, const ShardSet& present) {
  STOKER_CHECK(static_cast<int>(present.size()) == options_.shards);
  // Else a slower rank may still read the partials that are about to be overwritten.
  STOKER_CHECK(!begun_ || (step > step_ && group_.reached(options_.phases.slices, step_)));
  step_ = step;
  done_ = 0;
  height_ = 0;
  if (begun_ && present == present_) return;
  begun_ = true;
  present_ = present;
  steps_ = folds_.at(present_, [&] { return fold_steps(owned_[group_.local_rank()], present_); });
  plan();
}

float* DirectSum::next() {
  STOKER_CHECK(done_ < steps_.size());
  return top();
}

OwnFold DirectSum::own_fold() {
  STOKER_CHECK(done_ == 0 && !options_.code);
  OwnFold fold{{steps_.begin(), steps_.end()}, {}, rounded()};
  int left = 0;
  for (const FoldStep& step : steps_) left += 1 - step.merges;
  for (int i = 0; i < left; ++i) fold.partials.push_back(slot(i));
  return fold;
}

std::span<double> DirectSum::scalars(int shard) {
  STOKER_CHECK(owners_[shard] == group_.rank());
  return {scalars_at(shard), static_cast<size_t>(options_.scalars)};
}

void DirectSum::put(int shard) {
  STOKER_CHECK(done_ < steps_.size() && steps_[done_].shard == shard);
  if (options_.code) code(top(), shard);
  in_pieces(rounded(), kPieceFloats, [&](size_t at, size_t n) { round_to_bf16(top() + at, static_cast<int64_t>(n)); });
  ++height_;
  for (int i = 0; i < steps_[done_].merges; ++i) merge_top();
  ++done_;
}

void DirectSum::merge_top() {
  --height_;
  float* right = top();
  float* left = right - options_.floats;
  in_pieces(rounded(), kPieceFloats,
            [&](size_t at, size_t n) { add_2_bf16(left + at, left + at, right + at, static_cast<int64_t>(n)); });
  left += rounded();
  right += rounded();
  in_pieces(options_.floats - rounded(), kPieceFloats,
            [&](size_t at, size_t n) { add_2(left + at, left + at, right + at, static_cast<int64_t>(n)); });
}

void DirectSum::code(float* vector, int) { code(vector, code_); }

void DirectSum::code(float* vector, std::vector<std::byte>& room) const {
  resize_in_pieces(room, options_.code.bytes(options_.coded));
  encode(options_.code, vector, options_.coded, room.data());
  decode(options_.code, room.data(), options_.coded, vector);
}

void DirectSum::publish() {
  STOKER_CHECK(done_ == steps_.size());
  group_.arrive(options_.phases.partials, step_);
}

ShardSet DirectSum::owned_by(int rank) const {
  ShardSet owned(options_.shards);
  for (int shard = 0; shard < options_.shards; ++shard) owned[shard] = owners_[shard] == rank;
  return owned;
}

std::vector<DirectSum::Partial> DirectSum::host_partials() const {
  std::vector<Partial> partials;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const float* slot = slots_[i];
    for (const Node node : partial_nodes(owned_[i], present_)) {
      partials.push_back({node, {slot, 0}});
      slot += options_.floats;
    }
  }
  return partials;
}

void DirectSum::check_range(Range range) const {
  const Range mine = slice();
  STOKER_CHECK(mine.begin <= range.begin && range.end <= mine.end && range.begin % options_.block == 0 &&
               range.end % options_.block == 0);
}

void DirectSum::add_totals(const std::function<const double*(int)>& of) {
  STOKER_CHECK(done_ == steps_.size());
  totals_.assign(options_.scalars, 0.0);
  for (size_t j = 0; j < totals_.size(); ++j) add_column({0, options_.shards}, present_, j, of, totals_[j]);
}

}  // namespace stoker::collective
