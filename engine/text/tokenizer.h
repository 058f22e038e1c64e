#pragma once
// The tokenizers that pretrained models come with, WordPiece (BERT) and byte pairs (GPT-2), to the numbers of the
// `tokenizers` package. Immutable; any thread.
//
// A description is one object of JSON, which python/stoker/inputs/huggingface.py writes:
//   kind      "wordpiece" or "bpe"
//   tokens    texts by number (for "bpe": base64 of bytes), null where a number has none
//   before, after   numbers that stand around each text, where they are asked for
//   added     [{content, id, normalized, lstrip, rstrip}]
//   wordpiece: unknown (number), prefix, longest (characters of a word), clean, chinese, accents, lower
//   bpe:       merges ([left, right, into, left, ...]), whole, blank_first
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace stoker::text {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Appends the numbers of the first `most` tokens of a text; bytes that are no UTF-8 are read as U+FFFD.
  virtual void read(std::string_view text, size_t most, std::vector<int64_t>& out) const = 0;

  int64_t size() const { return size_; }  // one more than the largest number
  const std::vector<int64_t>& before() const { return before_; }
  const std::vector<int64_t>& after() const { return after_; }

 protected:
  int64_t size_ = 0;
  std::vector<int64_t> before_, after_;
};

/// Throws Error(user) where it is no such description.
std::shared_ptr<const Tokenizer> parse_tokenizer(const std::string& description);

}  // namespace stoker::text
