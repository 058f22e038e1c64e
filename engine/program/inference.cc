#include "program/inference.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/freed_memory.h"
#include "program/dense_kernels.h"
#include "program/dtypes.h"
#include "program/weights.h"

namespace stoker::program {
namespace {

// A chunk's largest tensor stays in cache, if so many rows are not too few for the kernels.
constexpr int64_t kChunkBytes = 4 << 20;
constexpr int64_t kFewestRows = 4, kMostRows = 256;

Program inference_program(const std::string& text) {
  auto program = parse_program(text);
  if (program.train) fail_user("this program is for training, not for inference");
  return program;
}

Slots load_weights(const Program& program, ByteView bytes) {
  const c10::InferenceMode mode;
  const SafeTensors file(bytes, "the weights");
  Slots slots(program.slots);
  for (const auto& p : program.parameters) slots[p.slot] = view_tensor(file, p.name, "float32", p.shape);
  for (const auto& b : program.buffers) slots[b.slot] = view_tensor(file, b.name, b.dtype, b.shape);
  for (const auto& c : program.constants) slots[c.slot] = view_tensor(file, c.name, c.dtype, c.shape);
  return slots;
}

int64_t rows_at_once(const Program& program) {
  int64_t widest = std::max<int64_t>(program.widest, 1);
  for (const auto& input : program.inputs) widest = std::max(widest, elements(input.shape));
  const auto fitting = std::bit_floor(static_cast<uint64_t>(kChunkBytes / sizeof(float) / widest));
  return std::clamp(static_cast<int64_t>(fitting), kFewestRows, kMostRows);
}

/// `count` rows from `begin`, of which there may be fewer: then the last is repeated.
at::Tensor filled_chunk(const at::Tensor& values, int64_t begin, int64_t count) {
  const auto there = std::min(count, values.size(0) - begin);
  const auto chunk = values.narrow(0, begin, there);
  if (there == count) return chunk;
  auto shape = values.sizes().vec();
  shape[0] = count - there;
  return at::cat({chunk, chunk.narrow(0, there - 1, 1).expand(shape)});
}

void append_rows(std::vector<at::Tensor>& all, const std::vector<at::Tensor>& chunk, int64_t begin, int64_t rows) {
  for (size_t i = 0; i < chunk.size(); ++i) {
    if (all.size() <= i) {
      auto shape = chunk[i].sizes().vec();
      shape.at(0) = rows;
      all.push_back(at::empty(shape, chunk[i].options()));
    }
    const auto count = std::min(chunk[i].size(0), rows - begin);
    all[i].narrow(0, begin, count).copy_(chunk[i].narrow(0, 0, count));
  }
}

}  // namespace

Inference::Inference(const std::string& program, ByteView weights)
    : program_(inference_program(program)),
      weights_(load_weights(program_, weights)),
      chain_(make_chain()),
      plan_(chain_ ? chain_->trunk.head : program_),
      chunk_rows_(chain_ && chain_->trunk.head.nodes.empty() ? 0 : rows_at_once(program_)) {}

std::unique_ptr<const Inference::Chain> Inference::make_chain() const {
  const auto* kernels = usable_dense_kernels();
  auto trunk = kernels ? find_trunk(program_) : std::nullopt;
  if (!trunk) return nullptr;
  const auto data = [this](int parameter) -> const float* {
    if (parameter == -1) return nullptr;
    return weights_[program_.parameters[parameter].slot].toTensor().const_data_ptr<float>();
  };
  std::vector<FixedLayer> layers;
  for (const auto& l : trunk->layers) layers.push_back({data(l.weight), data(l.bias), l.in, l.out, l.relu});
  return std::make_unique<const Chain>(Chain{std::move(*trunk), DenseForward(std::move(layers), *kernels)});
}

std::vector<at::Tensor> Inference::run(const Tensors& inputs) const {
  keep_freed_memory();  // each time: a fit in this process ends it
  check_inputs(inputs);
  const c10::InferenceMode mode;
  const bool whole = chunk_rows_ == 0 || inputs.empty() || inputs[0].size(0) == 0;
  return whole ? run_chunk(inputs) : run_in_chunks(inputs);
}

std::vector<at::Tensor> Inference::run_in_chunks(const Tensors& inputs) const {
  const int64_t rows = inputs[0].size(0);
  Tensors outputs;
  for (int64_t begin = 0; begin < rows; begin += chunk_rows_) {
    Tensors chunk;
    for (const auto& input : inputs) chunk.push_back(filled_chunk(input, begin, chunk_rows_));
    append_rows(outputs, run_chunk(chunk), begin, rows);
  }
  return outputs;
}

std::vector<at::Tensor> Inference::run_chunk(const Tensors& inputs) const {
  auto slots = weights_;
  for (size_t i = 0; i < inputs.size(); ++i) slots[program_.inputs[i].slot] = inputs[i];
  if (chain_) slots[chain_->trunk.output] = run_chain(inputs[chain_->trunk.input]);
  plan_.run(slots, RandomKey{});
  Tensors outputs;
  for (const auto& output : program_.outputs) outputs.push_back(slots[output.slot].toTensor());
  return outputs;
}

at::Tensor Inference::run_chain(const at::Tensor& x) const {
  const auto& layers = chain_->trunk.layers;
  const auto dense = x.contiguous();
  auto shape = x.sizes().vec();
  shape.back() = layers.back().out;
  auto y = at::empty(shape, at::kFloat);
  chain_->layers.run(dense.const_data_ptr<float>(), x.numel() / layers.front().in, y.mutable_data_ptr<float>());
  return y;
}

void Inference::check_inputs(const Tensors& inputs) const {
  if (inputs.size() != program_.inputs.size()) {
    fail_user("the program has ", program_.inputs.size(), " inputs, and ", inputs.size(), " are given");
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto& input = program_.inputs[i];
    const auto& tensor = inputs[i];
    if (tensor.scalar_type() != scalar_type(input.dtype)) {
      fail_user("input ", input.name, " is ", dtype_name(tensor.scalar_type()), ", and the program wants ",
                input.dtype);
    }
    if (tensor.dim() == 0 || tensor.sizes().slice(1) != at::IntArrayRef(input.shape)) {
      fail_user("input ", input.name, " has the shape ", tensor.sizes(), ", and the program wants rows of ",
                at::IntArrayRef(input.shape));
    }
    if (tensor.size(0) != inputs[0].size(0)) {
      fail_user("input ", input.name, " has ", tensor.size(0), " rows, and input ", program_.inputs[0].name, " has ",
                inputs[0].size(0));
    }
  }
}

}  // namespace stoker::program
