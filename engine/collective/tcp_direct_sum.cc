#include "collective/tcp_direct_sum.h"

#include <algorithm>

#include "base/bf16.h"
#include "base/pieces.h"

namespace stoker::collective {
namespace {

bool contains(Node outer, Node inner) { return outer.lo <= inner.lo && inner.hi <= outer.hi; }

ByteView bytes_of(const float* data, int64_t floats) {
  return std::as_bytes(std::span(data, static_cast<size_t>(floats)));
}

constexpr int64_t kPacked = 1024;  // floats that are made and packed at a time

uint16_t* halves(std::byte* at) { return reinterpret_cast<uint16_t*>(at); }

}  // namespace

TcpDirectSum::TcpDirectSum(MeshGroup& group, const ShardSumOptions& options)
    : DirectSum(group, options),
      mesh_(group),
      topology_(group.topology()),
      wire_(rounded()),
      host_owns_(owned_by_hosts()),
      sums_(place_of_sums()),
      outgoing_(bytes_carried()),
      incoming_(bytes_gathered()),
      packed_(wire_.packed_bytes({0, options.floats})) {
  for (int g = 0; g < topology_.size(); ++g) blocks_.push_back(wire_.blocks(global_slice(g)));
  for (const int g : slices_carried()) carried_.push_back({g});
}

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

size_t TcpDirectSum::bytes_carried() const {
  size_t bytes = 0;
  for (const int g : slices_carried()) bytes += wire_.bytes(global_slice(g));
  return bytes * nodes_of(topology_.host()).size();
}

size_t TcpDirectSum::bytes_gathered() const {
  size_t nodes = 0;
  for (int h = 0; h < topology_.hosts(); ++h)
    if (h != topology_.host()) nodes += nodes_of(h).size();
  return nodes * wire_.bytes(global_slice(topology_.rank()));
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
    plan.host_partials.push_back({std::move(sources), SumProgram(node, leaves, rounded())});
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
  std::byte* place = incoming_.data();
  for (int h = 0; h < topology_.hosts(); ++h)
    for (const Node node : h == topology_.host() ? std::vector<Node>() : plan.nodes[h]) {
      leaves.push_back(node);
      plan.sources.push_back(wire_.source(place, slice));
      place += wire_.bytes(slice);
    }
  plan.program = SumProgram({0, options_.shards}, leaves, rounded());
}

void TcpDirectSum::exchange() {
  publish();
  group_.await(options_.phases.partials, step_);
  gather_scalars();
  expect_partials();
  expect_sums();
  send_partials();
  send_sums();
  mesh_.run_transfers([this] {
    add_what_has_come();
    take_sums_that_came();
    return mesh_.transfers().idle();
  });
  add_all_totals();
  group_.arrive(options_.phases.sums, step_);
  group_.await(options_.phases.sums, step_);
}

void TcpDirectSum::gather_scalars() {
  auto out = scalars_of(topology_.host()).begin();
  for (const int shard : plan_->present[topology_.host()]) out = std::copy_n(scalars_at(shard), options_.scalars, out);
}

void TcpDirectSum::send_partials() {
  std::byte* place = outgoing_.data();
  for (const int g : slices_carried()) {
    send_partials_of(g, place);
    place += wire_.bytes(global_slice(g)) * plan_->host_partials.size();
  }
}

/// Scalars, then block by block every partial's. What is packed, or folded of several ranks' partials, is made at
/// `place`, one partial after the other, each block as it goes.
void TcpDirectSum::send_partials_of(int g, std::byte* place) {
  const Range slice = global_slice(g);
  std::vector<Part> parts;
  std::vector<ByteView> payload;
  if (const auto scalars = scalars_of(topology_.host()); !scalars.empty()) {
    payload.push_back(std::as_bytes(scalars));
    parts.emplace_back();
  }
  size_t bytes = payload.empty() ? 0 : payload[0].size();
  for (const Range block : blocks_[g]) {
    std::byte* to = place + wire_.bytes({slice.begin, block.begin});
    for (HostPartial& partial : plan_->host_partials) {
      const bool as_it_lies = partial.sources.size() == 1 && !wire_.is_rounded(block);
      parts.push_back(as_it_lies ? Part{} : Part{&partial, block, to});
      const auto* from =
          as_it_lies ? reinterpret_cast<const std::byte*>(partial.sources[0].at(block.begin)) : parts.back().to;
      payload.emplace_back(from, wire_.bytes(block));
      bytes += payload.back().size();
      to += wire_.bytes(slice);
    }
  }
  const auto ready = [this, parts = std::move(parts)](size_t i) {
    if (parts[i].partial) make(parts[i]);
    return true;
  };
  mesh_.transfers().send(g, {FrameKind::partials, mesh_.stamp_of(step_), static_cast<uint64_t>(g), bytes}, payload,
                         ready);
}

void TcpDirectSum::make(const Part& part) {
  auto& [sources, program] = *part.partial;
  const Range block = part.block;
  if (!wire_.is_rounded(block)) return program.run(sources, block, {{reinterpret_cast<float*>(part.to) - block.begin}});
  alignas(64) float floats[kPacked];
  for (Range piece = {block.begin, 0}; piece.begin < block.end; piece.begin = piece.end) {
    piece.end = std::min(block.end, piece.begin + kPacked);
    program.run(sources, piece, {{floats - piece.begin}});
    pack_bf16(floats, halves(part.to) + (piece.begin - block.begin), piece.size());
  }
}

void TcpDirectSum::expect_partials() {
  came_.assign(topology_.hosts(), 0);
  std::byte* place = incoming_.data();
  for (int h = 0; h < topology_.hosts(); ++h) {
    if (h == topology_.host()) continue;
    expect_partials_of(h, place);
    place += plan_->nodes[h].size() * wire_.bytes(global_slice(topology_.rank()));
  }
}

/// As send_partials_of() sends them; a node's partial of the slice lies in one piece.
void TcpDirectSum::expect_partials_of(int host, std::byte* place) {
  const Range slice = global_slice(topology_.rank());
  const size_t nodes = plan_->nodes[host].size();
  const auto scalars = std::as_writable_bytes(scalars_of(host));
  std::vector<std::span<std::byte>> parts{scalars};
  for (const Range block : my_blocks())
    for (size_t node = 0; node < nodes; ++node)
      parts.emplace_back(place + node * wire_.bytes(slice) + wire_.bytes({slice.begin, block.begin}),
                         wire_.bytes(block));
  mesh_.transfers().receive(topology_.carrier(host, topology_.rank()),
                            {FrameKind::partials, mesh_.stamp_of(step_), static_cast<uint64_t>(topology_.rank()),
                             scalars.size() + nodes * wire_.bytes(slice)},
                            parts, &came_[host]);
}

/// Where a block of sums lies packed, mine or another's.
std::byte* TcpDirectSum::packed_sum(Range block) const { return packed_.data() + block.begin * sizeof(uint16_t); }

/// A block of sums as it travels.
std::span<std::byte> TcpDirectSum::sum_on_wire(Range block) const {
  auto* place = wire_.is_rounded(block) ? packed_sum(block) : reinterpret_cast<std::byte*>(sums_ + block.begin);
  return {place, wire_.bytes(block)};
}

void TcpDirectSum::expect_sums() {
  for (Carried& sums : carried_) {
    sums.came = sums.taken = 0;
    std::vector<std::span<std::byte>> places;
    for (const Range block : blocks_[sums.slice]) places.push_back(sum_on_wire(block));
    mesh_.transfers().receive(sums.slice,
                              {FrameKind::sums, mesh_.stamp_of(step_), static_cast<uint64_t>(sums.slice),
                               wire_.bytes(global_slice(sums.slice))},
                              places, &sums.came);
  }
}

void TcpDirectSum::send_sums() {
  std::vector<ByteView> blocks;
  for (const Range block : my_blocks()) blocks.push_back(sum_on_wire(block));
  added_ = 0;
  const auto ready = [this, last = blocks.size()](size_t b) {
    const bool is_last = b + 1 == last;
    return b < added_ && (!is_last || for_all_others([this](int h) { return is_proven(h); }));
  };
  const FrameHeader header{FrameKind::sums, mesh_.stamp_of(step_), static_cast<uint64_t>(topology_.rank()),
                           wire_.bytes(global_slice(topology_.rank()))};
  for (int h = 0; h < topology_.hosts(); ++h)
    if (h != topology_.host()) mesh_.transfers().send(topology_.carrier(h, topology_.rank()), header, blocks, ready);
}

bool TcpDirectSum::for_all_others(const std::function<bool(int)>& holds) const {
  for (int h = 0; h < topology_.hosts(); ++h)
    if (h != topology_.host() && !holds(h)) return false;
  return true;
}

/// Of a host's partials of my slice, parts that come before those of `block`.
size_t TcpDirectSum::parts_before(int host, size_t block) const {
  return (plan_->scalars[host].empty() ? 0 : 1) + block * plan_->nodes[host].size();
}

bool TcpDirectSum::has_come(int host, size_t block) const { return came_[host] >= parts_before(host, block + 1); }

bool TcpDirectSum::is_proven(int host) const {
  const size_t parts = parts_before(host, my_blocks().size());
  return parts == 0 || came_[host] == parts + 1;
}

void TcpDirectSum::add_what_has_come() {
  const auto is_here = [this](int h) { return has_come(h, added_); };
  for (; added_ < my_blocks().size() && for_all_others(is_here); ++added_) {
    const Range block = my_blocks()[added_];
    plan_->program.run(plan_->sources, block, {{sums_}});
    if (wire_.is_rounded(block)) pack_bf16(sums_ + block.begin, halves(packed_sum(block)), block.size());
  }
}

/// Where a block of a slice's sum is there, mine of its partials has gone: see place_of_sums().
void TcpDirectSum::take_sums_that_came() {
  for (Carried& sums : carried_)
    for (const auto& blocks = blocks_[sums.slice]; sums.taken < std::min(sums.came, blocks.size()); ++sums.taken) {
      const Range block = blocks[sums.taken];
      if (wire_.is_rounded(block)) unpack_bf16(halves(packed_sum(block)), sums_ + block.begin, block.size());
    }
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
