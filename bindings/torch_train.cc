// The train loop for Python: parse, call, return.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings/bytes.h"
#include "bindings/python_storage.h"
#include "bindings/torch_bindings.h"
#include "train/bench.h"
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

}  // namespace

void bind_train(nb::module_& m) {
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
