#pragma once
// Categories and their numbers: 1, 2, ... in the order given; 0 stands for all others. Immutable once made.
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace stoker::data {

class Vocabulary {
 public:
  explicit Vocabulary(const std::vector<std::string>& words);
  explicit Vocabulary(const std::vector<int64_t>& numbers);

  bool of_words() const { return of_words_; }
  int64_t size() const { return static_cast<int64_t>(words_.size() + numbers_.size()); }
  int64_t id(std::string_view word) const;
  int64_t id(int64_t number) const;

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  bool of_words_;
  std::unordered_map<std::string, int64_t, Hash, std::equal_to<>> words_;
  std::unordered_map<int64_t, int64_t> numbers_;
};

}  // namespace stoker::data
