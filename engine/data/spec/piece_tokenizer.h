#pragma once
// Texts as the pieces of a SentencePiece model.
#include "data/spec/tokenizer.h"

namespace stoker::data {

/// `model` is the content of the model's file. A text's pieces have the model's own numbers; `begin` and `end` put
/// those of "begin of sentence" and "end of sentence" around them, also where the text is cut. Throws Error(user) where
/// the bytes are no model or it lacks one of the two.
std::shared_ptr<const Tokenizer> piece_tokenizer(const std::string& model, bool begin, bool end);

/// How many pieces the model has. Throws as piece_tokenizer() does.
int64_t count_pieces(const std::string& model, bool begin, bool end);

}  // namespace stoker::data
