#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <memory>
#include <tuple>

#include "bindings/torch_bindings.h"
#include "program/autocast.h"
#include "program/dtypes.h"
#include "program/executor.h"
#include "program/inference.h"
#include "program/weights.h"

namespace nb = nanobind;

namespace stoker {
namespace {

using Arrays = std::map<std::string, Array>;

Bytes safetensors_of(const Arrays& arrays) {
  std::vector<program::NamedTensor> tensors;
  for (const auto& [name, array] : arrays) {
    const std::vector<int64_t> shape(array.shape_ptr(), array.shape_ptr() + array.ndim());
    const ByteView data(static_cast<const std::byte*>(array.data()), array.nbytes());
    tensors.push_back({name, program::dtype_name(to_tensor(array).scalar_type()), shape, data});
  }
  return program::write_safetensors(std::move(tensors));
}

/// A training program for tests and conformance: one run through the real Step, everything in and out by name.
class TrainProgram {
 public:
  TrainProgram(const std::string& json, const std::optional<std::vector<int>>& groups)
      : program_(program::parse_program(json)),
        weights_(program::weight_arena(program_, groups.value_or(std::vector<int>{}))),
        buffers_(program::buffer_arena(program_)) {}

  nb::dict arena() const;
  nb::dict run(const Arrays& tensors, const std::vector<Array>& inputs,
               const std::tuple<uint64_t, uint64_t, uint64_t, uint64_t>& key) const;

 private:
  using Floats = at::Tensor;
  static Floats fill(const optim::Arena& arena, const program::SafeTensors& tensors);
  static nb::dict by_name(const optim::Arena& arena, const Floats& values);
  std::vector<int64_t> count_values(const program::SafeTensors& tensors) const;

  program::Program program_;
  optim::Arena weights_;
  optim::Arena buffers_;
};

nb::dict TrainProgram::arena() const {
  nb::list parameters;
  for (size_t i = 0; i < weights_.parameters().size(); ++i) {
    const auto extent = weights_.extent(static_cast<int>(i));
    parameters.append(nb::make_tuple(weights_.parameters()[i].name, extent.begin, extent.end));
  }
  nb::list groups;
  for (int g = 0; g < weights_.groups(); ++g) {
    groups.append(nb::make_tuple(weights_.group(g).begin, weights_.group(g).end));
  }
  nb::dict info;
  info["floats"] = weights_.floats();
  info["parameters"] = parameters;
  info["groups"] = groups;
  return info;
}

TrainProgram::Floats TrainProgram::fill(const optim::Arena& arena, const program::SafeTensors& tensors) {
  auto floats = at::zeros({arena.floats()});
  for (size_t i = 0; i < arena.parameters().size(); ++i) {
    const auto& spec = arena.parameters()[i];
    const auto extent = arena.extent(static_cast<int>(i));
    floats.slice(0, extent.begin, extent.end)
        .copy_(program::view_tensor(tensors, spec.name, "float32", spec.shape).flatten());
  }
  return floats;
}

nb::dict TrainProgram::by_name(const optim::Arena& arena, const Floats& values) {
  nb::dict named;
  for (size_t i = 0; i < arena.parameters().size(); ++i) {
    const auto& spec = arena.parameters()[i];
    const auto extent = arena.extent(static_cast<int>(i));
    named[spec.name.c_str()] = to_array(values.slice(0, extent.begin, extent.end).reshape(spec.shape).clone());
  }
  return named;
}

std::vector<int64_t> TrainProgram::count_values(const program::SafeTensors& tensors) const {
  std::vector<int64_t> values;
  for (const auto& b : program_.buffers) {
    if (b.rule != program::BufferRule::count) continue;
    const auto value = program::view_tensor(tensors, b.name, "int64", b.shape).contiguous();
    values.insert(values.end(), value.data_ptr<int64_t>(), value.data_ptr<int64_t>() + value.numel());
  }
  return values;
}

nb::dict TrainProgram::run(const Arrays& tensors, const std::vector<Array>& inputs,
                           const std::tuple<uint64_t, uint64_t, uint64_t, uint64_t>& key) const {
  const auto bytes = safetensors_of(tensors);
  const program::SafeTensors named(bytes, "tensors");
  auto weights = fill(weights_, named);
  auto buffers = fill(buffers_, named);
  auto counts = count_values(named);
  auto gradient = at::full({weights_.floats()}, 1e30);
  auto buffers_out = at::zeros({buffers_.floats()});
  const auto batch = to_tensors(inputs);

  const auto step = program::make_step(program_, weights_, named);
  step->bind(0, weights.mutable_data_ptr<float>(), buffers.mutable_data_ptr<float>(), counts.data());
  program::StepScalars scalars;
  {
    const nb::gil_scoped_release unlocked;
    const auto [seed, epoch, number, shard] = key;
    scalars = step->run(0, batch, gradient.mutable_data_ptr<float>(), buffers_out.mutable_data_ptr<float>(),
                        {seed, epoch, number, shard});
  }
  nb::dict result;
  result["numerator"] = scalars.numerator;
  result["denominator"] = scalars.denominator;
  result["correct"] = scalars.correct;
  result["counted"] = scalars.counted;
  result["gradients"] = by_name(weights_, gradient);
  result["buffers"] = by_name(buffers_, buffers_out);
  return result;
}

/// Bytes of a Python object (bytes, mmap, memoryview), held for as long as this lives.
class HeldBytes {
 public:
  explicit HeldBytes(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nb::python_error();
  }
  ~HeldBytes() { PyBuffer_Release(&view_); }
  HeldBytes(const HeldBytes&) = delete;
  ByteView bytes() const { return {static_cast<const std::byte*>(view_.buf), static_cast<size_t>(view_.len)}; }

