#pragma once
// Which of many words a text begins with. Immutable once built; any thread.
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace stoker::text {

class Trie {
 public:
  struct Found {
    int64_t id = -1;    // -1: none
    size_t length = 0;  // bytes
  };

  Trie() = default;
  /// Words, none of them empty, and their numbers of 0 or more. A word that is there twice has the later number.
  explicit Trie(std::vector<std::pair<std::string_view, int64_t>> words);

  /// The longest word that the text begins with.
  Found longest(std::string_view text) const;
  /// The number of a word, -1 where there is none.
  int64_t id(std::string_view word) const;

 private:
  /// Children of the bytes from `low` on, `count` of them, lie at children_[at].
  struct Node {
    uint32_t at = 0;
    uint16_t count = 0;
    uint8_t low = 0;
    int64_t id = -1;
  };
  struct Part {
    size_t begin, end, depth;
    uint32_t node;
  };
  using Words = std::vector<std::pair<std::string_view, int64_t>>;

  void build(const Words& words, Part part, std::vector<Part>& parts);
  uint32_t child(const Node& node, char byte) const {
    const unsigned place = static_cast<unsigned char>(byte) - node.low;
    return place < node.count ? children_[node.at + place] : 0;
  }

  std::vector<Node> nodes_{1};
  std::vector<uint32_t> children_;  // 0: none, as the root is nobody's child
};

}  // namespace stoker::text
