#include "collective/tcp_coded_sum.h"

#include <algorithm>

#include "base/pieces.h"

namespace stoker::collective {
namespace {

/// Of `slice` what lies in `part`; where nothing does, part's beginning.
Range overlap(Range slice, Range part) {
  const Range both{std::max(slice.begin, part.begin), std::min(slice.end, part.end)};
  return both.begin < both.end ? both : Range{part.begin, part.begin};
}

template <typename T>
size_t bytes_of(const std::vector<T>& parts) {
  size_t bytes = 0;
  for (const auto& part : parts) bytes += part.size();
  return bytes;
}

std::vector<Range> slices_of(const Topology& topology, const ShardSumOptions& options) {
  std::vector<Range> slices(static_cast<size_t>(topology.size()));
  for (int h = 0; h < topology.hosts(); ++h) {
    const auto& ranks = topology.ranks(h);
    for (size_t i = 0; i < ranks.size(); ++i)
      slices[ranks[i]] = slice_of(options.floats, options.block, static_cast<int>(i), static_cast<int>(ranks.size()));
  }
  return slices;
}

std::vector<int> shards_elsewhere(const Topology& topology, const std::vector<int>& owners) {
  std::vector<int> shards;
  for (int s = 0; s < static_cast<int>(owners.size()); ++s)
    if (owners[s] >= 0 && topology.host_of(owners[s]) != topology.host()) shards.push_back(s);
  return shards;
}

}  // namespace

TcpCodedSum::TcpCodedSum(MeshGroup& group, const ShardSumOptions& options)
    : DirectSum(group, options),
      mesh_(group),
      topology_(group.topology()),
      slices_(slices_of(topology_, options_)),
      elsewhere_(shards_elsewhere(topology_, owners_)),
      codes_(static_cast<size_t>(options.shards)),
      plain_(static_cast<size_t>(options.shards)) {
  const auto shards = static_cast<int64_t>(elsewhere_.size());
  received_.make_room(shards * slice().size());
  resize_in_pieces(codes_received_,
                   static_cast<size_t>(shards) * options_.code.bytes(parts_of(topology_.rank()).coded.size()));
}

TcpCodedSum::Parts TcpCodedSum::parts_of(int rank) const {
  return {overlap(slices_[rank], {0, options_.coded}), overlap(slices_[rank], {options_.coded, options_.floats})};
}

std::span<std::byte> TcpCodedSum::code_received(size_t number) {
  const size_t bytes = options_.code.bytes(parts_of(topology_.rank()).coded.size());
  return std::span(codes_received_).subspan(number * bytes, bytes);
}

size_t TcpCodedSum::number_of(int shard) const {
  return static_cast<size_t>(std::ranges::lower_bound(elsewhere_, shard) - elsewhere_.begin());
}

void TcpCodedSum::plan() {
  plan_ = &plans_.at(present_, [this] { return make_plan(); });
}

TcpCodedSum::Plan TcpCodedSum::make_plan() {
  Plan plan;
  plan.present.resize(static_cast<size_t>(topology_.size()));
  std::vector<Node> leaves;
  for (const Partial& partial : host_partials()) {
    leaves.push_back(partial.node);
    plan.sources.push_back(partial.source);
  }
  for (int s = 0; s < options_.shards; ++s) {
    if (!present_[s] || owners_[s] < 0) continue;
    plan.present[owners_[s]].push_back(s);
    if (!is_elsewhere(owners_[s])) continue;
    leaves.push_back({s, s + 1});
    plan.sources.push_back({received(number_of(s)), slice().begin});
  }
  for (const auto& shards : plan.present)
    plan.scalars.emplace_back(shards.size() * static_cast<size_t>(options_.scalars));
  plan.program = SumProgram({0, options_.shards}, leaves);
  return plan;
}

/// What is coded is kept as it goes to others, and so is what follows: it is added to as the shard is folded.
void TcpCodedSum::code(float* vector, int shard) {
  DirectSum::code(vector, codes_[shard]);
  auto& plain = plain_[shard];
  resize_in_pieces(plain, static_cast<size_t>(options_.floats - options_.coded));
  copy_bytes(std::as_bytes(std::span(vector + options_.coded, plain.size())),
             reinterpret_cast<std::byte*>(plain.data()));
}

void TcpCodedSum::exchange() {
  publish();
  group_.await(Phase::partials, step_);
  auto out = plan_->scalars[topology_.rank()].begin();
  for (const int shard : plan_->present[topology_.rank()]) out = std::copy_n(scalars_at(shard), options_.scalars, out);
  for (int rank = 0; rank < topology_.size(); ++rank)
    if (is_elsewhere(rank)) expect_from(rank);
  for (int rank = 0; rank < topology_.size(); ++rank)
    if (is_elsewhere(rank)) send_to(rank);
  mesh_.run_transfers([this] { return mesh_.transfers().idle(); });
  decode_all();
  add_all_totals();
}

/// My shards' scalars, and of each its part of the slice that the other one updates. Where I have none too, so that no
/// host is further than one step ahead of another.
void TcpCodedSum::send_to(int rank) {
  const auto& mine = plan_->present[topology_.rank()];
  const auto [coded, plain] = parts_of(rank);
  std::vector<ByteView> payload{std::as_bytes(std::span(plan_->scalars[topology_.rank()]))};
  for (const int shard : mine) {
    const size_t begin = options_.code.bytes(coded.begin);
    payload.push_back(ByteView(codes_[shard]).subspan(begin, options_.code.bytes(coded.size())));
    payload.push_back(std::as_bytes(
        std::span(plain_[shard])
            .subspan(static_cast<size_t>(plain.begin - options_.coded), static_cast<size_t>(plain.size()))));
  }
  mesh_.transfers().send(
      rank, {FrameKind::codes, mesh_.stamp_of(step_), static_cast<uint64_t>(rank), bytes_of(payload)}, payload);
}

void TcpCodedSum::expect_from(int rank) {
  const auto& theirs = plan_->present[rank];
  const auto [coded, plain] = parts_of(topology_.rank());
  std::vector<std::span<std::byte>> places{std::as_writable_bytes(std::span(plan_->scalars[rank]))};
  for (const int shard : theirs) {
    const size_t number = number_of(shard);
    places.push_back(code_received(number));
    places.push_back(
        std::as_writable_bytes(std::span(received(number) + coded.size(), static_cast<size_t>(plain.size()))));
  }
  const auto slice = static_cast<uint64_t>(topology_.rank());
  mesh_.transfers().receive(rank, {FrameKind::codes, mesh_.stamp_of(step_), slice, bytes_of(places)}, places);
}

void TcpCodedSum::decode_all() {
  const int64_t coded = parts_of(topology_.rank()).coded.size();
  for (size_t number = 0; number < elsewhere_.size(); ++number)
    if (present_[elsewhere_[number]]) decode(options_.code, code_received(number).data(), coded, received(number));
}

void TcpCodedSum::add_all_totals() {
  std::vector<const double*> of(static_cast<size_t>(options_.shards));
  for (int rank = 0; rank < topology_.size(); ++rank)
    for (size_t i = 0; i < plan_->present[rank].size(); ++i) {
      const int shard = plan_->present[rank][i];
      of[shard] = is_elsewhere(rank) ? plan_->scalars[rank].data() + i * static_cast<size_t>(options_.scalars)
                                     : scalars_at(shard);
    }
  add_totals([&](int shard) { return of[shard]; });
}

const float* TcpCodedSum::sum(Range range) {
  check_range(range);
  sums_.make_room(range.size());
  float* base = sums_.data() - range.begin;
  plan_->program.run(plan_->sources, range, {{base}});
  return base;
}

void TcpCodedSum::replace_partials() { plan_->program.run(plan_->sources, slice(), first_slots()); }

}  // namespace stoker::collective
