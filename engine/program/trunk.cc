#include "program/trunk.h"

#include <algorithm>
#include <set>

namespace stoker::program {
namespace {

// A layer's weights stay in the second-level cache, a few rows of its input in the first.
constexpr int64_t kMostWeights = 384 * 1024;
constexpr int64_t kMostInputs = 2048;

template <typename Items>
int find_slot(const Items& items, int slot) {
  const auto found = std::ranges::find(items, slot, [](const auto& item) { return item.slot; });
  return found == items.end() ? -1 : static_cast<int>(found - items.begin());
}

/// How often each slot is read, by nodes and at the end.
std::vector<int> count_reads(const Program& program) {
  std::vector<int> reads(program.slots, 0);
  const auto read = [&](int slot) {
    if (slot != -1) ++reads[slot];
  };
  for (const auto& node : program.nodes) std::ranges::for_each(slots_of(node), read);
  for (const auto& output : program.outputs) read(output.slot);
  read(program.loss.numerator);
  read(program.loss.denominator);
  if (const auto& m = program.metric) {
    for (const int slot : {m->output, m->label, m->weight}) read(slot);
  }
  return reads;
}

Activation activation_of(const std::string& op) {
  if (op == "aten.relu.default") return Activation::relu;
  if (op == "aten.sigmoid.default") return Activation::sigmoid;
  if (op == "aten.tanh.default") return Activation::tanh;
  return Activation::none;
}

class Finder {
 public:
  explicit Finder(const Program& program) : program_(program), reads_(count_reads(program)) {}

  std::optional<Trunk> find() {
    if (program_.train && !program_.buffers.empty()) return std::nullopt;
    for (size_t i = 0; i < program_.nodes.size() && layers_.empty(); ++i) follow(i);
    if (layers_.empty()) return std::nullopt;
    if (program_.train && weights_.size() != program_.parameters.size()) return std::nullopt;
    return Trunk{input_, program_.nodes[taken_[0]].where, layers_, slot_, head()};
  }

 private:
  /// Takes node i and what follows it in the chain, if it is a layer over an input.
  void follow(size_t i) {
    const int input = find_slot(program_.inputs, slot_argument(program_.nodes[i], 0));
    if (input == -1 || program_.inputs[input].dtype != "float32" || !take_layer(i)) return;
    input_ = input;
    for (std::optional<size_t> next; (next = only_reader()) && (take_activation(*next) || take_layer(*next));) {
    }
  }

  std::optional<size_t> only_reader() const {
    if (reads_[slot_] != 1) return std::nullopt;
    for (size_t i = 0; i < program_.nodes.size(); ++i)
      if (slot_argument(program_.nodes[i], 0) == slot_) return i;
    return std::nullopt;
  }

  bool take_activation(size_t i) {
    const auto activation = activation_of(program_.nodes[i].op);
    if (activation == Activation::none || layers_.back().activation != Activation::none) return false;
    layers_.back().activation = activation;
    return take(i);
  }

  bool take_layer(size_t i) {
    const auto& node = program_.nodes[i];
    if (node.op != "aten.linear.default" || node.autocast) return false;
    if (!node.kwargs.empty() || node.args.size() < 2) return false;
    const bool biased = node.args.size() > 2 && !node.args[2].is_null();
    const auto *weight = own_weight(node, 1), *bias = biased ? own_weight(node, 2) : nullptr;
    if (!weight || weight->size() != 2 || (biased && !bias)) return false;
    DenseLayer layer{slot_argument(node, 1), biased ? slot_argument(node, 2) : -1, (*weight)[1], (*weight)[0]};
    if (!is_small_layer(layer.in, layer.out)) return false;
    layers_.push_back(layer);
    weights_.insert(layer.weight);
    if (biased) weights_.insert(layer.bias);
    return take(i);
  }

  /// The shape of the parameter, or where nothing is trained the constant, that this argument, and nobody else, reads.
  const std::vector<int64_t>* own_weight(const Node& node, size_t argument) const {
    const int slot = slot_argument(node, argument);
    if (slot == -1 || reads_[slot] != 1) return nullptr;
    if (const int found = find_slot(program_.parameters, slot); found != -1) return &program_.parameters[found].shape;
    const int found = program_.train ? -1 : find_slot(program_.constants, slot);
    const bool floats = found != -1 && program_.constants[found].dtype == "float32";
    return floats ? &program_.constants[found].shape : nullptr;
  }

  bool take(size_t i) {
    taken_.push_back(i);
    slot_ = program_.nodes[i].out[0];
    return true;
  }

  Program head() const {
    Program head = program_;
    std::erase_if(head.parameters, [this](const Parameter& p) { return weights_.contains(p.slot); });
    head.nodes.clear();
    for (size_t i = 0; i < program_.nodes.size(); ++i)
      if (std::ranges::find(taken_, i) == taken_.end()) head.nodes.push_back(program_.nodes[i]);
    return head;
  }

  const Program& program_;
  const std::vector<int> reads_;
  int input_ = 0;
  int slot_ = -1;  // where the chain has come to
  std::vector<DenseLayer> layers_;
  std::set<int> weights_;  // slots of those in layers_
  std::vector<size_t> taken_;
};

}  // namespace

std::vector<int> slots_of(const Node& node) {
  std::vector<int> slots;
  for (const auto& argument : node.args) std::ranges::copy(slots_in(argument), std::back_inserter(slots));
  for (const auto& [name, argument] : node.kwargs) std::ranges::copy(slots_in(argument), std::back_inserter(slots));
  return slots;
}

int slot_argument(const Node& node, size_t i) {
  if (i >= node.args.size() || !node.args[i].is_object() || !node.args[i].contains("slot")) return -1;
  return node.args[i]["slot"].get<int>();
}

bool is_small_layer(int64_t in, int64_t out) { return in * out != 0 && in * out <= kMostWeights && in <= kMostInputs; }

std::optional<Trunk> find_trunk(const Program& program) { return Finder(program).find(); }

}  // namespace stoker::program
