// engine/gang for Python: the driver's coordinator and a task's link to it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <tuple>

#include "base/hash.h"
#include "base/level.h"
#include "bindings/bindings.h"
#include "bindings/bytes.h"
#include "gang/coordinator.h"
#include "gang/worker_link.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace stoker {
namespace {

using gang::Coordinator;
using gang::CoordinatorOptions;
using gang::Line;
using gang::Start;
using gang::WorkerLink;
using released = nb::call_guard<nb::gil_scoped_release>;
using Shards = std::vector<std::tuple<int, int64_t, uint64_t, uint64_t>>;  // shard, rows, digest's high and low half

Bytes copy(const nb::bytes& bytes) { return {view(bytes).begin(), view(bytes).end()}; }

/// Takes entries out of a dict; those that nobody took are a mistake.
class Fields {
 public:
  explicit Fields(const nb::dict& dict) : rest_(nb::borrow<nb::dict>(dict.attr("copy")())) {}
  template <typename T>
  Fields& take(const char* name, T& field) {
    if (const nb::object value = rest_.attr("pop")(name, nb::none()); !value.is_none()) assign(name, value, field);
    return *this;
  }
  void done() const {
    if (rest_.size() > 0) fail_bug("unknown field in ", nb::cast<std::string>(nb::repr(rest_)));
  }

 private:
  template <typename T>
  static void assign(const char* name, const nb::object& value, T& field) {
    if (!nb::try_cast(value, field)) fail_bug("field ", name, " cannot be ", nb::cast<std::string>(nb::repr(value)));
  }
  static void assign(const char*, const nb::object& value, Bytes& field) { field = copy(nb::cast<nb::bytes>(value)); }

