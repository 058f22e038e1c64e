#include "program/inference.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/freed_memory.h"
#include "program/dense_kernels.h"
#include "program/dtypes.h"
#include "program/row_calls.h"
#include "program/weights.h"

namespace stoker::program {
namespace {

// A chunk's largest tensor stays in cache, if so many rows are not too few for the kernels.
constexpr int64_t kChunkBytes = 4 << 20;
constexpr int64_t kFewestRows = 4;
// So many are tried in other places, as far as that takes little time.
constexpr int64_t kTriedValues = 32 << 20;

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

int64_t widest_of(const Program& program) {
  int64_t widest = std::max<int64_t>(program.widest, 1);
  for (const auto& input : program.inputs) widest = std::max(widest, elements(input.shape));
  return widest;
}

int64_t rows_at_once(const Program& program) {
  const auto fitting = std::bit_floor(static_cast<uint64_t>(kChunkBytes / sizeof(float) / widest_of(program)));
  return std::clamp(static_cast<int64_t>(fitting), kFewestRows, Inference::kMostRows);
}

/// Products may choose their ways by that too.
bool is_aligned(const at::Tensor& values) { return reinterpret_cast<uintptr_t>(values.const_data_ptr()) % 64 == 0; }

/// `count` rows from `begin`, of which there may be fewer: then the last is repeated.
at::Tensor filled_chunk(const at::Tensor& values, int64_t begin, int64_t count) {
  const auto there = std::min(count, values.size(0) - begin);
  const auto chunk = values.narrow(0, begin, there);
  if (there == count) return is_aligned(chunk) ? chunk : chunk.clone();
  auto shape = values.sizes().vec();
  shape[0] = count - there;
  return at::cat({chunk, chunk.narrow(0, there - 1, 1).expand(shape)});
}

/// Whole numbers below it are rows of every table that the program looks up.
int64_t rows_of_tables(const Program& program) {
  int64_t fewest = 2;
  bool found = false;
  for (const auto& node : program.nodes) {
    if (!node.op.starts_with("aten.embedding") || node.args.empty()) continue;
    const auto slots = slots_in(node.args[0]);
    for (const auto& p : program.parameters) {
      if (slots != std::vector{p.slot} || p.shape.empty()) continue;
      fewest = found ? std::min(fewest, p.shape[0]) : p.shape[0];
      found = true;
    }
  }
  return fewest;
}

std::vector<at::Tensor> random_rows(const Program& program, int64_t rows, uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  std::vector<at::Tensor> inputs;
  for (const auto& input : program.inputs) {
    auto shape = input.shape;
    shape.insert(shape.begin(), rows);
    const auto dtype = scalar_type(input.dtype);
    if (c10::isFloatingType(dtype)) {
      inputs.push_back(at::randn(shape, generator, at::kFloat).to(dtype));
    } else {
      inputs.push_back(at::randint(0, rows_of_tables(program), shape, generator, at::kLong).to(dtype));
    }
  }
  return inputs;
}

bool same_values(const at::Tensor& a, const at::Tensor& b) {
  return ((a == b) | ((a != a) & (b != b))).all().item<bool>();
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

Inference::Inference(const std::string& program, ByteView weights, int64_t most_rows)
    : program_(inference_program(program)),
      weights_(load_weights(program_, weights)),
      chain_(make_chain()),
      plan_(chain_ ? chain_->trunk.head : program_, row_calls(program_, weights_)),
      chunk_rows_(find_chunk_rows(most_rows)) {}

int64_t Inference::find_chunk_rows(int64_t most_rows) const {
  if (program_.coupled || (chain_ && chain_->trunk.head.nodes.empty())) return 0;
  const c10::InferenceMode mode;
  int64_t rows = std::min(rows_at_once(program_), most_rows);
  if (plan_.is_random()) return rows;
  while (rows > 1 && !places_do_not_matter(rows)) rows /= 2;
  return rows;
}

/// Also where random rows are not what the model takes.
bool Inference::places_do_not_matter(int64_t rows) const try {
  const int64_t most = kTriedValues / (rows * widest_of(program_));
  for (int64_t i = 0; i < std::clamp<int64_t>(kMostRows / rows, 2, std::max<int64_t>(most, 2)); ++i) {
    if (!is_same_elsewhere(rows, i)) return false;
  }
  return true;
} catch (const Error&) {
  return true;
}

bool Inference::is_same_elsewhere(int64_t rows, uint64_t seed) const {
  const auto inputs = random_rows(program_, rows, seed);
  const auto order = seed % 2 == 0 && rows > 2 ? at::arange(rows).roll(rows / 2 + 1) : at::arange(rows).flip(0);
  Tensors moved;
  for (const auto& input : inputs) moved.push_back(input.index_select(0, order));
  const auto outputs = run_chunk(inputs), others = run_chunk(moved);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].size(0) == rows && !same_values(outputs[i].index_select(0, order), others[i])) return false;
  }
  return true;
}

std::unique_ptr<const Inference::Chain> Inference::make_chain() const {
  const auto* kernels = usable_dense_kernels();
  auto trunk = kernels ? find_trunk(program_) : std::nullopt;
  if (!trunk) return nullptr;
  const auto data = [this](int slot) {
    return slot == -1 ? nullptr : weights_[slot].toTensor().const_data_ptr<float>();
  };
  std::vector<FixedLayer> layers;
  for (const auto& l : trunk->layers) layers.push_back({data(l.weight), data(l.bias), l.in, l.out, l.activation});
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
