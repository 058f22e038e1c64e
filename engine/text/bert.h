#pragma once
// BERT's basic tokenizer (Devlin et al., 2018, arXiv 1810.04805): from a text to its words, normalized. Pure.
#include <functional>
#include <string>
#include <string_view>

namespace stoker::text {

struct BertRules {
  bool clean = true;    // control characters are dropped, every space is ' '
  bool chinese = true;  // Chinese characters are words
  bool accents = true;  // are dropped
  bool lower = true;
};

std::string normalized(std::string_view text, const BertRules& rules);

/// Takes a word, or of one of more than `most` characters an empty text; false: no more are wanted.
using TakeWord = std::function<bool(std::string_view)>;

/// The words of a text, normalized on the way: spaces end them, punctuation stands alone. False where `take` said so.
bool words(std::string_view text, const BertRules& rules, size_t most, const TakeWord& take);

/// Of a text that has been normalized.
bool words(std::string_view normalized, size_t most, const TakeWord& take);

}  // namespace stoker::text
