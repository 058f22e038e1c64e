#include "collective/tcp_direct_sum.h"

#include <algorithm>

#include "base/pieces.h"

namespace stoker::collective {
namespace {

bool contains(Node outer, Node inner) { return outer.lo <= inner.lo && inner.hi <= outer.hi; }

ByteView bytes_of(const float* data, int64_t floats) {
  return std::as_bytes(std::span(data, static_cast<size_t>(floats)));
}

std::span<std::byte> place_of(float* data, int64_t floats) {
  return std::as_writable_bytes(std::span(data, static_cast<size_t>(floats)));
}

constexpr int64_t kBlock = 64 << 10;  // floats: small enough for a core's cache, large enough for a call

int64_t blocks_of(Range slice) { return (slice.size() + kBlock - 1) / kBlock; }

Range block_of(Range slice, int64_t number) {
  const int64_t begin = slice.begin + number * kBlock;
  return {begin, std::min(slice.end, begin + kBlock)};
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
  send_sums();
  mesh_.run_transfers([this] {
    add_what_has_come();
    return mesh_.transfers().idle();
  });
  add_all_totals();
  group_.arrive(Phase::sums, step_);
  group_.await(Phase::sums, step_);
}

void TcpDirectSum::gather_scalars() {
  auto out = scalars_of(topology_.host()).begin();
  for (const int shard : plan_->present[topology_.host()]) out = std::copy_n(scalars_at(shard), options_.scalars, out);
}

void TcpDirectSum::send_partials() {
  int64_t folded = 0;  // floats of slices before
  for (const int g : slices_carried()) {
    send_partials_of(g, outgoing_.data() + folded);
    folded += global_slice(g).size() * static_cast<int64_t>(plan_->host_partials.size());
  }
}

/// Scalars, then block by block every partial's. Those of several ranks are folded into `folded`, one partial after the
/// other, each block as it goes.
void TcpDirectSum::send_partials_of(int g, float* folded) {
  const Range slice = global_slice(g);
  struct Part {
    HostPartial* partial = nullptr;  // to be folded
    Range block = {};
    float* base = nullptr;  // where its element 0 would stand
  };
  std::vector<Part> parts;
  std::vector<ByteView> payload;
  if (const auto scalars = scalars_of(topology_.host()); !scalars.empty()) {
    payload.push_back(std::as_bytes(scalars));
    parts.emplace_back();
  }
  size_t bytes = payload.empty() ? 0 : payload[0].size();
  for (int64_t b = 0; b < blocks_of(slice); ++b) {
    const Range block = block_of(slice, b);
    int64_t before = 0;  // floats of other partials' slices in `folded`
    for (HostPartial& partial : plan_->host_partials) {
      Part part;
      if (partial.sources.size() > 1) part = {&partial, block, folded + before - slice.begin};
      const float* data = part.partial ? part.base + block.begin : partial.sources[0].at(block.begin);
      payload.push_back(bytes_of(data, block.size()));
      parts.push_back(part);
      bytes += payload.back().size();
      before += slice.size();
    }
  }
  const auto fold = [parts = std::move(parts)](size_t i) {
    const auto& [partial, block, base] = parts[i];
    if (partial) partial->program.run(partial->sources, block, {{base}});
    return true;
  };
  mesh_.transfers().send(g, {FrameKind::partials, mesh_.stamp_of(step_), static_cast<uint64_t>(g), bytes}, payload,
                         fold);
}

void TcpDirectSum::expect_partials() {
  came_.assign(topology_.hosts(), 0);
  float* place = incoming_.data();
  for (int h = 0; h < topology_.hosts(); ++h) {
    if (h == topology_.host()) continue;
    expect_partials_of(h, place);
    place += static_cast<int64_t>(plan_->nodes[h].size()) * global_slice(topology_.rank()).size();
  }
}

/// As send_partials_of() sends them; a node's partial of the slice lies in one piece.
void TcpDirectSum::expect_partials_of(int host, float* place) {
  const Range slice = global_slice(topology_.rank());
  const auto nodes = static_cast<int64_t>(plan_->nodes[host].size());
  const auto scalars = std::as_writable_bytes(scalars_of(host));
  std::vector<std::span<std::byte>> parts{scalars};
  for (int64_t b = 0; b < blocks_of(slice); ++b)
    for (int64_t node = 0; node < nodes; ++node) {
      const Range block = block_of(slice, b);
      parts.push_back(place_of(place + node * slice.size() + (block.begin - slice.begin), block.size()));
    }
  const size_t bytes = scalars.size() + static_cast<size_t>(nodes * slice.size()) * sizeof(float);
  mesh_.transfers().receive(
      topology_.carrier(host, topology_.rank()),
      {FrameKind::partials, mesh_.stamp_of(step_), static_cast<uint64_t>(topology_.rank()), bytes}, parts,
      &came_[host]);
}

void TcpDirectSum::expect_sums() {
  for (const int g : slices_carried()) {
    const Range range = global_slice(g);
    const auto place = place_of(sums_ + range.begin, range.size());
    mesh_.transfers().receive(g, {FrameKind::sums, mesh_.stamp_of(step_), static_cast<uint64_t>(g), place.size()},
                              {place});
  }
}

void TcpDirectSum::send_sums() {
  const Range slice = global_slice(topology_.rank());
  std::vector<ByteView> blocks;
  for (int64_t b = 0; b < blocks_of(slice); ++b)
    blocks.push_back(bytes_of(sums_ + block_of(slice, b).begin, block_of(slice, b).size()));
  added_ = 0;
  const auto ready = [this, last = blocks.size()](size_t b) {
    const bool is_last = b + 1 == last;
    return static_cast<int64_t>(b) < added_ && (!is_last || for_all_others([this](int h) { return is_proven(h); }));
  };
  const FrameHeader header{FrameKind::sums, mesh_.stamp_of(step_), static_cast<uint64_t>(topology_.rank()),
                           static_cast<size_t>(slice.size()) * sizeof(float)};
  for (int h = 0; h < topology_.hosts(); ++h)
    if (h != topology_.host()) mesh_.transfers().send(topology_.carrier(h, topology_.rank()), header, blocks, ready);
}

bool TcpDirectSum::for_all_others(const std::function<bool(int)>& holds) const {
  for (int h = 0; h < topology_.hosts(); ++h)
    if (h != topology_.host() && !holds(h)) return false;
  return true;
}

/// Of a host's partials of my slice, parts that come before those of `block`.
size_t TcpDirectSum::parts_before(int host, int64_t block) const {
  return (plan_->scalars[host].empty() ? 0 : 1) + static_cast<size_t>(block) * plan_->nodes[host].size();
}

bool TcpDirectSum::has_come(int host, int64_t block) const { return came_[host] >= parts_before(host, block + 1); }

bool TcpDirectSum::is_proven(int host) const {
  const size_t parts = parts_before(host, blocks_of(global_slice(topology_.rank())));
  return parts == 0 || came_[host] == parts + 1;
}

void TcpDirectSum::add_what_has_come() {
  const Range slice = global_slice(topology_.rank());
  const auto is_here = [this](int h) { return has_come(h, added_); };
  for (; added_ < blocks_of(slice) && for_all_others(is_here); ++added_)
    plan_->program.run(plan_->sources, block_of(slice, added_), {{sums_}});
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
