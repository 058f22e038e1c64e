// engine/optim for Python's tests and tools: an optimizer over NumPy arrays in the arena's layout.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <nlohmann/json.hpp>
#include <tuple>

#include "base/error.h"
#include "bindings/bindings.h"
#include "optim/optimizer.h"
#include "optim/plateau.h"

namespace nb = nanobind;

namespace stoker {
namespace {

using optim::Arena;
using optim::Isa;
using Floats = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Parameters = std::vector<std::tuple<std::string, std::vector<int64_t>, int>>;  // name, shape, group
using Layouts = std::vector<std::vector<int>>;                                       // of each parameter, or none

Isa parse_isa(const std::string& name) {
  const Isa isa = name == "avx512"     ? Isa::avx512
                  : name == "avx2"     ? Isa::avx2
                  : name == "portable" ? Isa::portable
                                       : optim::best_isa();
  if (isa > optim::best_isa()) fail_user("this CPU has no ", name);
  return isa;
}

Arena make_arena(const Parameters& parameters, const Layouts& layouts) {
  std::vector<optim::ParameterSpec> specs;
  for (const auto& [name, shape, group] : parameters) specs.push_back({name, shape, group});
  for (size_t i = 0; i < layouts.size(); ++i) specs.at(i).layout = layouts[i];
  return Arena(std::move(specs));
}

class ArenaOptimizer {
 public:
  ArenaOptimizer(const std::string& options, const Parameters& parameters, const std::string& isa,
                 const Layouts& layouts)
      : arena_(make_arena(parameters, layouts)),
        optimizer_(optim::make_optimizer(optim::parse_optimizer(options), arena_, parse_isa(isa))) {}

  /// Why there is nothing more to do.
  std::string ended() { return optimizer_->ended(committed()); }

  const Arena& arena() const { return arena_; }
  int64_t numbers() const { return optimizer_->numbers(); }
  /// After the last update; none before the first.
  const std::vector<double>& committed_numbers() const { return numbers_; }
  int64_t scratch() const { return optimizer_->scratch(); }
  int64_t sums() const { return optimizer_->sums(); }
  std::vector<std::string> state_names() const { return optimizer_->state_names(); }
  std::tuple<int64_t, int64_t> extent(int i) const {
    STOKER_CHECK(i >= 0 && i < static_cast<int>(arena_.parameters().size()));
    return {arena_.extent(i).begin, arena_.extent(i).end};
  }

  /// In place over the whole arena. `loss`: for optimizers that decide by it.
  void update(const optim::Moment& at, const Floats& gradient, float scale, const Floats& weights,
              const std::vector<Floats>& state, double loss) {
    const auto base = [&](const Floats& array) {
      STOKER_CHECK(static_cast<int64_t>(array.size()) == arena_.floats());
      return array.data();
    };
    optim::UpdateBuffers buffers{base(gradient), scale, base(weights), base(weights), {}, {}};
    for (const auto& array : state) {
      buffers.state_in.push_back(base(array));
      buffers.state_out.push_back(base(array));
    }
    std::vector<double> sums(optimizer_->sums());
    auto found = optim::measured(*optimizer_, {committed(), loss, sums.data(), at},
                                 [&](int round, const std::vector<double>& so_far) {
                                   buffers.numbers = so_far.data();
                                   optimizer_->measure(round, {0, arena_.floats()}, at, buffers, sums.data());
                                 });
    buffers.numbers = found.numbers.data();
    if (!found.factors.empty()) buffers.factors = found.factors.data();
    optimizer_->update({0, arena_.floats()}, at, buffers);
    std::copy_n(found.numbers.begin(), numbers_.size(), numbers_.begin());
  }

 private:
  /// Made late: who only asks for sizes needs none.
  const double* committed() {
    numbers_.resize(optimizer_->numbers());
    return numbers_.data();
  }

  Arena arena_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::vector<double> numbers_;
};

}  // namespace

void bind_optim(nb::module_& m) {
  nb::class_<ArenaOptimizer>(m, "ArenaOptimizer")
      .def(nb::init<const std::string&, const Parameters&, const std::string&, const Layouts&>(),
           nb::arg("options_json"), nb::arg("parameters"), nb::arg("isa") = "best", nb::arg("layouts") = Layouts())
      .def("floats", [](const ArenaOptimizer& self) { return self.arena().floats(); })
      .def("extent", &ArenaOptimizer::extent, nb::arg("parameter"))
      .def("state_names", &ArenaOptimizer::state_names)
      .def(
          "update",
          [](ArenaOptimizer& self, int64_t step, const Floats& gradient, float scale, const Floats& weights,
             const std::vector<Floats>& state, int64_t epoch, int64_t steps_of_epoch, double loss) {
            self.update({step, epoch, steps_of_epoch}, gradient, scale, weights, state, loss);
          },
          nb::arg("step"), nb::arg("gradient"), nb::arg("scale"), nb::arg("weights"), nb::arg("state"),
          nb::arg("epoch") = 0, nb::arg("steps_of_epoch") = 0, nb::arg("loss") = 0.0)
      .def("ended", &ArenaOptimizer::ended)
      .def("numbers", &ArenaOptimizer::numbers)
      .def("committed_numbers", &ArenaOptimizer::committed_numbers)
      .def("scratch", &ArenaOptimizer::scratch)
      .def("sums", &ArenaOptimizer::sums);
  m.def(
      "learning_rate",
      [](const std::string& schedule, double base, int64_t step, int64_t epoch, int64_t steps_of_epoch,
         int64_t lowered) {
        optim::Moment at(step, epoch, steps_of_epoch);
        at.lowered = lowered;
        return optim::parse_schedule(schedule).rate(base, at);
      },
      nb::arg("schedule_json"), nb::arg("base"), nb::arg("step"), nb::arg("epoch") = 0, nb::arg("steps_of_epoch") = 0,
      nb::arg("lowered") = 0);
  m.def(
      "lowerings",
      [](const std::string& plateau, const std::vector<double>& scores) {
        return optim::lowerings(scores, optim::parse_plateau(nlohmann::json::parse(plateau)));
      },
      nb::arg("plateau_json"), nb::arg("scores"));
  m.def("clip_factor", optim::clip_factor, nb::arg("norm"), nb::arg("max_norm"));
}

}  // namespace stoker
