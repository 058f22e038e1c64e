#pragma once
// Texts as the tokens of a pretrained model: WordPiece or byte pairs (text/tokenizer.h).
#include "data/spec/tokenizer.h"

namespace stoker::data {

/// `begin` and `end` put the numbers that the description has for before and after a text around it, also where it is
/// cut. Throws Error(user) where it describes no tokenizer, or has none of those that are asked for.
std::shared_ptr<const Tokenizer> model_tokenizer(const std::string& description, bool begin, bool end);

/// One more than the largest number. Throws as model_tokenizer() does.
int64_t count_tokens(const std::string& description, bool begin, bool end);

}  // namespace stoker::data
