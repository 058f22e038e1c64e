#pragma once
// Byte pair encoding (Sennrich et al., 2016, arXiv 1508.07909) over bytes, as GPT-2 has it. Immutable; any thread.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/trie.h"

namespace stoker::text {

struct Merge {
  int64_t left, right, into;
};

class BytePairs {
 public:
  /// `tokens` are bytes, by number, empty where a number has none. Merges come in the order in which they are tried.
  /// `whole`: a word that is a token is that, whatever the merges make of it. Throws Error(user) where a byte has no
  /// token or a merge has numbers that are none.
  BytePairs(const std::vector<std::string>& tokens, const std::vector<Merge>& merges, bool whole);

  /// Appends the numbers of a word's tokens.
  void read(std::string_view word, std::vector<int64_t>& out) const;

 private:
  struct Target {
    uint32_t rank;
    int32_t into;
  };
  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  }
  const Target* merge(int32_t left, int32_t right) const;
  void merge_few(std::vector<int32_t>& symbols) const;
  void merge_many(std::vector<int32_t>& symbols) const;
  std::vector<int32_t> merged(std::string_view word) const;

  std::array<int32_t, 256> bytes_{};
  std::unordered_map<uint64_t, Target> merges_;
  Trie whole_;  // words that are one token
};

}  // namespace stoker::text
