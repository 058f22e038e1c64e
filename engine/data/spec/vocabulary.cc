#include "data/spec/vocabulary.h"

namespace stoker::data {

Vocabulary::Vocabulary(const std::vector<std::string>& words) : of_words_(true) {
  for (const auto& word : words) words_.emplace(word, size() + 1);
}

Vocabulary::Vocabulary(const std::vector<int64_t>& numbers) : of_words_(false) {
  for (const int64_t number : numbers) numbers_.emplace(number, size() + 1);
}

int64_t Vocabulary::id(std::string_view word) const {
  const auto found = words_.find(word);
  return found == words_.end() ? 0 : found->second;
}

int64_t Vocabulary::id(int64_t number) const {
  const auto found = numbers_.find(number);
  return found == numbers_.end() ? 0 : found->second;
}

}  // namespace stoker::data