 private:
  Py_buffer view_{};
};

class PyInference {
 public:
  PyInference(const std::string& json, nb::handle weights) : held_(weights), inference_(json, held_.bytes()) {}

  nb::list run(const std::vector<Array>& inputs) const {
    std::vector<at::Tensor> outputs;
    {
      const nb::gil_scoped_release unlocked;
      outputs = inference_.run(to_tensors(inputs));
    }
    nb::list arrays;
    for (auto& output : outputs) arrays.append(to_array(output));
    return arrays;
  }
  std::vector<std::pair<std::string, std::vector<int64_t>>> inputs() const {
    std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
    for (const auto& input : inference_.program().inputs) shapes.emplace_back(input.name, input.shape);
    return shapes;
  }
  int64_t chunk_rows() const { return inference_.chunk_rows(); }

 private:
  HeldBytes held_;
  program::Inference inference_;
};

}  // namespace

void bind_program(nb::module_& m) {
  nb::class_<TrainProgram>(m, "TrainProgram")
      .def(nb::init<const std::string&, const std::optional<std::vector<int>>&>(), nb::arg("json"),
           nb::arg("groups") = nb::none())
      .def_prop_ro("arena", &TrainProgram::arena)
      .def("run", &TrainProgram::run, nb::arg("tensors"), nb::arg("inputs"),
           nb::arg("key") = std::make_tuple(0, 0, 0, 0),
           "One micro-batch: {numerator, denominator, correct, counted, gradients, buffers}.");
  nb::class_<PyInference>(m, "Inference")
      .def(nb::init<const std::string&, nb::handle>(), nb::arg("json"), nb::arg("weights"))
      .def("run", &PyInference::run, nb::arg("inputs"), "Outputs for a batch; the arrays are read where they lie.")
      .def_prop_ro("chunk_rows", &PyInference::chunk_rows, "Rows that are run at once; 0: as many as come.")
      .def_prop_ro("inputs", &PyInference::inputs);
  m.def(
      "set_threads", [](int n) { at::set_num_threads(n); }, nb::arg("n"),
      "Intra-op threads of the calling thread's operators.");
  m.def(
      "has_bf16", [] { return program::has_bf16(); }, "Whether products of bfloat16 are faster here than of float32.");
  m.def(
      "cpu_capability", [] { return at::get_cpu_capability(); },
      "\"DEFAULT\", \"AVX2\" or \"AVX512\": of ATen's kernels.");
  m.def("config", [] { return at::show_config(); });
}

}  // namespace stoker
