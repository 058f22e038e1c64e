#include "collective/partials.h"

#include <algorithm>

#include "base/error.h"

namespace stoker::collective {
namespace {

struct Walk {
  const ShardSet& owned;
  const ShardSet& present;
  std::vector<Node> nodes;
  std::vector<FoldStep> steps;

  bool is_covered(Node node) const {
    for (int s = node.lo; s < node.hi; ++s)
      if (present[s] && !owned[s]) return false;
    return true;
  }
  bool has_some(Node node) const {
    return std::find(present.begin() + node.lo, present.begin() + node.hi, true) != present.begin() + node.hi;
  }

  void collect_nodes(Node node) {
    if (!has_some(node)) return;
    if (is_covered(node)) {
      nodes.push_back(node);
    } else if (node.hi - node.lo > 1) {
      collect_nodes({node.lo, split(node)});
      collect_nodes({split(node), node.hi});
    }
  }

  /// Returns how many vectors the node leaves on the stack.
  int collect_steps(Node node) {
    if (node.hi - node.lo == 1) {
      if (!owned[node.lo] || !present[node.lo]) return 0;
      steps.push_back({node.lo, 0});
      return 1;
    }
    const int left = collect_steps({node.lo, split(node)});
    const int right = collect_steps({split(node), node.hi});
    if (left == 0 || right == 0 || !is_covered(node)) return left + right;
    ++steps.back().merges;
    return 1;
  }
};

}  // namespace

std::vector<Node> partial_nodes(const ShardSet& owned, const ShardSet& present) {
  STOKER_CHECK(owned.size() == present.size() && !owned.empty());
  Walk walk{owned, present, {}, {}};
  walk.collect_nodes({0, static_cast<int>(owned.size())});
  return walk.nodes;
}

std::vector<FoldStep> fold_steps(const ShardSet& owned, const ShardSet& present) {
  STOKER_CHECK(owned.size() == present.size() && !owned.empty());
  Walk walk{owned, present, {}, {}};
  walk.collect_steps({0, static_cast<int>(owned.size())});
  return walk.steps;
}

int slots_needed(const ShardSet& owned) {
  int height = 0, most = 0;
  for (const FoldStep& step : fold_steps(owned, ShardSet(owned.size(), true))) {
    most = std::max(most, height + 1);
    height += 1 - step.merges;
  }
  return most;
}

}  // namespace stoker::collective
