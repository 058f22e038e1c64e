// engine/collective for Python: the listeners, which a task opens before it says hello; a group of one's own and what
// it can sum, for benches and tests.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "base/descriptors.h"
#include "bindings/bindings.h"
#include "collective/all_reduce.h"
#include "collective/shard_sum.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace stoker {
namespace {

using namespace collective;
using Floats = nb::ndarray<nb::numpy, float, nb::ndim<1>>;

/// Memory of `owner`, which lives as long as the array does.
Floats view(float* data, size_t size, nb::handle owner) { return Floats(data, {size}, owner); }

Member parse_member(const nb::dict& d) {
  Member member;
  member.rank = nb::cast<int>(d["rank"]);
  member.host = nb::cast<std::string>(d["host"]);
  member.port = nb::cast<int>(d["port"]);
  member.unix_name = nb::cast<std::string>(d["unix_name"]);
  member.pid = nb::cast<int64_t>(d["pid"]);
  return member;
}

Roster parse_roster(const nb::dict& d) {
  Roster roster;
  roster.generation = nb::cast<uint64_t>(d["generation"]);
  roster.rank = nb::cast<int>(d["rank"]);
  for (const nb::handle member : nb::cast<nb::list>(d["members"]))
    roster.members.push_back(parse_member(nb::cast<nb::dict>(member)));
  const auto secret = nb::cast<nb::bytes>(d["secret"]);
  const auto* bytes = static_cast<const std::byte*>(secret.data());
  roster.secret.assign(bytes, bytes + secret.size());
  if (d.contains("encrypted")) roster.encrypted = nb::cast<bool>(d["encrypted"]);
  return roster;
}

std::unique_ptr<Group> form_group(const nb::dict& roster, Listeners& listeners) {
  const Roster parsed = parse_roster(roster);
  nb::gil_scoped_release released;
  return Group::form(parsed, listeners);
}

void bind_group(nb::module_& m) {
  const auto release = nb::call_guard<nb::gil_scoped_release>();
  m.def(
      "need_descriptors",
      [](size_t ranks) { need_descriptors(descriptors_of(ranks), cat("the peers of ", ranks, " workers")); }, "ranks"_a,
      "Raises the limit of open files as far as a worker among so many needs it, or says that it cannot.");
  nb::class_<Listeners>(m, "Listeners", "Listening ends for a worker's peers; handed to train().")
      .def(
          "__init__",
          [](Listeners* self, const std::string& bind_host, std::pair<int, int> ports) {
            new (self) Listeners(bind_host, {ports.first, ports.second});
          },
          "bind_host"_a, "ports"_a = std::pair(0, 0))
      .def_prop_ro("port", &Listeners::port)
      .def_prop_ro("unix_name", &Listeners::unix_name);
  nb::class_<Group>(m, "Group", "The ranks of one generation; see engine/collective/group.h.")
      .def_prop_ro("rank", &Group::rank)
      .def_prop_ro("size", &Group::size)
      .def_prop_ro("hosts", &Group::hosts)
      .def_prop_ro("bytes_sent", &Group::bytes_sent)
      .def("abort", &Group::abort, "reason"_a, release)
      .def(
          "pass_step",
          [](Group& group, uint64_t step) {
            group.arrive(Phase::slices, step);
            group.await(Phase::slices, step);
          },
          "step"_a, release);
  m.def("form_group", &form_group, "roster"_a, "listeners"_a,
        "Meets all peers. The roster is a dict: generation, rank, secret (bytes), members, each with rank, host, "
        "port, unix_name and pid, and encrypted, if what goes between hosts shall be.");
}

void bind_sums(nb::module_& m) {
  const auto release = nb::call_guard<nb::gil_scoped_release>();
  nb::class_<AllReduce>(m, "AllReduce", "Adds one resident vector per rank, in place.")
      .def(nb::init<Group&, int64_t>(), "group"_a, "floats"_a, nb::keep_alive<1, 2>(), release)
      .def_prop_ro("buffer",
                   [](nb::handle_t<AllReduce> self) {
                     const auto buffer = nb::cast<AllReduce&>(self).buffer();
                     return view(buffer.data(), buffer.size(), self);
                   })
      .def("run", &AllReduce::run, release);
  nb::class_<ShardSum>(m, "ShardSum", "Sums over logical shards; see engine/collective/shard_sum.h.")
      .def("begin", &ShardSum::begin, "step"_a, "present"_a)
      .def(
          "put",
          [](ShardSum& sum, int shard,
             const nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>& vector) {
            std::copy_n(vector.data(), vector.size(), sum.next());
            sum.put(shard);
          },
          "shard"_a, "vector"_a)
      .def("exchange", &ShardSum::exchange, release)
      .def_prop_ro("slice", [](const ShardSum& sum) { return std::pair(sum.slice().begin, sum.slice().end); })
      .def(
          "sum",
          [](nb::handle_t<ShardSum> self) {
            auto& sum = nb::cast<ShardSum&>(self);
            const Range slice = sum.slice();
            return view(const_cast<float*>(sum.sum(slice)) + slice.begin, static_cast<size_t>(slice.size()), self);
          },
          "The sums of my slice.");
  m.def(
      "make_shard_sum",
      [](Group& group, int shards, int64_t floats) {
        return make_shard_sum(group, {.shards = shards, .floats = floats});
      },
      "group"_a, "shards"_a, "floats"_a, nb::keep_alive<0, 1>(), release);
  m.def(
      "owned_shards",
      [](int rank, int size, int shards) {
        const Node owned = owned_shards(rank, size, shards);
        return std::pair(owned.lo, owned.hi);
      },
      "rank"_a, "size"_a, "shards"_a);
  m.def(
      "slots_needed",
      [](int rank, int size, int shards) {
        const auto own = owned_shards(rank, size, shards);
        ShardSet owned(shards);
        std::fill(owned.begin() + own.lo, owned.begin() + own.hi, true);
        return slots_needed(owned);
      },
      "rank"_a, "size"_a, "shards"_a, "Gradients that a worker's partial sums take.");
}

}  // namespace

void bind_collective(nb::module_& m) {
  bind_group(m);
  bind_sums(m);
}

}  // namespace stoker
