#include "text/trie.h"

#include <algorithm>

namespace stoker::text {

Trie::Trie(Words words) {
  std::stable_sort(words.begin(), words.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Part> parts = {{0, words.size(), 0, 0}};
  while (!parts.empty()) {
    const Part part = parts.back();
    parts.pop_back();
    build(words, part, parts);
  }
}

/// The node of the words of a part, which are alike up to `depth`; its children are parts to come.
void Trie::build(const Words& words, Part part, std::vector<Part>& parts) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(words[i].first[part.depth]); };
  while (part.begin < part.end && words[part.begin].first.size() == part.depth)
    nodes_[part.node].id = words[part.begin++].second;
  if (part.begin == part.end) return;
  const unsigned char low = byte(part.begin);
  const auto count = static_cast<uint16_t>(byte(part.end - 1) - low + 1);
  const auto at = static_cast<uint32_t>(children_.size());
  nodes_[part.node] = {at, count, low, nodes_[part.node].id};
  children_.resize(children_.size() + count);
  for (size_t begin = part.begin, end; begin < part.end; begin = end) {
    for (end = begin; end < part.end && byte(end) == byte(begin);) ++end;
    const auto node = static_cast<uint32_t>(nodes_.size());
    children_[at + byte(begin) - low] = node;
    nodes_.emplace_back();
    parts.push_back({begin, end, part.depth + 1, node});
  }
}

Trie::Found Trie::longest(std::string_view text) const {
  Found found;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    node = child(nodes_[node], text[i]);
    if (node == 0) break;
    if (nodes_[node].id >= 0) found = {nodes_[node].id, i + 1};
  }
  return found;
}

int64_t Trie::id(std::string_view word) const {
  const Found found = longest(word);
  return found.length == word.size() ? found.id : -1;
}

}  // namespace stoker::text
