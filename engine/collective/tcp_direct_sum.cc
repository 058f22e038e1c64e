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
      sums_(place_of_sums()),
      outgoing_(floats_carried()),
      incoming_(floats_gathered()) {}

/// A rank alone on its host needs no room apart: the sums of a slice come, or are made, when its partial there has gone
/// to the slice's owner, and add up element by element.
float* TcpDirectSum::place_of_sums() {
  const bool alone = topology_.local_ranks().size() == 1 && slots_needed(owned_by({topology_.rank()})) > 0;
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

std::vector<Node> TcpDirectSum::nodes_of(int host) const {
  return partial_nodes(owned_by(topology_.ranks(host)), present_);
}

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
  nodes_.clear();
  present_shards_.assign(topology_.hosts(), {});
  scalars_.clear();
  for (int h = 0; h < topology_.hosts(); ++h) {
    nodes_.push_back(nodes_of(h));
    const ShardSet owned = owned_by(topology_.ranks(h));
    for (int s = 0; s < options_.shards; ++s)
      if (owned[s] && present_[s]) present_shards_[h].push_back(s);
    scalars_.emplace_back(present_shards_[h].size() * static_cast<size_t>(options_.scalars));
  }
  host_partials_.clear();
  for (const Node node : nodes_[topology_.host()]) {
    std::vector<Node> leaves;
    std::vector<Source> sources;
    for (const Partial& partial : host_partials())
      if (contains(node, partial.node)) {
        leaves.push_back(partial.node);
        sources.push_back(partial.source);
      }
    host_partials_.push_back({std::move(sources), SumProgram(node, leaves)});
  }
  plan_sum();
}

/// My slice: this host's partials straight from shared memory, the others' from incoming_.
void TcpDirectSum::plan_sum() {
  std::vector<Node> leaves;
  sources_.clear();
  for (const Partial& partial : host_partials()) {
    leaves.push_back(partial.node);
    sources_.push_back(partial.source);
  }
  const Range mine = global_slice(topology_.rank());
  const float* place = incoming_.data();
  for (int h = 0; h < topology_.hosts(); ++h)
    for (const Node node : h == topology_.host() ? std::vector<Node>() : nodes_[h]) {
      leaves.push_back(node);
      sources_.push_back({place, mine.begin});
      place += mine.size();
    }
  program_ = SumProgram({0, options_.shards}, leaves);
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
  for (const int shard : present_shards_[topology_.host()]) out = std::copy_n(scalars_at(shard), options_.scalars, out);
}

void TcpDirectSum::send_partials() {
  const auto scalars = std::as_bytes(scalars_of(topology_.host()));
  float* place = outgoing_.data();
  for (const int g : slices_carried()) {
    const Range range = global_slice(g);
    std::vector<ByteView> payload{scalars};
    size_t bytes = scalars.size();
    for (HostPartial& partial : host_partials_) {
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
    const auto vectors = std::as_writable_bytes(std::span(place, nodes_[h].size() * static_cast<size_t>(floats)));
    place += nodes_[h].size() * static_cast<size_t>(floats);
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
  program_.run(sources_, range, {{sums_}});
  const ByteView sums = bytes_of(sums_ + range.begin, range.size());
  const FrameHeader header{FrameKind::sums, mesh_.stamp_of(step_), static_cast<uint64_t>(topology_.rank()),
                           sums.size()};
  for (int h = 0; h < topology_.hosts(); ++h)
    if (h != topology_.host()) mesh_.transfers().send(topology_.carrier(h, topology_.rank()), header, {sums});
}

void TcpDirectSum::add_all_totals() {
  std::vector<const double*> of(options_.shards);
  for (int h = 0; h < topology_.hosts(); ++h)
    for (size_t i = 0; i < present_shards_[h].size(); ++i)
      of[present_shards_[h][i]] = scalars_of(h).data() + i * static_cast<size_t>(options_.scalars);
  add_totals([&](int shard) { return of[shard]; });
}

const float* TcpDirectSum::sum(Range range) {
  const Range mine = slice();
  STOKER_CHECK(mine.begin <= range.begin && range.end <= mine.end && range.begin % options_.block == 0 &&
               range.end % options_.block == 0);
  return sums_;
}

void TcpDirectSum::replace_partials() {
  float* mine = first_slots()[group_.local_rank()];
  if (mine != sums_) copy_bytes(bytes_of(sums_, options_.floats), reinterpret_cast<std::byte*>(mine));
}

}  // namespace stoker::collective
