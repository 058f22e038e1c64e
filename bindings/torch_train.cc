// The train loop for Python: parse, call, return.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <nlohmann/json.hpp>

#include "bindings/bytes.h"
#include "bindings/python_storage.h"
#include "bindings/torch_bindings.h"
#include "program/safetensors.h"
#include "train/bench.h"
#include "train/evaluator.h"
#include "train/loop.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace stoker {

namespace {

void train_worker(gang::WorkerLink& link, collective::Listeners& listeners, const data::ColumnStore& store,
                  const gang::Start& start, const std::string& spec, const nb::object& storage) {
  std::shared_ptr<checkpoint::Storage> checkpoints;
  if (!storage.is_none()) checkpoints = std::make_shared<PythonStorage>(storage);
  nb::gil_scoped_release released;
  train::train(link, listeners, store, start, train::parse_spec(spec), checkpoints);
}

/// An evaluation of rows anywhere, with weights that stay.
class FixedEvaluation {
 public:
  FixedEvaluation(const std::string& spec, const nb::bytes& weights)
      : weights_(view(weights).begin(), view(weights).end()),
        evaluator_(train::parse_evaluation(nlohmann::json::parse(spec)), {}, none_, none_,
                   program::SafeTensors(weights_, "the weights")),
        numbers_(train::Evaluator::numbers(train::parse_evaluation(nlohmann::json::parse(spec)))) {}

  /// The numbers of some rows, which add up, and the rows as metrics collect them.
  std::pair<std::vector<double>, nb::bytes> run(const std::vector<Array>& inputs) {
    const auto tensors = to_tensors(inputs);
    std::vector<double> numbers(numbers_);
    Bytes collected;
    {
      const nb::gil_scoped_release released;
      train::Collected rows;
      evaluator_.add({}, tensors, numbers, rows);
      if (evaluator_.bytes_of_row() > 0) collected = evaluator_.packed(rows);
    }
    return {numbers, nb::bytes(collected.data(), collected.size())};
  }
  /// What the sums of all numbers come to, and all rows.
  std::string told(std::vector<double> numbers, const std::vector<nb::bytes>& collected) const {
    std::vector<Bytes> rows;  // aligned
    for (const auto& each : collected) rows.emplace_back(view(each).begin(), view(each).end());
    if (evaluator_.bytes_of_row() > 0) evaluator_.settle({rows.begin(), rows.end()}, numbers);
    return evaluator_.told(numbers).dump();
  }

 private:
  const Bytes weights_;
  const optim::Arena none_{std::vector<optim::ParameterSpec>()};
  train::Evaluator evaluator_;
  int64_t numbers_;
};

}  // namespace

void bind_train(nb::module_& m) {
  nb::class_<FixedEvaluation>(m, "Evaluation", "See engine/train/evaluator.h.")
      .def(nb::init<const std::string&, const nb::bytes&>(), "spec"_a, "weights"_a)
      .def("run", &FixedEvaluation::run, "inputs"_a)
      .def("told", &FixedEvaluation::told, "numbers"_a, "collected"_a = std::vector<nb::bytes>());
  m.def("train", &train_worker, "link"_a, "listeners"_a, "store"_a, "start"_a, "spec"_a, "storage"_a = nb::none(),
        "Runs the whole training of one worker with the GIL released; see engine/train/loop.h. `storage` keeps "
        "checkpoints where the spec names no folder.");
  m.def(
      "bench_steps",
      [](const std::string& spec, const nb::bytes& weights, const std::vector<Array>& inputs, int64_t steps, int ranks,
         bool in_place) {
        const auto raw = view(weights);
        const auto tensors = to_tensors(inputs);
        nb::gil_scoped_release released;
        return train::bench_steps(spec, raw, tensors, steps, ranks, in_place);
      },
      "spec"_a, "weights"_a, "inputs"_a, "steps"_a, "ranks"_a = 1, "in_place"_a = false,
      "Median seconds of one step (forward, backward, optimizer, commit) on fixed inputs; see engine/train/bench.h.");
}

}  // namespace stoker