  nb::dict rest_;
};

CoordinatorOptions parse_options(const nb::dict& dict) {
  CoordinatorOptions o;
  Fields fields(dict);
  fields.take("bind_host", o.bind_host).take("secret", o.secret).take("workers", o.workers).take("shards", o.shards);
  fields.take("encrypt", o.encrypt).take("most_workers", o.most_workers);
  fields.take("start_timeout", o.start_timeout).take("heartbeat", o.heartbeat);
  fields.take("heartbeat_timeout", o.heartbeat_timeout).take("force_tcp", o.force_tcp);
  fields.take("slots", o.slots).take("initial", o.initial).take("constants", o.constants);
  fields.take("torch_version", o.torch_version);
  fields.take("worker_timeout", o.worker_timeout).take("rescue_after", o.rescue_after);
  fields.take("allow_changed_rows", o.allow_changed_rows).take("allow_lost_rows", o.allow_lost_rows);
  std::pair<int, int> ports{0, 0};
  fields.take("ports", ports);
  o.ports = {ports.first, ports.second};
  fields.take("allow_other_bits", o.allow_other_bits).take("lowest_isa", o.lowest_isa);
  fields.take("memory_setting", o.memory_setting).take("distant", o.distant);
  fields.done();
  return o;
}

gang::Hello parse_hello(const nb::dict& dict) {
  gang::Hello h;
  Fields fields(dict);
  fields.take("partition", h.partition)
      .take("attempt", h.attempt)
      .take("attempt_number", h.attempt_number)
      .take("job", h.job);
  fields.take("host", h.host).take("pid", h.pid).take("peer_port", h.peer_port).take("unix_name", h.unix_name);
  fields.take("torch_version", h.torch_version).take("isa", h.isa).take("loaded_isa", h.loaded_isa);
  fields.done();
  return h;
}

ErrorKind parse_kind(const std::string& text) {
  for (const ErrorKind kind : {ErrorKind::user, ErrorKind::world, ErrorKind::aborted, ErrorKind::bug}) {
    if (text == name(kind)) return kind;
  }
  fail_bug("unknown kind of error '", text, "'");
}

std::vector<std::pair<std::string, std::string>> poll(Coordinator& self, double timeout) {
  std::vector<std::pair<std::string, std::string>> events;
  for (auto& event : self.poll(timeout)) events.emplace_back(std::move(event.kind), std::move(event.json));
  return events;
}

/// Interrupts are heard while survivors send their state.
int restart(Coordinator& self, int workers, const std::string& reason) {
  return self.restart(workers, reason, [] {
    const nb::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  });
}

std::optional<std::pair<std::string, std::string>> failure(const Coordinator& self) {
  const auto error = self.failure();
  if (!error) return {};
  return std::pair(std::string(name(error->kind())), std::string(error->what()));
}

std::pair<nb::bytes, std::string> take_result(Coordinator& self) {
  std::pair<Bytes, std::string> result;
  {
    const nb::gil_scoped_release release;
    result = self.take_result();
  }
  return {to_python(result.first), std::move(result.second)};
}

void dial(Line* self, const std::string& host, int port, const nb::bytes& secret, double timeout, bool encrypt) {
  const gang::LinkOptions options{host, port, copy(secret), timeout, encrypt};
  const nb::gil_scoped_release release;
  new (self) Line(options);
}

/// The line's connection is the link's from now on.
void link_over(WorkerLink* self, Line& line, const nb::dict& hello) {
  const gang::Hello parsed = parse_hello(hello);
  const nb::gil_scoped_release release;
  new (self) WorkerLink(std::move(line), parsed);
}

std::pair<std::string, std::string> admission(WorkerLink& self) {
  auto admission = self.admission();
  return {name(admission.verdict), std::move(admission.reason)};
}

/// Shards from `training` on are the rows that each of the first `training` holds out; 0: there are none.
void ingested(WorkerLink& self, const Shards& shards, int training) {
  std::map<int, gang::ShardCount> counts;
  for (const auto& [shard, rows, high, low] : shards) {
    const Hash128 digest{high, low};
    auto& count = counts[training > 0 ? shard % training : shard];
    const bool held = training > 0 && shard >= training;
    count.shard = held ? shard - training : shard;
    count.count(rows, digest, held);
  }
  std::vector<gang::ShardCount> told;
  for (const auto& [shard, count] : counts) told.push_back(count);
  self.ingested(told);
}

void send_result(WorkerLink& self, const nb::bytes& weights, const std::string& history) {
  const ByteView bytes = view(weights);
  const nb::gil_scoped_release release;
  self.result(bytes, history);
}

nb::dict to_dict(const Start& start) {
  nb::list members, shards;
  for (const auto& m : start.roster.members) {
    nb::dict member;
    member["rank"] = m.rank, member["host"] = m.host, member["port"] = m.port, member["unix_name"] = m.unix_name;
    member["pid"] = m.pid, member["attempt"] = m.attempt;
    members.append(member);
  }
  int64_t held = 0;
  for (const auto& s : start.shards) {
    shards.append(nb::make_tuple(s.shard, s.rows, s.digest.high, s.digest.low));
    held += s.held;
  }
  nb::dict dict;
  dict["generation"] = start.roster.generation, dict["rank"] = start.roster.rank, dict["isa"] = start.isa;
  dict["members"] = members, dict["shards"] = shards, dict["owners"] = start.owners;
  dict["held"] = held;
  return dict;
}

/// A scope of the engine as a context manager of Python, entered and left by one thread.
template <typename Scope>
class Context {
 public:
  explicit Context(std::function<std::unique_ptr<Scope>()> enter) : make_(std::move(enter)) {}
  void enter() { scope_ = make_(); }
  void exit(const nb::args&) { scope_.reset(); }

