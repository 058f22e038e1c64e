#pragma once
// From text to numbers, 0 for what has none. Immutable once made, so any number of threads may read.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/spec/vocabulary.h"

namespace stoker::data {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// The numbers of the first `most` tokens.
  virtual void read(std::string_view text, size_t most, std::vector<int64_t>& out) const = 0;
};

/// UTF-8 bytes: 1 to 256.
std::shared_ptr<const Tokenizer> byte_tokenizer();

/// Words by a vocabulary. A word is a run of ASCII letters, digits, '_' and everything beyond ASCII; any other
/// character that is no ASCII whitespace is a word by itself. `lower` lowers ASCII letters first.
/// python/stoker/inputs/learning.py has the same rule for Spark, which learns the vocabulary.
std::shared_ptr<const Tokenizer> word_tokenizer(std::shared_ptr<const Vocabulary> words, bool lower);

}  // namespace stoker::data
