#include "program/class_head.h"

#include <algorithm>

namespace stoker::program {
namespace {

using nlohmann::json;

constexpr int64_t kSum = 2, kIgnored = -100;

/// An argument as it is, or what is left out.
json argument(const Node& node, size_t i, const json& otherwise) {
  return i < node.args.size() ? node.args[i] : otherwise;
}

bool is_plain(const Node& node, int output) {
  return node.op == "aten.cross_entropy_loss.default" && node.kwargs.empty() && !node.autocast &&
         slot_argument(node, 0) == output && argument(node, 2, nullptr).is_null() && argument(node, 3, 1) == kSum &&
         argument(node, 4, kIgnored).is_number_integer() && argument(node, 5, 0.0) == 0.0;
}

bool reads(const Node& node, int slot) { return std::ranges::count(slots_of(node), slot) > 0; }

}  // namespace

std::optional<ClassHead> find_class_head(const Trunk& trunk) {
  const Program& head = trunk.head;
  const auto makes_loss = [&](const Node& node) { return node.out[0] == head.loss.numerator; };
  const auto found = std::ranges::find_if(head.nodes, makes_loss);
  if (found == head.nodes.end() || !is_plain(*found, trunk.output)) return std::nullopt;
  const auto is_label = [&](const Input& input) {
    return slot_argument(*found, 1) == input.slot && input.dtype == "int64";
  };
  const auto label = std::ranges::find_if(head.inputs, is_label);
  const int loss = head.loss.numerator;
  if (label == head.inputs.end() || head.loss.denominator == loss) return std::nullopt;
  if (std::ranges::any_of(head.nodes, [&](const Node& node) { return reads(node, loss); })) return std::nullopt;
  ClassHead made{label->slot, loss, argument(*found, 4, kIgnored), head};
  made.rest.nodes.erase(made.rest.nodes.begin() + (found - head.nodes.begin()));
  return made;
}

}  // namespace stoker::program
