#include "collective/tcp_direct_sum.h"

#include <algorithm>

#include "base/pieces.h"

namespace stoker::collective {
namespace {

bool contains(Node outer, Node inner) { return outer.lo <= inner.lo && inner.hi <= outer.hi; }

ByteView bytes_of(const float* data, int64_t floats) {
  return std::as_bytes(std::span(data, static_cast<size_t>(floats)));
}

}  // namespace

TcpDirectSum::TcpDirectSum(MeshGroup& group, const ShardSumOptions& options)
    : DirectSum(group, options),
      mesh_(group),
      topology_(group.topology()),
      host_owns_(owned_by_hosts()),
      sums_(place_of_sums()),
      outgoing_(floats_carried()),
      incoming_(floats_gathered()) {}

/// A rank alone on its host needs no room apart: the sums of a slice come, or are made, when its partial there has gone
/// to the slice's owner, and add up element by element.
float* TcpDirectSum::place_of_sums() {
  const bool alone = topology_.local_ranks().size() == 1 && slots_needed(owned_by(topology_.rank())) > 0;
  if (alone) return first_slots().front();
  return reinterpret_cast<float*>(mesh_.host_region(static_cast<size_t>(options_.floats) * sizeof(float)).data());
}

Range TcpDirectSum::global_slice(int slice) const {
  return slice_of(options_.floats, options_.block, slice, topology_.size());
}

Range TcpDirectSum::slice() const {
  return slice_of(options_.floats, options_.block, topology_.local_rank(),
                  static_cast<int>(topology_.local_ranks().size()));
}

std::vector<ShardSet> TcpDirectSum::owned_by_hosts() const {
  std::vector<ShardSet> owned(topology_.hosts(), ShardSet(options_.shards));
  for (int shard = 0; shard < options_.shards; ++shard)
    if (owners_[shard] >= 0) owned[topology_.host_of(owners_[shard])][shard] = true;
  return owned;
}

std::vector<Node> TcpDirectSum::nodes_of(int host) const { return partial_nodes(host_owns_[host], present_); }

/// Slices of other hosts' ranks whose carrier I am.
std::vector<int> TcpDirectSum::slices_carried() const {
  std::vector<int> slices;
  for (int g = 0; g < topology_.size(); ++g)
    if (topology_.host_of(g) != topology_.host() && topology_.carrier(topology_.host(), g) == topology_.rank())
      slices.push_back(g);
  return slices;
}

int64_t TcpDirectSum::floats_carried() const {
  int64_t floats = 0;
  for (const int g : slices_carried()) floats += global_slice(g).size();
  return floats * static_cast<int64_t>(nodes_of(topology_.host()).size());
}

int64_t TcpDirectSum::floats_gathered() const {
  int64_t nodes = 0;
  for (int h = 0; h < topology_.hosts(); ++h)
    if (h != topology_.host()) nodes += static_cast<int64_t>(nodes_of(h).size());
  return nodes * global_slice(topology_.rank()).size();
}

void TcpDirectSum::plan() {
  plan_ = &plans_.at(present_, [this] { return make_plan(); });
}

TcpDirectSum::Plan TcpDirectSum::make_plan() const {
  Plan plan;
  for (int h = 0; h < topology_.hosts(); ++h) plan.nodes.push_back(nodes_of(h));
  plan.present.resize(topology_.hosts());
  for (int s = 0; s < options_.shards; ++s)
    if (present_[s] && owners_[s] >= 0) plan.present[topology_.host_of(owners_[s])].push_back(s);
  for (const auto& shards : plan.present)
    plan.scalars.emplace_back(shards.size() * static_cast<size_t>(options_.scalars));
  const std::vector<Partial> mine = host_partials();
  plan_partials(plan, mine);
  plan_sum(plan, mine);
  return plan;
}

/// Of this host, as others get them.
void TcpDirectSum::plan_partials(Plan& plan, const std::vector<Partial>& mine) const {
  for (const Node node : plan.nodes[topology_.host()]) {
    std::vector<Node> leaves;
    std::vector<Source> sources;
    for (const Partial& partial : mine)
      if (contains(node, partial.node)) {
        leaves.push_back(partial.node);
        sources.push_back(partial.source);
      }
    plan.host_partials.push_back({std::move(sources), SumProgram(node, leaves)});
  }
}

/// My slice: this host's partials straight from shared memory, the others' from incoming_.
void TcpDirectSum::plan_sum(Plan& plan, const std::vector<Partial>& mine) const {
  std::vector<Node> leaves;
  for (const Partial& partial : mine) {
    leaves.push_back(partial.node);
    plan.sources.push_back(partial.source);
  }
  const Range slice = global_slice(topology_.rank());
  const float* place = incoming_.data();
  for (int h = 0; h < topology_.hosts(); ++h)
    for (const Node node : h == topology_.host() ? std::vector<Node>() : plan.nodes[h]) {
      leaves.push_back(node);
      plan.sources.push_back({place, slice.begin});
      place += slice.size();
    }
  plan.program = SumProgram({0, options_.shards}, leaves);
}

void TcpDirectSum::exchange() {
  publish();
  group_.await(Phase::partials, step_);
  gather_scalars();
  expect_partials();
  expect_sums();
  send_partials();
  mesh_.run_transfers([this] { return mesh_.transfers().awaited(FrameKind::partials) == 0; });
  add_my_slice();
  mesh_.run_transfers([this] { return mesh_.transfers().idle(); });
  add_all_totals();
  group_.arrive(Phase::sums, step_);
  group_.await(Phase::sums, step_);
}

void TcpDirectSum::gather_scalars() {
  auto out = scalars_of(topology_.host()).begin();
  for (const int shard : plan_->present[topology_.host()]) out = std::copy_n(scalars_at(shard), options_.scalars, out);
}

void TcpDirectSum::send_partials() {
  const auto scalars = std::as_bytes(scalars_of(topology_.host()));
  float* place = outgoing_.data();
  for (const int g : slices_carried()) {
    const Range range = global_slice(g);
    std::vector<ByteView> payload{scalars};
    size_t bytes = scalars.size();
    for (HostPartial& partial : plan_->host_partials) {
      const float* data = partial.sources[0].at(range.begin);
      if (partial.sources.size() > 1) {
        partial.program.run(partial.sources, range, {{place - range.begin}});
        data = place;
        place += range.size();
      }
      payload.push_back(bytes_of(data, range.size()));
      bytes += payload.back().size();
    }
    mesh_.transfers().send(g, {FrameKind::partials, mesh_.stamp_of(step_), static_cast<uint64_t>(g), bytes}, payload);
  }
}

void TcpDirectSum::expect_partials() {
  const int64_t floats = global_slice(topology_.rank()).size();
  float* place = incoming_.data();
  for (int h = 0; h < topology_.hosts(); ++h) {
    if (h == topology_.host()) continue;
    const auto scalars = std::as_writable_bytes(scalars_of(h));
    const auto vectors = std::as_writable_bytes(std::span(place, plan_->nodes[h].size() * static_cast<size_t>(floats)));
    place += plan_->nodes[h].size() * static_cast<size_t>(floats);
    const auto slice = static_cast<uint64_t>(topology_.rank());
    mesh_.transfers().receive(topology_.carrier(h, topology_.rank()),
                              {FrameKind::partials, mesh_.stamp_of(step_), slice, scalars.size() + vectors.size()},
                              {scalars, vectors});
  }
}

void TcpDirectSum::expect_sums() {
  for (const int g : slices_carried()) {
    const Range range = global_slice(g);
    const auto place = std::as_writable_bytes(std::span(sums_ + range.begin, static_cast<size_t>(range.size())));
    mesh_.transfers().receive(g, {FrameKind::sums, mesh_.stamp_of(step_), static_cast<uint64_t>(g), place.size()},
                              {place});
  }
}

void TcpDirectSum::add_my_slice() {
  const Range range = global_slice(topology_.rank());
  plan_->program.run(plan_->sources, range, {{sums_}});
  const ByteView sums = bytes_of(sums_ + range.begin, range.size());
  const FrameHeader header{FrameKind::sums, mesh_.stamp_of(step_), static_cast<uint64_t>(topology_.rank()),
                           sums.size()};
  for (int h = 0; h < topology_.hosts(); ++h)
    if (h != topology_.host()) mesh_.transfers().send(topology_.carrier(h, topology_.rank()), header, {sums});
}

void TcpDirectSum::add_all_totals() {
  std::vector<const double*> of(options_.shards);
  for (int h = 0; h < topology_.hosts(); ++h)
    for (size_t i = 0; i < plan_->present[h].size(); ++i)
      of[plan_->present[h][i]] = scalars_of(h).data() + i * static_cast<size_t>(options_.scalars);
  add_totals([&](int shard) { return of[shard]; });
}

const float* TcpDirectSum::sum(Range range) {
  check_range(range);
  return sums_;
}

void TcpDirectSum::replace_partials() {
  float* mine = first_slots()[group_.local_rank()];
  if (mine != sums_) copy_bytes(bytes_of(sums_, options_.floats), reinterpret_cast<std::byte*>(mine));
}

}  // namespace stoker::collective
