#pragma once
// For tests: writes small programs by hand, and runs them through the real Step with everything by name.
#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "program/executor.h"

namespace stoker::program {

using Json = nlohmann::json;
using Arguments = std::vector<Json>;

inline Json slot(int n) { return {{"slot", n}}; }

/// A program under construction. Each method gives the new slot.
class Writer {
 public:
  int input(const std::string& name, const std::string& role, const std::vector<int64_t>& shape,
            const std::string& dtype = "float32") {
    json_["inputs"].push_back({{"name", name}, {"role", role}, {"slot", slots_}, {"dtype", dtype}, {"shape", shape}});
    return slots_++;
  }
  int parameter(const std::string& name, const std::vector<int64_t>& shape) {
    json_["parameters"].push_back({{"name", name}, {"slot", slots_}, {"shape", shape}, {"aliases", Json::array()}});
    return slots_++;
  }
  int buffer(const std::string& name, const std::vector<int64_t>& shape, const std::string& rule) {
    const char* dtype = rule == "mean" ? "float32" : "int64";
    json_["buffers"].push_back({{"name", name}, {"slot", slots_}, {"dtype", dtype}, {"shape", shape}, {"rule", rule}});
    return slots_++;
  }
  int constant(const std::string& name, const std::vector<int64_t>& shape, const std::string& dtype = "float32") {
    json_["constants"].push_back({{"name", name}, {"slot", slots_}, {"dtype", dtype}, {"shape", shape}});
    return slots_++;
  }
  int node(const std::string& op, const Arguments& args, const Json& kwargs = Json::object()) {
    return nodes(op, args, 1, kwargs).front();
  }
  std::vector<int> nodes(const std::string& op, const Arguments& args, int results,
                         const Json& kwargs = Json::object()) {
    std::vector<int> out;
    for (int i = 0; i < results; ++i) out.push_back(slots_++);
    const auto where = "layer" + std::to_string(json_["nodes"].size());
    json_["nodes"].push_back({{"op", op}, {"args", args}, {"kwargs", kwargs}, {"out", out}, {"where", where}});
    return out;
  }
  Writer& output(int slot) {
    json_["outputs"].push_back({{"name", "out" + std::to_string(slot)}, {"slot", slot}});
    return *this;
  }
  Writer& metric(const std::string& kind, int output, int label, const Json& weight = nullptr) {
    json_["metric"] = {{"kind", kind}, {"output", output}, {"label", label}, {"weight", weight}};
    return *this;
  }
  Json train(int numerator, const Json& denominator = {{"rows", 1.0}}) const {
    auto json = finished("train");
    json["loss"] = {{"numerator", numerator}, {"denominator", denominator}};
    if (!json.contains("metric")) json["metric"] = nullptr;
    return json;
  }
  Json infer() const { return finished("infer"); }

 private:
  Json finished(const char* kind) const {
    auto json = json_;
    json["kind"] = kind;
    json["slots"] = slots_;
    return json;
  }

  int slots_ = 0;
  Json json_ = {{"format", "stoker-program"},
                {"version", 1},
                {"torch", "2.13"},
                {"inputs", Json::array()},
                {"parameters", Json::array()},
                {"buffers", Json::array()},
                {"constants", Json::array()},
                {"nodes", Json::array()},
                {"outputs", Json::array()}};
};

using Tensors = std::map<std::string, at::Tensor>;

inline Bytes to_safetensors(const Tensors& tensors) {
  std::vector<NamedTensor> named;
  for (const auto& [name, t] : tensors) {
    const auto* data = static_cast<const std::byte*>(t.const_data_ptr());
    const char* dtype = t.scalar_type() == at::kLong ? "int64" : "float32";
    named.push_back({name, dtype, t.sizes().vec(), {data, t.nbytes()}});
  }
  return write_safetensors(std::move(named));
}

/// A training program with memory of its own: what a worker has, without the worker.
class Bench {
 public:
  using Make = decltype(&make_executor);
  Bench(const Json& json, const Tensors& tensors, Make make = make_executor)
      : program_(parse_program(json.dump())),
        bytes_(to_safetensors(tensors)),
        arena_(weight_arena(program_)),
        buffer_arena_(buffer_arena(program_)),
        weights(at::zeros(arena_.floats())),
        gradient(at::full(arena_.floats(), 1e30F)),
        buffers(at::zeros(buffer_arena_.floats())),
        buffers_out(at::zeros(buffer_arena_.floats())),
        counts(count_numbers(program_)) {
    step_ = make(program_, arena_, SafeTensors(bytes_, "tensors"));
    for (int i = 0; i < static_cast<int>(arena_.parameters().size()); ++i) {
      part(arena_, weights, i).copy_(tensors.at(arena_.parameters()[i].name));
    }
    for (int i = 0; i < static_cast<int>(buffer_arena_.parameters().size()); ++i) {
      part(buffer_arena_, buffers, i).copy_(tensors.at(buffer_arena_.parameters()[i].name));
    }
    step_->bind(0, weights.mutable_data_ptr<float>(), buffers.mutable_data_ptr<float>(), counts.data());
  }

  StepScalars run(const std::vector<at::Tensor>& inputs, const RandomKey& key = {}) {
    return step_->run(0, inputs, gradient.mutable_data_ptr<float>(), buffers_out.mutable_data_ptr<float>(), key);
  }
  at::Tensor gradient_of(const std::string& name) { return named(arena_, gradient, name); }
  at::Tensor buffer_after(const std::string& name) { return named(buffer_arena_, buffers_out, name); }
  Step& step() { return *step_; }
  const optim::Arena& arena() const { return arena_; }

 private:
  static at::Tensor part(const optim::Arena& arena, const at::Tensor& floats, int i) {
    const auto extent = arena.extent(i);
    return floats.slice(0, extent.begin, extent.end).view(arena.parameters()[i].shape);
  }
  static at::Tensor named(const optim::Arena& arena, const at::Tensor& floats, const std::string& name) {
    int i = 0;
    while (arena.parameters().at(i).name != name) ++i;
    return part(arena, floats, i).clone();
  }

  Program program_;
  const Bytes bytes_;
  optim::Arena arena_;
  optim::Arena buffer_arena_;
  std::unique_ptr<Step> step_;

 public:
  at::Tensor weights, gradient, buffers, buffers_out;
  std::vector<int64_t> counts;
};

/// The text of the Error(user) that `action` throws; "" when it throws none.
template <typename Action>
std::string user_error(Action action) {
  try {
    action();
  } catch (const Error& e) {
    return e.kind() == ErrorKind::user ? e.what() : std::string("of another kind: ") + e.what();
  }
  return "";
}

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline at::Tensor floats(const std::vector<float>& values) { return at::tensor(values); }

}  // namespace stoker::program