 private:
  std::function<std::unique_ptr<Scope>()> make_;
  std::unique_ptr<Scope> scope_;
};
using AtWork = Context<pulse::Work>;
using Resting = Context<pulse::Rest>;

template <typename Scope>
void bind_context(nb::module_& m, const char* name) {
  nb::class_<Context<Scope>>(m, name).def("__enter__", &Context<Scope>::enter).def("__exit__", &Context<Scope>::exit);
}

void bind_coordinator(nb::module_& m) {
  nb::class_<Coordinator>(m, "Coordinator", "The driver's service for one fit; see engine/gang/coordinator.h.")
      .def(
          "__init__",
          [](Coordinator* self, const nb::dict& options) { new (self) Coordinator(parse_options(options)); },
          "options"_a)
      .def_prop_ro("port", &Coordinator::port)
      .def("poll", poll, "timeout"_a, released())
      .def("abort", &Coordinator::abort, "reason"_a, released())
      .def("restart", restart, "workers"_a, "reason"_a, released())
      .def("keep_spares", &Coordinator::keep_spares, "may_stay"_a, released())
      .def("wish", &Coordinator::wish, "stop"_a = false, "rate"_a = 0.0, released())
      .def("holds_state", &Coordinator::holds_state, released())
      .def("done", &Coordinator::done, released())
      .def("failure", failure, released())
      .def("take_result", take_result)
      .def("close", &Coordinator::close, released());
}

void bind_line(nb::module_& m) {
  nb::class_<Line>(m, "Line", "A proven connection to the coordinator; see engine/gang/worker_link.h.")
      .def("__init__", dial, "host"_a, "port"_a, "secret"_a, "timeout"_a = 20.0, "encrypt"_a = false)
      .def_prop_ro("address", &Line::address);
}

void bind_link(nb::module_& m) {
  nb::class_<WorkerLink>(m, "WorkerLink", "A worker's link to the coordinator; see engine/gang/worker_link.h.")
      .def("__init__", link_over, "line"_a, "hello"_a)
      .def("admission", admission, released())
      .def(
          "isa", [](WorkerLink& self) { return self.admission().isa; }, released(),
          "Instruction-set level that the gang runs at already; -1: not known yet.")
      .def("ingesting", &WorkerLink::ingesting, "rows"_a, released())
      .def("ingested", ingested, "shards"_a, "training"_a = 0, released())
      .def(
          "start", [](WorkerLink& self) { return self.start(); }, released())
      .def("progress", &WorkerLink::progress, "step"_a)
      .def(
          "at_work",
          [](WorkerLink& self) { return AtWork([&] { return std::make_unique<pulse::Work>(self.pulse()); }); },
          nb::keep_alive<0, 1>(), "While this context lasts its thread is watched: it must get something done.")
      .def(
          "resting", [](WorkerLink&) { return Resting([] { return std::make_unique<pulse::Rest>(); }); },
          "While this context lasts its thread waits for somebody, and is not watched.")
      .def("metrics", &WorkerLink::metrics, "json"_a, released())
      .def("result", send_result, "weights"_a, "history"_a)
      .def("finished", &WorkerLink::finished, released())
      .def(
          "failed",
          [](WorkerLink& self, const std::string& kind, const std::string& text) {
            self.failed(Error(parse_kind(kind), text));
          },
          "kind"_a, "text"_a, released())
      .def("aborted", &WorkerLink::aborted, released())
      .def("lost", &WorkerLink::lost, released())
      .def("abort_reason", &WorkerLink::abort_reason, released())
      .def("close", &WorkerLink::close, released());
}

}  // namespace

void bind_gang(nb::module_& m) {
  nb::class_<Start>(m, "Start", "What the gang agreed on as it formed; handed to train().")
      .def_ro("isa", &Start::isa)
      .def("to_dict", to_dict);
  bind_context<pulse::Work>(m, "AtWork");
  bind_context<pulse::Rest>(m, "Resting");
  bind_coordinator(m);
  bind_line(m);
  bind_link(m);
  m.def(
      "best_isa", [] { return static_cast<int>(best_level()); }, "This machine's best instruction-set level.");
  m.def(
      "isa_name", [](int isa) { return name(static_cast<Level>(isa)); }, "isa"_a);
}

}  // namespace stoker
